"""An int8 bundle carries its own network and judges almost as the float32 one does."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.pictures import defective_picture, good_picture, write_good_folder

from stream.core.errors import ConfigError
from stream.model.bundle import load_bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.inspector import inspect
from stream.model.patchcore.preprocess import network_input
from stream.model.patchcore.scoring import Scoring
from stream.model.patchcore.search import MemoryBank
from stream.training.fit import calibrate, fit
from stream.training.fit_options import FitOptions

OPTIONS = FitOptions(size_px=96, coreset=0.05, precision="int8")


@pytest.fixture(scope="module")
def int8_bundle(good_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "int8.safetensors"
    fit(good_folder, path, OPTIONS)
    return path


def inputs(count: int) -> np.ndarray:
    pictures = [good_picture(700 + n) for n in range(count)] + [defective_picture(700 + n) for n in range(count)]
    return np.stack([network_input(picture, (96, 96)) for picture in pictures])


def scores(path: Path, images: np.ndarray) -> np.ndarray:
    bundle = load_bundle(path)
    extractor = load_extractor(bundle.info.spec, graph=bundle.graph)
    return np.array([found.score for found in inspect(extractor, MemoryBank(bundle.bank), images, Scoring(9))])


def test_int8_features_point_where_the_float32_features_point(int8_bundle: Path, small_bundle: Path):
    bundle, plain = load_bundle(int8_bundle), load_bundle(small_bundle)
    images = inputs(3)[:3]
    here = load_extractor(bundle.info.spec, graph=bundle.graph)(images).reshape(-1, bundle.bank.shape[1])
    there = load_extractor(plain.info.spec)(images).reshape(-1, bundle.bank.shape[1])
    cosine = (here * there).sum(axis=1) / np.linalg.norm(here, axis=1) / np.linalg.norm(there, axis=1)
    assert cosine.mean() > 0.98


def test_an_int8_bundle_tells_good_from_defective_as_the_float32_bundle_does(int8_bundle: Path, small_bundle: Path):
    images = inputs(8)
    for path in (int8_bundle, small_bundle):
        found = scores(path, images)
        assert found[:8].max() < found[8:].min()


def test_an_int8_bundle_needs_no_weights(int8_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images = inputs(1)
    before = scores(int8_bundle, images)
    monkeypatch.setenv("PATCHLINE_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr("stream.model.extractor.build_module", None)
    np.testing.assert_array_equal(scores(int8_bundle, images), before)


def test_the_same_pictures_give_the_same_int8_bundle(int8_bundle: Path, good_folder: Path, tmp_path: Path):
    fit(good_folder, tmp_path / "again.safetensors", OPTIONS)
    assert (tmp_path / "again.safetensors").read_bytes() == int8_bundle.read_bytes()


def test_stations_of_different_graphs_share_no_backbone_pass(int8_bundle: Path, small_bundle: Path):
    assert load_bundle(int8_bundle).info.spec.key != load_bundle(small_bundle).info.spec.key


@pytest.mark.parametrize("device", ["cuda", "torch-cpu"])
def test_a_device_that_cannot_compute_int8_is_refused(int8_bundle: Path, device: str):
    bundle = load_bundle(int8_bundle)
    with pytest.raises(ConfigError, match=f"device: {device} cannot compute an int8 bundle"):
        load_extractor(bundle.info.spec, device=device, graph=bundle.graph)


def test_a_calibration_keeps_the_graph(int8_bundle: Path, tmp_path: Path):
    good_folder = write_good_folder(tmp_path / "more", 4, first_seed=400)
    copy = Path(shutil.copy(int8_bundle, tmp_path / "copy.safetensors"))
    calibrate(copy, good_folder, false_reject_rate=0.5)
    assert load_bundle(copy).graph == load_bundle(int8_bundle).graph
