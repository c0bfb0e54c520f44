"""A fit with masks: what lies under them is in neither bank nor score nor map, and what learns later keeps to them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from support.labelled import write_labelled
from support.pictures import defective_picture, good_picture, write_good_folder, write_picture

from stream.core.errors import BundleError, ConfigError, DatasetError
from stream.core.images import list_images, read_image
from stream.model.bundle import (
    Bundle,
    calibration_inputs,
    load_bundle,
    shadow_bundle,
)
from stream.model.extractor import load_extractor
from stream.model.mask_files import MaskFile, check_masks, read_masks
from stream.model.patchcore.inspector import Inspection
from stream.model.patchcore.masks import Mask
from stream.model.patchcore.tiles import Tiling
from stream.model.station_model import StationModel, build_memory_bank, inspect_batch, run_self_test
from stream.training.evaluate import evaluate
from stream.training.evaluation_report import report_table
from stream.training.extend import extend_bank
from stream.training.fit import calibrate, fit
from stream.training.fit_options import FitOptions
from stream.training.leave_out import leave_out
from stream.training.marks import learn_from_marks
from stream.training.outcomes import Outcome

#: Holds blot and scratch of `defective_picture`.
MIDDLE = Mask("middle", "ignore", rectangle=(45, 30, 70, 60))


def options_with(*masks: Mask, **options: object) -> FitOptions:
    files = (MaskFile("masks.yaml", None, masks),)
    return FitOptions(**({"size_px": 96, "coreset": 0.05, "masks": files} | options))


def spoiled_in_the_middle(picture: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    x, y, width, height = (int(edge) for edge in MIDDLE.rectangle or ())
    spoiled = picture.copy()
    spoiled[y : y + height, x : x + width] = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return spoiled


def model_of(path: Path) -> StationModel:
    bundle = load_bundle(path)
    extractor = load_extractor(bundle.info.spec)
    return StationModel(bundle, extractor, build_memory_bank(bundle, extractor), bundle.info.spec.key, False)


def inspected(model: StationModel, picture: NDArray[np.uint8]) -> Inspection:
    geometry = model.bundle.info.geometry
    (part,) = inspect_batch([model], geometry.network_input(geometry.region(picture))[None])
    return part.inspection


@pytest.fixture(scope="module")
def masked_bundle(good_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("masked") / "masked.safetensors"
    fit(good_folder, path, options_with(MIDDLE))
    return path


def threshold_of(bundle: Bundle) -> float:
    assert bundle.info.thresholds is not None
    return bundle.info.thresholds.image


@pytest.mark.parametrize(
    "options",
    [
        {"score": "plain"},
        {"score": "position"},
        {"calibration": "split"},
        {"tiling": Tiling(2, 1, overlap_px=32)},
        {"tiling": Tiling(2, 2, overlap_px=32, own_banks=True)},
        {"roi": (10, 5, 140, 110), "masks": (MaskFile("a", None, (MIDDLE.moved(-10, -5),)),)},
    ],
    ids=["plain", "position", "split", "in tiles", "a bank for each tile", "a region"],
)
def test_whatever_lies_under_an_ignore_mask_the_bundle_score_and_map_are_the_same_bits(
    good_folder: Path, tmp_path: Path, options: dict[str, object]
):
    spoiled = tmp_path / "spoiled"
    spoiled.mkdir()
    for seed, path in enumerate(list_images(good_folder)):
        write_picture(spoiled / path.name, spoiled_in_the_middle(read_image(path), seed))
    paths = [tmp_path / f"{name}.safetensors" for name in ("good", "spoiled")]
    for folder, path in zip((good_folder, spoiled), paths, strict=True):
        fit(folder, path, options_with(MIDDLE, **options))
    assert paths[0].read_bytes() == paths[1].read_bytes()

    model = model_of(paths[0])
    run_self_test(model, paths[0])
    good, defective = (inspected(model, picture) for picture in (good_picture(700), defective_picture(700)))
    assert defective.score == good.score
    np.testing.assert_array_equal(defective.distances, good.distances)
    weights = model.bundle.info.weights
    assert weights is not None
    assert 0.5 < (weights > 0).mean() < 0.95
    assert not good.distances[weights == 0].any()


def test_a_defect_beside_the_mask_is_still_found(masked_bundle: Path):
    model = model_of(masked_bundle)
    picture = good_picture(700)
    cv2.circle(picture, (20, 60), 10, (15, 20, 25), thickness=-1)
    assert inspected(model, picture).score > threshold_of(model.bundle) > inspected(model, good_picture(700)).score


def test_the_bank_holds_no_patch_that_is_not_judged(good_folder: Path, masked_bundle: Path):
    bundle = load_bundle(masked_bundle)
    weights = bundle.info.weights
    assert weights is not None
    features = load_extractor(bundle.info.spec)(calibration_inputs(masked_bundle))
    judged = {feature.tobytes() for feature in features[:, weights > 0].reshape(-1, features.shape[-1])}
    assert all(feature.tobytes() in judged for feature in bundle.bank)
    patches = int((weights > 0).sum())
    assert bundle.info.bank_patches == 24 * patches
    assert len(bundle.bank) == round(0.1 * 24 * patches)


def test_each_calibration_score_is_that_of_the_line(good_folder: Path, tmp_path: Path):
    # A picture that only calibrates, by the bank of the bundle itself.
    path = tmp_path / "cap.safetensors"
    zone = Mask("rim", "zone", rectangle=(0, 0, 160, 25), factor=2)
    summary = fit(good_folder, path, options_with(MIDDLE, zone, calibration="split"))
    model = model_of(path)
    scores = [inspected(model, read_image(one)).score for one in summary.paths]
    np.testing.assert_allclose(scores, summary.bundle.calibration_scores, rtol=1e-6)


def test_a_zone_with_a_factor_is_judged_by_that_multiple_of_the_threshold(good_folder: Path, tmp_path: Path):
    left = Mask("left", "zone", rectangle=(0, 0, 50, 120), factor=4)
    fit(good_folder, tmp_path / "zone.safetensors", options_with(left, score="plain"))
    fit(good_folder, tmp_path / "plain.safetensors", FitOptions(size_px=96, coreset=0.05, score="plain"))
    picture = good_picture(700)
    cv2.circle(picture, (20, 60), 10, (15, 20, 25), thickness=-1)
    zoned, plain = (inspected(model_of(tmp_path / f"{name}.safetensors"), picture) for name in ("zone", "plain"))
    np.testing.assert_allclose(zoned.distances[:, :3], plain.distances[:, :3] / 4, rtol=1e-5)
    # Each model takes the search that is quickest here, and they round differently.
    np.testing.assert_allclose(zoned.distances[:, 4:], plain.distances[:, 4:], rtol=1e-5)


def test_outside_of_what_is_judged_only_a_defect_is_not_seen(good_folder: Path, tmp_path: Path):
    path = tmp_path / "cap.safetensors"
    fit(good_folder, path, options_with(Mask("left", "judge_only", rectangle=(0, 0, 45, 120))))
    model = model_of(path)
    assert inspected(model, defective_picture(3)).score == inspected(model, good_picture(3)).score


def test_what_learns_later_keeps_to_the_masks(masked_bundle: Path, tmp_path: Path):
    before = load_bundle(masked_bundle)
    # As an event of a bundle without masks would be kept.
    odd = before.info.geometry._replace(masks=None).network_input(defective_picture(40))[None]
    extended = extend_bank(masked_bundle, tmp_path / "extended.safetensors", odd).bundle
    also = before.info.geometry.network_input(good_picture(40))[None]
    assert extended.sha256 == extend_bank(masked_bundle, tmp_path / "also.safetensors", also).bundle.sha256

    without = leave_out(masked_bundle, tmp_path / "without.safetensors", [before.info.calibration_names[3]])
    assert without.info.bank_patches == 23 * before.info.judged_patches
    fresh = write_good_folder(tmp_path / "fresh", 6, first_seed=400)
    copy = Path(shutil.copy(masked_bundle, tmp_path / "calibrated.safetensors"))
    calibrated = calibrate(copy, fresh, false_reject_rate=0.2).bundle
    assert before.info.masks == extended.info.masks == without.info.masks == calibrated.info.masks


def test_a_head_learns_nothing_from_what_is_not_judged(masked_bundle: Path, tmp_path: Path):
    geometry = load_bundle(masked_bundle).info.geometry
    none = np.empty((0, 96, 96, 3), np.uint8)
    heads = []
    for name, mask in (("masked", geometry), ("whole", geometry._replace(masks=None))):
        defects = np.stack([mask.network_input(defective_picture(seed)) for seed in range(2000, 2010)])
        learn_from_marks(masked_bundle, tmp_path / name, defects, none)
        heads.append((tmp_path / name).read_bytes())
        model = model_of(tmp_path / name)
        run_self_test(model, tmp_path / name)
        assert inspected(model, defective_picture(9)).score == inspected(model, good_picture(9)).score
    assert heads[0] == heads[1]


def test_a_defect_under_masks_only_is_said_apart_and_is_no_miss(masked_bundle: Path, tmp_path: Path):
    dataset = tmp_path / "dataset"
    for folder in ("test/good", "test/blot", "ground_truth/blot"):
        (dataset / folder).mkdir(parents=True)
    for seed in range(3):
        write_picture(dataset / f"test/good/{seed}.png", good_picture(500 + seed))
        write_picture(dataset / f"test/blot/{seed}.png", defective_picture(600 + seed))
        marks = np.zeros((120, 160), np.uint8)
        marks[40:80, 55:95] = 255
        assert cv2.imwrite(str(dataset / f"ground_truth/blot/{seed}_mask.png"), marks)
    report = evaluate(masked_bundle, dataset, overlays=tmp_path / "overlays", page=tmp_path / "page.html")
    counts = report.counts
    assert (counts.good, counts.defective, counts.under_masks, counts.marked) == (3, 0, 3, 0)
    assert (report.miss_rate, report.image_auroc, report.aupro, report.pg2, report.pb2) == (None,) * 5
    assert (report.types["blot"].pictures, report.types["blot"].under_masks) == (3, 3)
    assert len(report.outcomes[Outcome.UNDER_MASKS]) == 3
    assert report.outcomes[Outcome.MISSED] == []
    assert any("defect lies under the bundle's masks only" in warning for warning in report.warnings)
    assert len(list((tmp_path / "overlays/under_masks").glob("*.png"))) == 3
    console = Console(width=200, record=True)
    console.print(report_table(report))
    assert re.search(r"defect under masks only +│ 3 ", console.export_text())
    assert "of 3 more the defect lies under masks only" in (tmp_path / "page.html").read_text()


def test_pixels_under_a_mask_are_in_no_pixel_figure(masked_bundle: Path, tmp_path: Path):
    dataset = write_labelled(tmp_path / "dataset")
    before = evaluate(masked_bundle, dataset)
    assert before.pixel_auroc is not None
    for path in (dataset / "ground_truth").rglob("*.png"):
        marks = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        marks[35:85, 50:100] = 255  # within the mask
        assert cv2.imwrite(str(path), marks)
    after = evaluate(masked_bundle, dataset)
    assert after.pixel_auroc == pytest.approx(before.pixel_auroc, abs=1e-6)
    assert after.aupro == pytest.approx(before.aupro, abs=1e-6)


def test_masks_need_pictures_of_one_size_or_a_region(tmp_path: Path):
    good = write_good_folder(tmp_path / "good", 6)
    write_picture(good / "larger.png", good_picture(1, width_px=200, height_px=150))
    with pytest.raises(DatasetError, match="its images differ in size, so masks lie elsewhere in each; give --roi"):
        fit(good, tmp_path / "cap.safetensors", options_with(MIDDLE))


def test_masks_that_leave_nothing_to_judge_end_the_fit(good_folder: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="masks 'all': nothing is left to judge"):
        fit(good_folder, tmp_path / "a.safetensors", options_with(Mask("all", "ignore", rectangle=(0, 0, 160, 120))))
    assert not (tmp_path / "a.safetensors").exists()


def test_a_shadow_must_ignore_the_same_pixels_but_may_have_other_factors(
    good_folder: Path, masked_bundle: Path, small_bundle: Path, tmp_path: Path
):
    live = load_bundle(masked_bundle)
    with pytest.raises(BundleError, match="cannot be the shadow: its masks ignore other pixels"):
        shadow_bundle(small_bundle, live, None)
    rim = Mask("rim", "zone", rectangle=(0, 0, 160, 25), factor=2)
    fit(good_folder, tmp_path / "rim.safetensors", options_with(MIDDLE, rim))
    assert shadow_bundle(tmp_path / "rim.safetensors", live, None).info.masks != live.info.masks


def test_a_station_whose_masks_are_not_those_of_its_bundle_is_refused_in_one_line(
    masked_bundle: Path, small_bundle: Path, tmp_path: Path
):
    info = load_bundle(masked_bundle).info
    same, moved = tmp_path / "same.yaml", tmp_path / "moved.yaml"
    for path, x_px in ((same, 45), (moved, 46)):
        path.write_text(f"masks: [{{name: middle, kind: ignore, rectangle: [{x_px}, 30, 70, 60]}}]")
    check_masks("cap", [same], masked_bundle, info)
    check_masks("cap", [], masked_bundle, info)
    with pytest.raises(
        BundleError, match=r"learned with the masks 'middle' of another shape, not .* stations\.cap\.masks"
    ):
        check_masks("cap", [moved], masked_bundle, info)
    with pytest.raises(BundleError, match=r"learned with no masks, not with those of stations\.cap\.masks"):
        check_masks("cap", [same], small_bundle, load_bundle(small_bundle).info)
    assert read_masks(same).masks == (MIDDLE,)
