from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.pictures import defective_picture, good_picture, write_good_folder, write_picture

from stream.core.errors import DatasetError
from stream.core.images import list_images
from stream.model.bundle import (
    calibration_distances,
    calibration_inputs,
    load_bundle,
)
from stream.model.patchcore.preprocess import network_input
from stream.training.extend import extend_bank, image_scores, with_threshold
from stream.training.fit import calibrate, fit
from stream.training.fit_options import FitOptions
from stream.training.leave_out import leave_out
from stream.training.review import write_review

ODD = "good_012b.png"
OPTIONS = FitOptions(size_px=96, coreset=0.05, false_reject_rate=0.05)


@pytest.fixture(scope="module")
def spoiled(good_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle fitted with a defective picture among the good ones."""
    folder = tmp_path_factory.mktemp("spoiled")
    good = Path(shutil.copytree(good_folder, folder / "good"))
    write_picture(good / ODD, defective_picture(3))
    fit(good, folder / "cap.safetensors", OPTIONS)
    return folder / "cap.safetensors"


@pytest.fixture(scope="module")
def mended(spoiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mended") / "new.safetensors"
    leave_out(spoiled, path, [ODD])
    return path


def test_a_picture_that_is_left_out_is_neither_remembered_nor_calibrates(spoiled: Path, mended: Path):
    before, after = load_bundle(spoiled), load_bundle(mended)
    assert len(after.info.bank_pictures) == len(before.info.bank_pictures) - 1 == 24
    assert ODD not in after.info.calibration_names
    assert len(calibration_inputs(mended)) == len(calibration_distances(mended)) == 24
    assert after.info.bank_patches == 24 * 144
    assert after.info.thresholds is not None
    assert before.info.thresholds is not None
    assert after.info.thresholds.image < before.info.thresholds.image == before.calibration_scores.max()


def test_the_defect_it_hid_is_found_afterwards(spoiled: Path, mended: Path):
    defect = network_input(defective_picture(3), (96, 96))[None]
    for path, found in ((spoiled, False), (mended, True)):
        thresholds = load_bundle(path).info.thresholds
        assert thresholds is not None
        assert (image_scores(path, defect)[0] > thresholds.image) == found


def test_patches_that_were_accepted_later_stay(spoiled: Path, tmp_path: Path):
    extended, left = tmp_path / "extended.safetensors", tmp_path / "left.safetensors"
    accepted = np.stack([network_input(good_picture(700), (96, 96)), network_input(defective_picture(9), (96, 96))])
    added = extend_bank(spoiled, extended, accepted).added
    assert added > 0
    leave_out(extended, left, [ODD])
    before, after = load_bundle(extended), load_bundle(left)
    np.testing.assert_array_equal(after.bank[-added:], before.bank[-added:])
    assert len(after.bank) - after.info.coreset_patches == added


def test_a_threshold_set_by_hand_stays(spoiled: Path, tmp_path: Path):
    chosen, left = tmp_path / "chosen.safetensors", tmp_path / "left.safetensors"
    with_threshold(spoiled, chosen, 21.5)
    thresholds = leave_out(chosen, left, [ODD]).info.thresholds
    assert thresholds is not None
    assert (thresholds.image, thresholds.by_hand) == (21.5, True)


def test_where_pictures_only_calibrate_the_bank_stays(spoiled: Path, tmp_path: Path):
    live = Path(shutil.copy(spoiled, tmp_path / "live.safetensors"))
    names = [path.name for path in list_images(write_good_folder(tmp_path / "more", 5, first_seed=400))]
    calibrate(live, tmp_path / "more", false_reject_rate=0.2)
    before = load_bundle(live)
    after = leave_out(live, live, names[:1])
    np.testing.assert_array_equal(after.bank, before.bank)
    np.testing.assert_array_equal(after.calibration_scores, before.calibration_scores[1:])


@pytest.mark.parametrize(
    ("names", "message"), [(["nobody.png"], "it keeps no picture nobody.png"), ([], "it keeps no picture")]
)
def test_unknown_names_are_refused(spoiled: Path, tmp_path: Path, names: list[str], message: str):
    with pytest.raises(DatasetError, match=message):
        leave_out(spoiled, tmp_path / "new.safetensors", names)


def test_leaving_out_almost_everything_is_refused(spoiled: Path, tmp_path: Path):
    names = load_bundle(spoiled).info.calibration_names[1:]
    with pytest.raises(DatasetError, match=r"1 pictures? would be left"):
        leave_out(spoiled, tmp_path / "new.safetensors", names)


def test_a_review_draws_the_strangest_pictures_by_rank(good_folder: Path, tmp_path: Path):
    good = Path(shutil.copytree(good_folder, tmp_path / "good"))
    write_picture(good / ODD, defective_picture(3))
    summary = fit(good, tmp_path / "cap.safetensors", OPTIONS)
    write_review(tmp_path / "review", summary)
    names = sorted(path.name for path in (tmp_path / "review").iterdir())
    assert len(names) == 12
    assert names[0].startswith("01_score_")
    assert names[0].endswith("good_012b.png")
