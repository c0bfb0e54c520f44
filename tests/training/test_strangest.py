from __future__ import annotations

import math

import numpy as np

from stream.model.patchcore.calibrate import conformal_threshold
from stream.training.strangest import StrangePicture, strangest

SCORES = np.array([3.0, 9.0, 1.0, 7.0])
NAMES = ["a.png", "b.png", "c.png", "d.png"]


def test_the_highest_scores_come_first_with_the_threshold_that_the_others_give():
    assert strangest(SCORES, NAMES, 0.01, 2) == [
        StrangePicture(1, 1, "b.png", 9.0, 7.0),
        StrangePicture(2, 3, "d.png", 7.0, 9.0),
    ]
    assert strangest(SCORES, NAMES, 0.5, 1)[0].threshold_without == conformal_threshold(SCORES[[0, 2, 3]], 0.5)


def test_pictures_of_one_score_keep_their_order_and_there_are_no_more_than_there_are():
    assert [picture.name for picture in strangest(np.ones(4), NAMES, 0.01, 12)] == NAMES


def test_without_others_there_is_no_threshold():
    (only,) = strangest(np.ones(1), ["a.png"], 0.01, 12)
    assert math.isnan(only.threshold_without)
