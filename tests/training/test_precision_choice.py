"""A fit computes in the precision asked for, or in the fastest that ranks good pictures as float32 does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.pictures import defective_picture, good_picture

from stream.model.bundle import load_bundle
from stream.model.bundle_info import PrecisionTrial
from stream.model.cpu_lanes import Lanes
from stream.model.extractor import load_extractor
from stream.model.patchcore.inspector import inspect
from stream.model.patchcore.preprocess import network_input
from stream.model.patchcore.search import MemoryBank
from stream.model.patchcore.spec import Precision
from stream.model.precision import is_native
from stream.model.station_model import StationModel, build_memory_bank, inspect_batch, run_self_test
from stream.training.fit import fit
from stream.training.fit_options import FitOptions
from stream.training.precision_choice import best_of, measured

OPTIONS = FitOptions(size_px=96, coreset=0.05)
needs_bfloat16 = pytest.mark.skipif(not is_native("bfloat16"), reason="the processor has no bfloat16")


def trial(precision: Precision, milliseconds: float, spearman: float = 1.0) -> PrecisionTrial:
    return PrecisionTrial(precision, milliseconds, spearman)


@pytest.fixture(scope="module")
def bfloat16_bundle(good_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bfloat16") / "bfloat16.safetensors"
    fit(good_folder, path, FitOptions(size_px=96, coreset=0.05, precision="bfloat16"))
    return path


def inputs(count: int) -> np.ndarray:
    pictures = [good_picture(700 + n) for n in range(count)] + [defective_picture(700 + n) for n in range(count)]
    return np.stack([network_input(picture, (96, 96)) for picture in pictures])


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([trial("bfloat16", 6, 0.995), trial("int8", 4, 0.99)], "int8"),
        ([trial("bfloat16", 6, 0.995), trial("int8", 4, 0.9899)], "bfloat16"),
        ([trial("bfloat16", 6, 0.98), trial("int8", 4, 0.5)], "float32"),
        ([trial("bfloat16", 9.5), trial("int8", 12)], "float32"),
        ([trial("bfloat16", 6, float("nan"))], "float32"),
        ([], "float32"),
    ],
)
def test_the_fastest_precision_that_keeps_the_ranks_is_taken(others: list[PrecisionTrial], expected: str):
    assert best_of((trial("float32", 10), *others)) == expected


def test_float32_ranks_as_float32_does_and_noise_does_not(small_bundle: Path):
    extractor = load_extractor(load_bundle(small_bundle).info.spec)
    random = np.random.default_rng(0)

    class Noise:
        device, useful_batch, lanes = extractor.device, extractor.useful_batch, extractor.lanes

        def __call__(self, images: np.ndarray) -> np.ndarray:
            features = extractor(images)
            return random.normal(size=features.shape).astype(np.float32)

    pictures = inputs(12)
    same, noise = measured(
        {"float32": extractor, "bfloat16": Noise()}, pictures, np.arange(24), None, score="auto", seed=0
    )
    assert same.spearman == 1.0
    assert noise.spearman < 0.9


@needs_bfloat16
def test_a_bfloat16_bundle_names_its_precision_and_tells_good_from_defective(bfloat16_bundle: Path):
    bundle = load_bundle(bfloat16_bundle)
    assert bundle.info.spec.precision == "bfloat16"
    assert bundle.info.precisions == ()  # it was told
    extractor = load_extractor(bundle.info.spec)
    found = [one.score for one in inspect(extractor, MemoryBank(bundle.bank), inputs(8), bundle.scoring)]
    assert max(found[:8]) < min(found[8:])


@needs_bfloat16
def test_a_worker_scores_as_the_fit_did_in_bfloat16_to_the_bit(bfloat16_bundle: Path):
    bundle = load_bundle(bfloat16_bundle)
    extractor = load_extractor(bundle.info.spec)
    model = StationModel(bundle, extractor, build_memory_bank(bundle, extractor), bundle.info.spec.key, False)
    run_self_test(model, bfloat16_bundle)
    (part,) = inspect_batch([model], bundle.selftest.network_input[None])
    assert part.inspection.score == bundle.selftest.score


@needs_bfloat16
def test_a_picture_has_the_same_bfloat16_features_alone_and_in_a_lane(bfloat16_bundle: Path):
    extractor = load_extractor(load_bundle(bfloat16_bundle).info.spec, lanes=Lanes(2))
    pictures = inputs(2)
    np.testing.assert_array_equal(extractor(pictures), np.concatenate([extractor(one[None]) for one in pictures]))


@needs_bfloat16
def test_bfloat16_and_float32_features_share_no_backbone_pass(bfloat16_bundle: Path, small_bundle: Path):
    assert load_bundle(bfloat16_bundle).info.spec.key != load_bundle(small_bundle).info.spec.key


def test_a_fit_left_to_choose_says_what_it_tried_and_stores_it(good_folder: Path, tmp_path: Path):
    summary = fit(good_folder, tmp_path / "b.safetensors", FitOptions(size_px=96, coreset=0.05, precision="auto"))
    info = summary.bundle.info
    (note,) = [note for note in summary.notes if note.startswith("precision ")]
    assert note.startswith(f"precision {info.spec.precision}: ")
    assert all(f"{trial.precision} {trial.milliseconds:.2f} ms" in note for trial in info.precisions)
    assert info.spec.precision == (best_of(info.precisions) if info.precisions else "float32")
    if is_native("bfloat16"):
        assert [trial.precision for trial in info.precisions][:2] == ["float32", "bfloat16"]


def test_a_limit_of_the_bank_is_kept_and_named(good_folder: Path, tmp_path: Path):
    bundle = fit(good_folder, tmp_path / "b.safetensors", FitOptions(size_px=96, coreset=0.5, bank_max=200)).bundle
    assert len(bundle.bank) == bundle.info.bank_max == 200
