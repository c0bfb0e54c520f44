from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.core.errors import DatasetError
from stream.model.patchcore.calibrate import conformal_threshold
from stream.model.patchcore.head import MIN_DEFECTS
from stream.training.head import LearnedHead, fused_out_of_fold, learn_head

LEVELS = (8, 8)
SIZE = 2 * sum(LEVELS)
#: What defects of a known kind have in common, and what those of another kind have.
KNOWN, OTHER = np.zeros(SIZE), np.zeros(SIZE)
KNOWN[[1, 9, 17]], OTHER[[4, 20, 28]] = 0.06, 0.06


class Pictures:
    """Pooled features and scores of pictures, whose scores separate good and bad badly."""

    def __init__(self, count: int, seed: int, shift: NDArray[np.float64] | None = None, score: float = 0.0) -> None:
        random = np.random.default_rng(seed)
        self.pooled = random.normal(0.3, 0.05, (count, SIZE)) + (0 if shift is None else shift)
        self.scores = random.normal(20 + 4 * score, 4, count)


def learned(good: Pictures, defects: Pictures, alarms: NDArray[np.float64] | None = None) -> LearnedHead:
    folds = np.arange(len(good.scores)) * 5 // len(good.scores)
    none = np.empty((0, SIZE))
    return learn_head(
        good.pooled, good.scores, folds.tolist(), defects.pooled, none if alarms is None else alarms, LEVELS
    )


def missed(found: LearnedHead | None, pictures: Pictures, threshold: float) -> float:
    scores = pictures.scores if found is None else fused(found, pictures)
    return float(np.mean(scores <= threshold))


def fused(found: LearnedHead, pictures: Pictures) -> NDArray[np.float64]:
    return np.array(
        [found.head.fused(score, pooled) for score, pooled in zip(pictures.scores, pictures.pooled, strict=True)]
    )


def test_defects_like_the_marked_ones_are_missed_less_often_and_others_hardly_more():
    good, unseen = Pictures(400, 0), Pictures(3000, 5, KNOWN, score=1.5)
    found = learned(good, Pictures(20, 1, KNOWN, score=1.5))
    before, after = conformal_threshold(good.scores, 0.05), conformal_threshold(found.scores, 0.05)
    assert missed(found, unseen, after) < missed(None, unseen, before) - 0.2
    # Here every feature is noise, to which a head adds its own: the most that it can cost.
    other = Pictures(3000, 6, OTHER, score=1.5)
    assert missed(found, other, after) < missed(None, other, before) + 0.15


def test_every_good_picture_calibrates_and_new_good_ones_are_rejected_as_often_as_was_promised():
    rejected = []
    for seed in range(8):
        found = learned(Pictures(200, 10 + seed), Pictures(20, 30 + seed, KNOWN))
        assert len(found.scores) == 200
        rejected.append(np.mean(fused(found, Pictures(2000, 50 + seed)) > conformal_threshold(found.scores, 0.05)))
    assert 0.02 < np.mean(rejected) < 0.065


def test_a_good_picture_is_calibrated_by_the_head_that_has_not_seen_its_fold():
    good, defects = Pictures(100, 0), Pictures(15, 1, KNOWN)
    folds = np.arange(100) // 20
    found = learn_head(good.pooled, good.scores, folds.tolist(), defects.pooled, np.empty((0, SIZE)), LEVELS)
    changed = good.pooled.copy()
    changed[folds == 3] += KNOWN
    other = learn_head(changed, good.scores, folds.tolist(), defects.pooled, np.empty((0, SIZE)), LEVELS)
    np.testing.assert_array_equal(found.fold_heads[3].weights, other.fold_heads[3].weights)
    assert (found.fold_heads[2].weights != other.fold_heads[2].weights).any()
    np.testing.assert_array_equal(found.scores, fused_out_of_fold(found.fold_heads, folds, good.scores, good.pooled))


def test_false_alarms_speak_against_what_they_share_with_defects():
    good, defects = Pictures(300, 0), Pictures(20, 1, KNOWN + OTHER)
    alarms = Pictures(20, 2, OTHER)
    before, after = learned(good, defects), learned(good, defects, alarms.pooled)
    assert fused(after, alarms).mean() < fused(before, alarms).mean()


def test_learning_twice_gives_the_same_head():
    first, second = (learned(Pictures(100, 0), Pictures(15, 1, KNOWN)) for _ in range(2))
    np.testing.assert_array_equal(first.head.weights, second.head.weights)
    assert first.head.bias == second.head.bias


def test_too_few_marks_or_good_pictures_are_refused_in_words():
    with pytest.raises(DatasetError, match=f"9 marked defects with a picture, but it takes {MIN_DEFECTS}"):
        learned(Pictures(100, 0), Pictures(9, 1))
    with pytest.raises(DatasetError, match="12 good pictures in 5 folds"):
        learned(Pictures(12, 0), Pictures(10, 1))


def test_pictures_that_are_all_alike_give_a_head_and_no_error():
    good = Pictures(50, 0)
    good.pooled[:], good.scores[:] = good.pooled[0], 3.0
    assert np.isfinite(learned(good, Pictures(10, 1)).scores).all()
