from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.core.errors import BundleError
from stream.core.images import read_image
from stream.dashboard.tuning.strangest import SHOWN, strange_pictures
from stream.model.bundle import calibration_inputs, load_bundle


def test_the_good_pictures_that_scored_highest_come_first_with_their_names(small_bundle: Path):
    bundle, strange = load_bundle(small_bundle), strange_pictures(small_bundle)
    assert strange.bundle_sha256 == bundle.sha256
    highest = np.argsort(-bundle.calibration_scores, kind="stable")[:SHOWN]
    assert [picture.name for picture in strange.pictures] == [bundle.info.calibration_names[row] for row in highest]
    assert [picture.rank for picture in strange.pictures] == list(range(1, len(highest) + 1))
    scores = [picture.score for picture in strange.pictures]
    assert scores == sorted(bundle.calibration_scores, reverse=True)[:SHOWN]


def test_each_is_shown_as_it_was_photographed(small_bundle: Path, good_folder: Path):
    strange = strange_pictures(small_bundle)
    assert len(strange.jpegs) == len(strange.pictures)
    for picture, jpeg in zip(strange.pictures, strange.jpegs, strict=True):
        shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert shown.shape == (240, 320, 3), "in the aspect of its file, 160 x 120"
        file = cv2.resize(read_image(good_folder / picture.name), (320, 240))
        distance = np.median(np.abs(shown.astype(int) - file))
        others = [cv2.resize(read_image(good_folder / other.name), (320, 240)) for other in strange.pictures[:4]]
        assert all(distance <= np.median(np.abs(shown.astype(int) - other)) for other in others)


def test_only_the_wanted_network_inputs_are_read_in_the_wanted_order(small_bundle: Path):
    everything = calibration_inputs(small_bundle)
    np.testing.assert_array_equal(calibration_inputs(small_bundle, [3, 0]), everything[[3, 0]])


def test_another_bundle_in_the_same_file_has_other_pictures(small_bundle: Path, tmp_path: Path):
    from stream.training.leave_out import leave_out

    live = Path(shutil.copy(small_bundle, tmp_path / "live.safetensors"))
    before = strange_pictures(live)
    leave_out(live, tmp_path / "made.safetensors", [before.pictures[0].name])
    (tmp_path / "made.safetensors").replace(live)
    after = strange_pictures(live)
    assert after.bundle_sha256 != before.bundle_sha256
    assert before.pictures[0].name not in [picture.name for picture in after.pictures]


def test_a_missing_bundle_is_an_error_that_names_it(tmp_path: Path):
    with pytest.raises(BundleError, match=r"cap\.safetensors: no such bundle"):
        strange_pictures(tmp_path / "cap.safetensors")
