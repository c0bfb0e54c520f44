from __future__ import annotations

import numpy as np
import pytest

from stream.model.patchcore.calibrate import conformal_threshold
from stream.training.image_figures import (
    best_f1,
    f1_at,
    false_reject_interval,
    miss_curve,
    presorted_bad,
    presorted_good,
)


def test_pg_is_the_share_of_good_parts_below_the_first_defect_that_must_not_pass() -> None:
    good, defective = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.5, 3.5, 9.0, 9.5])
    assert presorted_good(good, defective, 0) == 0.5
    assert presorted_good(good, defective, 0.25) == 0.75
    assert presorted_good(good, defective, 0.5) == 1


def test_pb_is_the_share_of_defects_above_the_first_good_part_that_must_pass() -> None:
    good, defective = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.5, 3.5, 9.0, 9.5])
    assert presorted_bad(good, defective, 0) == 0.5
    assert presorted_bad(good, defective, 0.25) == 0.75
    assert presorted_bad(good, defective, 0.5) == 1


def test_two_per_cent_of_a_hundred_defects_are_two_and_of_forty_nine_none() -> None:
    good = np.array([5.0])
    assert presorted_good(good, np.array([1.0, 2.0] + [9.0] * 98)) == 1
    assert presorted_good(good, np.array([1.0, 2.0, 3.0] + [9.0] * 97)) == 0
    assert presorted_good(good, np.array([1.0] + [9.0] * 48)) == 0


def test_equal_scores_are_sorted_out_together_or_not_at_all() -> None:
    assert presorted_good(np.array([1.0, 2.0]), np.array([2.0]), 0) == 0.5
    assert presorted_bad(np.array([2.0]), np.array([2.0, 3.0]), 0) == 0.5


def test_pg_and_pb_of_perfect_and_of_reversed_scores() -> None:
    low, high = -np.arange(1.0, 60), np.arange(1.0, 60)
    assert (presorted_good(low, high), presorted_bad(low, high)) == (1, 1)
    assert (presorted_good(high, low), presorted_bad(high, low)) == (0, 0)


def test_one_class_alone_cannot_be_sorted() -> None:
    some, none = np.ones(3), np.empty(0)
    assert presorted_good(some, none) is None
    assert presorted_good(none, some) is None
    assert presorted_bad(some, none) is None
    assert presorted_bad(none, some) is None
    assert best_f1(np.ones(3, np.bool_), some) is None
    assert f1_at(np.zeros(3, np.bool_), np.ones(3, np.bool_)) is None


def test_pg_and_pb_are_points_of_the_curve() -> None:
    random = np.random.default_rng(5)
    good, defective = random.normal(size=300), random.normal(1.5, 1, 200)
    curve = miss_curve(good, defective)
    assert presorted_good(good, defective) == pytest.approx(1 - curve.false_rejects[curve.misses < 0.02 + 1e-9].min())
    assert presorted_bad(good, defective) == pytest.approx(1 - curve.misses[curve.false_rejects < 0.02 + 1e-9].min())


def test_the_curve_leads_from_rejecting_all_to_missing_all_and_is_right_at_every_threshold() -> None:
    good, defective = np.array([-1.0, 0.0, 0.0, 2.0]), np.array([0.0, 1.0, 5.0])
    curve = miss_curve(good, defective)
    assert (curve.false_rejects[0], curve.misses[0]) == (1, 0)
    assert (curve.false_rejects[-1], curve.misses[-1]) == (0, 1)
    thresholds = (-1, 0, 1, 2, 5)
    assert curve.false_rejects[1:] == pytest.approx([np.mean(good > threshold) for threshold in thresholds])
    assert curve.misses[1:] == pytest.approx([np.mean(defective <= threshold) for threshold in thresholds])


def test_the_best_f1_is_that_of_the_best_threshold() -> None:
    defective, scores = np.array([False, False, False, True, True]), np.array([0.0, 1.0, 3.0, 2.0, 4.0])
    assert best_f1(defective, scores) == pytest.approx(max(f1_at(defective, scores > t) or 0 for t in range(-1, 4)))
    assert f1_at(defective, scores > 9) == 0


@pytest.mark.parametrize(
    ("calibration", "tested", "rate"), [(50, 40, 0.1), (200, 300, 0.01), (5, 30, 0.01), (9, 20, 0.5)]
)
def test_the_predicted_interval_is_that_of_a_simulation(calibration: int, tested: int, rate: float) -> None:
    random = np.random.default_rng(7)
    runs = 6000
    rejects = np.empty(runs)
    for run in range(runs):
        threshold = conformal_threshold(random.normal(size=calibration), rate)
        rejects[run] = np.count_nonzero(random.normal(size=tested) > threshold)
    low, high = np.round(np.array(false_reject_interval(calibration, tested, rate)) * tested)
    error = 0.008  # four standard errors of a share of 2.5 % in 6,000 runs
    for quantile, count in ((0.025, low), (0.975, high)):
        assert np.mean(rejects <= count) > quantile - error
        assert np.mean(rejects < count) < quantile + error


def test_a_small_calibration_predicts_a_wide_interval() -> None:
    few, many = false_reject_interval(5, 100, 0.01), false_reject_interval(2000, 100, 0.01)
    assert few[0] == many[0] == 0
    assert few[1] > 0.4
    assert many[1] < 0.05
