from __future__ import annotations

import numpy as np
import pytest

from stream.training.operating_curve import KnownScores, curve, thresholds_around


def known(
    calibration: list[float],
    false_alarms: list[float] = [],  # noqa: B006 - never changed
    true_defects: list[float] = [],  # noqa: B006
    parts_per_day: float | None = 1000.0,
    defects_per_day: float | None = 10.0,
) -> KnownScores:
    return KnownScores(
        np.array(calibration, float), np.array(false_alarms, float), np.array(true_defects, float),
        parts_per_day, defects_per_day,
    )  # fmt: skip


def test_the_share_of_good_parts_above_a_threshold_is_that_of_the_calibration_and_never_nothing():
    found = curve(np.array([0.5, 2.0, 4.0]), known([1, 2, 3, 4]), 2.0)
    assert found.false_reject_share.tolist() == [1.0, 3 / 5, 1 / 5]
    assert found.false_rejects_per_day is not None
    assert found.false_rejects_per_day.tolist() == pytest.approx([1000, 600, 200])


def test_misses_are_the_marked_defects_that_would_pass_among_all_parts_called_defect():
    # Of ten parts a day called DEFECT three quarters are defective by what was marked; one of three would pass at 6.
    found = curve(np.array([4.5, 6.0, 8.0]), known([1, 2], [5.0], [5.5, 7.0, 8.0]), 4.5)
    assert found.true_defects_passing.tolist() == [0, 1, 3]
    assert found.false_alarms_passing.tolist() == [0, 1, 1]
    assert found.misses_per_day is not None
    assert found.misses_per_day.tolist() == pytest.approx([0, 10 * 1 / 4, 10 * 3 / 4])


def test_without_a_rate_or_a_marked_defect_nothing_is_claimed():
    unmarked = curve(np.array([1.0]), known([1, 2], [5.0]), 4.0)
    assert unmarked.misses_per_day is None
    standing = curve(np.array([1.0]), known([1, 2], [5.0], [6.0], parts_per_day=None, defects_per_day=None), 4.0)
    assert (standing.false_rejects_per_day, standing.misses_per_day) == (None, None)


@pytest.mark.parametrize("present", [0.1, 3.3, 50.0])
def test_the_thresholds_on_offer_ascend_and_hold_the_present_one_and_pass_every_marked_false_alarm(present: float):
    given = known([1, 2, 3], [6.0], [9.0, 20.0])
    offered = thresholds_around(given, present)
    assert present in offered
    assert (np.diff(offered) > 0).all()
    assert curve(offered, given, present).false_alarms_passing[-1] == 1
    assert curve(offered, given, present).true_defects_passing[-1] >= 1
    assert curve(offered, given, present).false_reject_share[0] == 1.0


def test_scores_may_be_negative():
    given = known([-5, -4, -3], [-1.0], [2.0])
    offered = thresholds_around(given, -2.0)
    assert -2.0 in offered
    assert (np.diff(offered) > 0).all()
    found = curve(offered, given, -2.0)
    assert (found.false_reject_share[0], found.false_reject_share[-1]) == (1.0, 1 / 4)
    assert (found.true_defects_passing[0], found.true_defects_passing[-1]) == (0, 1)


def test_higher_thresholds_reject_no_more_good_parts_and_pass_no_fewer_defects():
    random = np.random.default_rng(0)
    given = KnownScores(random.normal(2, 0.3, 99), random.normal(3, 0.3, 20), random.normal(4, 1, 30), 1e5, 1e3)
    found = curve(thresholds_around(given, 2.7), given, 2.7)
    assert (np.diff(found.false_reject_share) <= 0).all()
    assert (np.diff(found.true_defects_passing) >= 0).all()


def test_marked_parts_that_pass_already_tell_nothing_of_those_that_are_rejected():
    # Three false alarms were accepted and pass by now: of what is called DEFECT today every other part is defective.
    found = curve(np.array([4.0, 6.0]), known([1, 2], [2.0, 2.5, 3.0, 5.0], [3.5, 5.5]), 4.0)
    assert found.misses_per_day is not None
    assert found.misses_per_day.tolist() == pytest.approx([0, 10 * 1 / 2])
    assert found.true_defects_passing.tolist() == [1, 2]
    assert curve(np.array([4.0]), known([1, 2], [5.0], [3.5]), 4.0).misses_per_day is None


def test_a_present_threshold_far_from_all_scores_leaves_points_between_them():
    offered = thresholds_around(known([1, 2, 3]), 1e6)
    assert np.count_nonzero(offered < 4) > 100


def test_no_threshold_is_on_offer_that_could_not_be_set():
    assert (thresholds_around(known([0, 0, 1]), 0.5) > 0).all()
