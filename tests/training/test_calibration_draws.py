from __future__ import annotations

import numpy as np
import pytest

from stream.model.patchcore.calibrate import conformal_threshold
from stream.training.calibration_draws import expected_misses

RATES = (0.01, 0.02, 0.05)


def test_defects_far_above_all_good_parts_are_never_missed() -> None:
    for one in expected_misses(np.arange(100.0), np.full(7, 1e3), RATES, calibration_count=50):
        assert (one.misses, one.misses_p10, one.misses_p90) == (0, 0, 0)


def test_defects_below_all_good_parts_are_always_missed() -> None:
    for one in expected_misses(np.arange(100.0), np.full(7, -1.0), RATES, calibration_count=50):
        assert (one.misses, one.misses_p10, one.misses_p90) == (1, 1, 1)


def test_the_realised_rate_stays_below_the_wanted_one_if_the_draws_are_large_enough() -> None:
    good = np.random.default_rng(3).normal(size=2000)
    for one in expected_misses(good, good[:10], RATES, calibration_count=299):
        assert one.false_rejects == pytest.approx(one.rate, abs=0.004)


def test_small_draws_cannot_keep_a_low_rate_and_show_what_they_keep() -> None:
    good = np.random.default_rng(3).normal(size=500)
    (one,) = expected_misses(good, good[:10], [0.01], calibration_count=9, draws=2000)
    assert one.false_rejects == pytest.approx(1 / 10, abs=0.01)


def test_a_stricter_rate_misses_more() -> None:
    random = np.random.default_rng(1)
    found = expected_misses(random.normal(size=400), random.normal(2, 1, 200), RATES, calibration_count=199)
    assert [one.rate for one in found] == list(RATES)
    assert found[0].misses > found[1].misses > found[2].misses
    assert found[0].false_rejects < found[1].false_rejects < found[2].false_rejects
    assert all(one.misses_p10 <= one.misses <= one.misses_p90 for one in found)


def test_the_mean_is_that_of_every_possible_draw() -> None:
    good, defective = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.5, 1.5, 2.5, 3.5])
    every = [
        np.mean(defective <= conformal_threshold(good[[first, second]], 0.4))
        for first in range(4)
        for second in range(4)
        if first != second
    ]
    (one,) = expected_misses(good, defective, [0.4], calibration_count=2, draws=20_000)
    assert one.misses == pytest.approx(np.mean(every), abs=0.01)


def test_scores_may_be_negative_and_only_their_order_counts() -> None:
    random = np.random.default_rng(2)
    good, defective = random.normal(size=100), random.normal(1, 1, 50)
    first = expected_misses(good, defective, RATES, calibration_count=50)
    assert first == expected_misses(good - 100, defective - 100, RATES, calibration_count=50)
    assert first == expected_misses(np.exp(good), np.exp(defective), RATES, calibration_count=50)


def test_a_part_whose_score_equals_the_threshold_passes() -> None:
    (one,) = expected_misses(np.ones(10), np.ones(3), [0.1], calibration_count=5)
    assert (one.misses, one.false_rejects) == (1, 0)


def test_the_seed_decides_the_draws() -> None:
    random = np.random.default_rng(2)
    good, defective = random.normal(size=100), random.normal(1, 1, 50)
    first, again, other = (
        expected_misses(good, defective, [0.05], calibration_count=30, draws=20, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again != other


def test_the_scores_are_left_in_their_order() -> None:
    good, defective = np.array([3.0, 1.0, 2.0]), np.array([2.0, 1.0])
    expected_misses(good, defective, RATES, calibration_count=1)
    assert good.tolist() == [3, 1, 2]
    assert defective.tolist() == [2, 1]


@pytest.mark.parametrize("count", [0, 10, 11])
def test_a_draw_leaves_good_scores_to_measure_false_rejects_with(count: int) -> None:
    with pytest.raises(ValueError, match="10 good scores allow 1 to n - 1"):
        expected_misses(np.arange(10.0), np.ones(1), RATES, calibration_count=count)


def test_impossible_requests_are_refused() -> None:
    good = np.arange(10.0)
    with pytest.raises(ValueError, match="nothing can be missed"):
        expected_misses(good, np.empty(0), RATES, calibration_count=5)
    with pytest.raises(ValueError, match=r"rates in \(0, 1\)"):
        expected_misses(good, good, [0.01, 1.0], calibration_count=5)
    with pytest.raises(ValueError, match="draws must be at least 1"):
        expected_misses(good, good, RATES, calibration_count=5, draws=0)
    with pytest.raises(ValueError, match="NaN"):
        expected_misses(good, np.array([np.nan]), RATES, calibration_count=5)
