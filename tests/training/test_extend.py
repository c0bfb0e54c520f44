"""Pictures that were rejected but are good become part of what a bundle knows; its calibration stays honest."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from support.pictures import defective_picture, good_picture

from stream.core.errors import BundleError, ConfigError, DatasetError
from stream.inference.station_models import load_station_model
from stream.line.config import StationOptions, WorkerOptions
from stream.model.bundle import (
    calibration_inputs,
    change_bundle,
    load_bundle,
)
from stream.model.cpu_lanes import Lanes
from stream.model.extractor import load_extractor
from stream.model.patchcore.calibrate import conformal_threshold
from stream.model.patchcore.preprocess import network_input
from stream.model.station_model import run_self_test
from stream.training.dataset import network_input_hash
from stream.training.extend import ExtendedBank, extend_bank, image_scores, with_threshold
from stream.training.fit import fit
from stream.training.fit_options import FitOptions

NetworkInputs = NDArray[np.uint8]


def reflection(seed: int) -> NetworkInputs:
    """A good part with a reflection that no picture of the fit has."""
    picture = good_picture(seed)
    cv2.circle(picture, (40, 30), 9, (235, 240, 245), thickness=-1)
    return network_input(picture, (96, 96))


FALSE_ALARMS = np.stack([reflection(seed) for seed in (500, 501)])
DEFECTS = np.stack([network_input(defective_picture(600 + number), (96, 96)) for number in range(6)])


def threshold(path: Path) -> float:
    thresholds = load_bundle(path).info.thresholds
    assert thresholds is not None
    return thresholds.image


@pytest.fixture(scope="module")
def accepted(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExtendedBank]:
    path = tmp_path_factory.mktemp("accepted") / "new.safetensors"
    return path, extend_bank(small_bundle, path, FALSE_ALARMS)


def test_an_accepted_false_alarm_is_good_afterwards_and_a_defect_stays_one(small_bundle: Path, accepted):
    path, result = accepted
    assert (image_scores(small_bundle, FALSE_ALARMS) > threshold(small_bundle)).all()
    assert (image_scores(path, FALSE_ALARMS) <= threshold(path)).all()
    assert (image_scores(path, DEFECTS) > threshold(path)).all()
    assert result.bundle.sha256 == load_bundle(path).sha256
    assert result.warnings == []


def test_a_part_with_the_same_harmless_mark_scores_lower_afterwards(small_bundle: Path, accepted):
    path, _ = accepted
    others = np.stack([reflection(seed) for seed in range(700, 706)])
    assert (image_scores(path, others) < image_scores(small_bundle, others)).all()


def test_the_bank_keeps_what_it_knew_and_gains_what_lay_beyond_the_covering_radius(small_bundle: Path, accepted):
    path, result = accepted
    before, after = load_bundle(small_bundle), load_bundle(path)
    assert result.added == len(after.bank) - len(before.bank) > 0
    np.testing.assert_array_equal(after.bank[: len(before.bank)], before.bank)
    patches = load_extractor(before.info.spec)(FALSE_ALARMS).reshape(-1, before.bank.shape[1])
    known = {patch.tobytes() for patch in patches}
    assert all(patch.tobytes() in known for patch in after.bank[len(before.bank) :])
    farthest = [np.linalg.norm(after.bank.astype(np.float64) - patch, axis=1).min() for patch in patches]
    assert max(farthest) <= before.info.covering_radius


def test_only_thresholds_and_what_the_bank_was_made_of_change(small_bundle: Path, accepted):
    before, after = load_bundle(small_bundle).info, accepted[1].bundle.info
    assert after.bank_pictures == (*before.bank_pictures, *map(network_input_hash, FALSE_ALARMS))
    assert after.bank_patches == before.bank_patches + 2 * 144
    changed = ("thresholds", "bank_pictures", "bank_patches")
    fields = [name for name in before.__struct_fields__ if name not in changed]
    assert [getattr(after, name) for name in fields] == [getattr(before, name) for name in fields]


def test_the_new_thresholds_are_the_conformal_ones_of_the_same_calibration_pictures(small_bundle: Path, accepted):
    path, result = accepted
    held_out = calibration_inputs(small_bundle)
    np.testing.assert_array_equal(calibration_inputs(path), held_out)
    # Each was scored without its own patches, so by less than the whole bank.
    assert (result.bundle.calibration_scores >= image_scores(path, held_out)).mean() > 0.9
    before = load_bundle(small_bundle).calibration_scores
    assert not np.array_equal(result.bundle.calibration_scores, before)
    # Few of them are closer to the new patches than to all that was remembered.
    assert np.isclose(result.bundle.calibration_scores, before, rtol=0.01).mean() > 0.9
    assert result.bundle.info.thresholds is not None
    assert result.bundle.info.thresholds.image == conformal_threshold(result.bundle.calibration_scores, 0.01)
    assert result.bundle.info.thresholds.pixel == conformal_threshold(result.bundle.calibration_peaks, 0.01)
    assert not result.bundle.info.thresholds.by_hand


@pytest.mark.parametrize("device", ["openvino", "torch-cpu"])
def test_a_worker_repeats_the_new_self_test(accepted, device: str):
    path, _ = accepted
    run_self_test(
        load_station_model(
            "cap", StationOptions(camera="top", bundle=path), WorkerOptions(device=device), Lanes(1), {}
        ),
        path,
    )


def test_the_same_pictures_give_the_same_bytes_also_in_place_of_the_live_bundle(
    small_bundle: Path, accepted, tmp_path: Path
):
    path, _ = accepted
    live = Path(shutil.copy(small_bundle, tmp_path / "live.safetensors"))
    extend_bank(live, live, FALSE_ALARMS)
    assert live.read_bytes() == path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == [live.name]


def test_parts_that_the_bank_covers_add_nothing(small_bundle: Path, tmp_path: Path):
    wide = tmp_path / "wide.safetensors"
    change_bundle(small_bundle, wide, covering_radius=1e6)
    plain = np.stack([network_input(good_picture(seed), (96, 96)) for seed in (800, 803)])
    assert (image_scores(small_bundle, plain) <= threshold(small_bundle)).all()
    result = extend_bank(wide, tmp_path / "new.safetensors", plain)
    assert (result.added, result.warnings) == (0, [])
    np.testing.assert_array_equal(result.bundle.bank, load_bundle(small_bundle).bank)
    assert result.bundle.info.thresholds == load_bundle(small_bundle).info.thresholds


def test_a_picture_that_stays_defect_is_remembered_in_more_detail_until_it_is_good_with_a_warning(
    small_bundle: Path, tmp_path: Path
):
    wide, new = tmp_path / "wide.safetensors", tmp_path / "new.safetensors"
    change_bundle(small_bundle, wide, covering_radius=100.0)
    result = extend_bank(wide, new, FALSE_ALARMS)
    assert (image_scores(new, FALSE_ALARMS) <= threshold(new)).all()
    (warning,) = result.warnings
    assert "2 of 2 images were DEFECT even with all that lies beyond the covering radius, 100;" in warning
    assert 0 < result.added < 100
    assert result.bundle.info.covering_radius == 100.0


def test_a_threshold_below_all_that_is_known_makes_the_bank_remember_every_patch(small_bundle: Path, tmp_path: Path):
    low, new = tmp_path / "low.safetensors", tmp_path / "new.safetensors"
    with_threshold(small_bundle, low, 1e-3)
    result = extend_bank(low, new, FALSE_ALARMS[:1])
    assert result.added == 144
    assert (image_scores(new, FALSE_ALARMS[:1]) <= 1e-3).all()


def test_a_threshold_chosen_by_hand_survives_while_the_pixel_threshold_keeps_its_rank(
    small_bundle: Path, tmp_path: Path
):
    live, new = tmp_path / "live.safetensors", tmp_path / "new.safetensors"
    chosen = with_threshold(small_bundle, live, 27.5).info.thresholds
    thresholds = extend_bank(live, new, FALSE_ALARMS).bundle.info.thresholds
    bundle = load_bundle(new)
    assert thresholds is not None
    assert chosen is not None
    assert (thresholds.image, thresholds.by_hand) == (27.5, True)
    above = [int((one.calibration_peaks > one.info.thresholds.pixel).sum()) for one in (bundle, load_bundle(live))]
    assert above[0] == above[1]
    assert thresholds.pixel in bundle.calibration_peaks.tolist()
    assert (image_scores(new, FALSE_ALARMS) <= 27.5).all()


@pytest.mark.parametrize("above", [0, 1, 3, 24])
def test_the_rate_of_a_threshold_by_hand_is_that_of_the_scores_above_it(small_bundle: Path, tmp_path: Path, above: int):
    bundle = load_bundle(small_bundle)
    ordered = np.sort(bundle.calibration_scores)
    image = float(ordered[len(ordered) - above - 1]) if above < 24 else float(ordered[0]) / 2
    new = with_threshold(small_bundle, tmp_path / "new.safetensors", image)
    thresholds = new.info.thresholds
    assert thresholds is not None
    assert bundle.info.thresholds is not None
    assert (thresholds.image, thresholds.by_hand) == (image, True)
    assert thresholds.false_reject_rate == thresholds.expected_rate == (above + 1) / 25
    assert thresholds.guaranteed_rate == min(1.0, 2 * (above + 1) / 25)
    assert thresholds.pixel == bundle.info.thresholds.pixel
    if above < 24:  # the rate leads back to the threshold
        assert conformal_threshold(bundle.calibration_scores, thresholds.false_reject_rate) == image
    np.testing.assert_array_equal(new.bank, bundle.bank)
    assert new.selftest.score == bundle.selftest.score


@pytest.mark.parametrize("image", [0.0, -1.0, float("nan"), float("inf")])
def test_a_threshold_that_would_pass_or_reject_everything_is_refused(small_bundle: Path, tmp_path: Path, image: float):
    with pytest.raises(ConfigError, match="threshold: expected a finite number above 0, got"):
        with_threshold(small_bundle, tmp_path / "new.safetensors", image)
    assert list(tmp_path.iterdir()) == []


def test_a_calibration_picture_that_is_accepted_no_longer_calibrates(small_bundle: Path, tmp_path: Path):
    held_out = calibration_inputs(small_bundle)
    result = extend_bank(small_bundle, tmp_path / "new.safetensors", held_out[:1])
    assert len(result.bundle.calibration_scores) == 23
    assert len(result.bundle.info.folds) == len(result.bundle.info.calibration_names) == 23
    np.testing.assert_array_equal(calibration_inputs(tmp_path / "new.safetensors"), held_out[1:])
    assert result.bundle.info.thresholds is not None
    assert result.bundle.info.thresholds.expected_rate == 1 / 24
    assert "1 of the bundle's calibration images" in result.warnings[0]


def test_accepting_all_calibration_pictures_is_refused(small_bundle: Path, tmp_path: Path):
    with pytest.raises(DatasetError, match="are among those to accept"):
        extend_bank(small_bundle, tmp_path / "new.safetensors", calibration_inputs(small_bundle))
    assert list(tmp_path.iterdir()) == []


def test_a_picture_accepted_twice_counts_once(accepted, tmp_path: Path):
    path, first = accepted
    again = extend_bank(path, tmp_path / "again.safetensors", np.repeat(FALSE_ALARMS, 2, axis=0))
    assert again.warnings == ["2 of 2 images are in the memory bank already"]
    assert again.added == 0
    assert again.bundle.info == first.bundle.info


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        (FALSE_ALARMS[:0], "no images"),
        (FALSE_ALARMS[:, :64], "got uint8 64×96×3"),
        (FALSE_ALARMS[..., :1], "got uint8 96×96×1"),
        (FALSE_ALARMS[0], "got uint8 96×3"),
        (FALSE_ALARMS.astype(np.float32), "got float32 96×96×3"),
    ],
    ids=["none", "too small", "gray", "one", "float"],
)
def test_pictures_that_the_bundle_cannot_judge_are_refused(
    small_bundle: Path, tmp_path: Path, pictures: NetworkInputs, said: str
):
    for refuses in (
        lambda: extend_bank(small_bundle, tmp_path / "new", pictures),
        lambda: image_scores(small_bundle, pictures),
    ):
        with pytest.raises(DatasetError, match=said):
            refuses()
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_is_not_calibrated_accepts_nothing(small_bundle: Path, tmp_path: Path):
    raw = tmp_path / "raw.safetensors"
    change_bundle(small_bundle, raw, thresholds=None)
    with pytest.raises(BundleError, match="not calibrated"):
        extend_bank(raw, tmp_path / "new.safetensors", FALSE_ALARMS)
    with pytest.raises(BundleError, match="not calibrated"):
        with_threshold(raw, tmp_path / "new.safetensors", 3.0)


def test_a_bundle_that_rejects_even_what_it_remembers_is_refused(small_bundle: Path, tmp_path: Path):
    info = load_bundle(small_bundle).info
    never = tmp_path / "never.safetensors"
    assert info.thresholds is not None
    change_bundle(small_bundle, never, thresholds=type(info.thresholds)(-1.0, 1.0, 0.5, 0.5, 0.5, by_hand=True))
    with pytest.raises(BundleError, match="no threshold lies above the score of an image in the bank"):
        extend_bank(never, tmp_path / "new.safetensors", FALSE_ALARMS[:1])
    assert not (tmp_path / "new.safetensors").exists()


def test_an_int8_bundle_accepts_as_well_and_keeps_its_graph(good_folder: Path, tmp_path: Path):
    live, new = tmp_path / "live.safetensors", tmp_path / "new.safetensors"
    fit(good_folder, live, FitOptions(size_px=96, coreset=0.05, precision="int8"))
    result = extend_bank(live, new, FALSE_ALARMS)
    assert (image_scores(live, FALSE_ALARMS) > threshold(live)).all()
    assert (image_scores(new, FALSE_ALARMS) <= threshold(new)).all()
    assert (image_scores(new, DEFECTS) > threshold(new)).all()
    assert result.bundle.graph == load_bundle(live).graph is not None


def test_every_stage_is_reported_up_to_its_end(small_bundle: Path, tmp_path: Path):
    reported: dict[str, tuple[int, int]] = {}
    extend_bank(
        small_bundle,
        tmp_path / "new.safetensors",
        FALSE_ALARMS,
        lambda stage, done, total: reported.update({stage: (done, total)}),
    )
    assert reported == {
        "load backbone": (1, 1),
        "extract features": (2, 2),
        "choose fold coresets": (5, 5),
        "calibrate": (24, 24),
        "score accepted": (2, 2),
    }
