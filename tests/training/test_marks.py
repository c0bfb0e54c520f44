from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.pictures import defective_picture, good_picture, write_good_folder, write_picture

from stream.core.errors import BundleError, DatasetError
from stream.model.bundle import calibration_inputs, load_bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.calibrate import conformal_threshold
from stream.model.patchcore.preprocess import network_input
from stream.model.station_model import StationModel, build_memory_bank, inspect_batch, run_self_test
from stream.training.extend import extend_bank, image_scores, with_threshold
from stream.training.fit import calibrate, fit
from stream.training.fit_options import FitOptions
from stream.training.head import pooled_of
from stream.training.leave_out import leave_out
from stream.training.marks import learn_from_marks

NONE = np.empty((0, 96, 96, 3), np.uint8)


def inputs(seeds: range, *, defective: bool) -> NDArray[np.uint8]:
    made = [defective_picture(seed) if defective else good_picture(seed) for seed in seeds]
    return np.stack([network_input(picture, (96, 96)) for picture in made])


DEFECTS = inputs(range(2000, 2014), defective=True)


@pytest.fixture(scope="module")
def marks_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated bundle of 40 good pictures, each of which calibrates."""
    folder = tmp_path_factory.mktemp("marks")
    fit(write_good_folder(folder / "good", 40), folder / "bundle", FitOptions(size_px=96, coreset=0.05))
    return folder / "bundle"


@pytest.fixture(scope="module")
def with_head(marks_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("head") / "head.safetensors"
    learn_from_marks(marks_bundle, path, DEFECTS, NONE)
    return path


def test_marked_defects_are_evidence_against_others_like_them(marks_bundle: Path, with_head: Path):
    unseen, good = inputs(range(3000, 3010), defective=True), inputs(range(3100, 3110), defective=False)
    bundle = load_bundle(with_head)
    extractor = load_extractor(bundle.info.spec)

    def evidence(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
        head = bundle.heads.head
        found = pooled_of(extractor, pictures, np.arange(len(pictures)), head.level_dims)
        return np.array([(head.logit(each) - head.logit_mean) / head.logit_spread for each in found])

    assert evidence(unseen).min() > evidence(good).max()
    threshold = bundle.info.thresholds.image
    assert (image_scores(with_head, unseen) > threshold).all()
    assert np.mean(image_scores(with_head, good) > threshold) <= 0.3


def test_a_worker_gives_the_score_of_the_fit(with_head: Path):
    bundle = load_bundle(with_head)
    extractor = load_extractor(bundle.info.spec)
    memory = build_memory_bank(bundle, extractor)
    model = StationModel(bundle, extractor, memory, "group", frame_checks=False)
    run_self_test(model, with_head)
    pictures = DEFECTS[:3]
    parts = inspect_batch([model] * 3, pictures)
    np.testing.assert_allclose([part.inspection.score for part in parts], image_scores(with_head, pictures), rtol=1e-4)


def test_every_good_picture_calibrates_again_and_bank_map_and_pixel_threshold_stay(marks_bundle: Path, with_head: Path):
    before, after = load_bundle(marks_bundle), load_bundle(with_head)
    assert len(after.calibration_scores) == len(before.calibration_scores)
    np.testing.assert_array_equal(after.bank, before.bank)
    assert after.info.thresholds.pixel == before.info.thresholds.pixel
    rate = before.info.thresholds.false_reject_rate
    assert after.info.thresholds.image == conformal_threshold(after.calibration_scores, rate)
    assert (after.info.head.defects, after.info.head.false_alarms) == (len(DEFECTS), 0)
    assert after.info.out_of_fold


def test_a_good_picture_that_is_marked_no_longer_calibrates(marks_bundle: Path, tmp_path: Path):
    marked = calibration_inputs(marks_bundle)[3:4]
    learned = learn_from_marks(marks_bundle, tmp_path / "new", DEFECTS, marked)
    names = load_bundle(marks_bundle).info.calibration_names
    assert learned.bundle.info.calibration_names == (*names[:3], *names[4:])
    assert "1 of the bundle's good pictures are among the marked parts and left out" in learned.notes


def test_learning_again_replaces_the_head_as_if_there_had_been_none(
    marks_bundle: Path, with_head: Path, tmp_path: Path
):
    more = inputs(range(2000, 2018), defective=True)
    again = learn_from_marks(with_head, tmp_path / "again", more, NONE).bundle
    fresh = learn_from_marks(marks_bundle, tmp_path / "fresh", more, NONE).bundle
    np.testing.assert_allclose(again.calibration_scores, fresh.calibration_scores, rtol=1e-9)
    np.testing.assert_allclose(again.heads.head.weights, fresh.heads.head.weights)


def test_a_false_alarm_can_be_accepted_into_a_bundle_with_a_head(with_head: Path, tmp_path: Path):
    scores = load_bundle(with_head).calibration_scores
    with_threshold(with_head, tmp_path / "strict", float(np.quantile(scores, 0.3)))
    alarms = inputs(range(3100, 3130), defective=False)
    alarms = alarms[np.argsort(image_scores(with_head, alarms))[-2:]]
    before = load_bundle(with_head)
    extended = extend_bank(tmp_path / "strict", tmp_path / "extended", alarms).bundle
    assert len(extended.bank) > len(before.bank)
    assert extended.info.head == before.info.head
    assert (image_scores(tmp_path / "extended", alarms) < image_scores(with_head, alarms)).all()
    assert not np.array_equal(extended.calibration_scores, before.calibration_scores)
    # Little has been added: fused scores keep their scale.
    assert abs(extended.calibration_scores.mean() - before.calibration_scores.mean()) < 1


def test_a_threshold_by_hand_may_be_negative_where_there_is_a_head(with_head: Path, tmp_path: Path):
    assert with_threshold(with_head, tmp_path / "by-hand", -0.5).info.thresholds.image == -0.5


def test_a_threshold_set_by_hand_is_replaced_and_that_is_said(marks_bundle: Path, tmp_path: Path):
    with_threshold(marks_bundle, tmp_path / "by-hand", 99.0)
    learned = learn_from_marks(tmp_path / "by-hand", tmp_path / "new", DEFECTS, NONE)
    assert not learned.bundle.info.thresholds.by_hand
    assert any("the threshold set by hand, 99, is replaced" in note for note in learned.notes)


def test_what_cannot_be_learned_is_refused_in_words(marks_bundle: Path, with_head: Path, tmp_path: Path):
    with pytest.raises(DatasetError, match="9 marked defects"):
        learn_from_marks(marks_bundle, tmp_path / "new", DEFECTS[:9], NONE)
    with pytest.raises(DatasetError, match="expected images of 96×96 px"):
        learn_from_marks(marks_bundle, tmp_path / "new", np.zeros((10, 64, 64, 3), np.uint8), NONE)
    with pytest.raises(BundleError, match="leave pictures out of the bundle before that"):
        leave_out(with_head, tmp_path / "new", [load_bundle(with_head).info.calibration_names[0]])
    assert not (tmp_path / "new").exists()


def test_other_good_pictures_calibrate_a_bundle_with_a_head_and_none_that_trained_it(
    with_head: Path, marks_bundle: Path, tmp_path: Path
):
    path = Path(shutil.copy(with_head, tmp_path / "again.safetensors"))
    good = write_good_folder(tmp_path / "good", 6, first_seed=600)
    for seed in (0, 1):  # pictures of the fit, on which the head was trained
        write_picture(good / f"known_{seed}.png", good_picture(seed))
    summary = calibrate(path, good, false_reject_rate=0.2)
    bundle = load_bundle(path)
    assert summary.calibration_images == 6
    assert bundle.heads is not None
    assert (bundle.info.head.folds, bundle.heads.of_folds) == ((), ())
    np.testing.assert_allclose(image_scores(path, calibration_inputs(path)), bundle.calibration_scores, rtol=1e-6)
