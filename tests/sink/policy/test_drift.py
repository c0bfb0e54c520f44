from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from stream.model.patchcore.calibrate import conformal_threshold
from stream.sink.policy.drift import DriftDetector, DriftFinding, same_distribution, smallest_shift, stability_index

WINDOW = 500
Values = NDArray[np.float64]


def scores(seed: int, count: int) -> Values:
    """Image scores of good parts: skewed, as real ones are; one standard deviation is √20."""
    return np.random.default_rng(seed).gamma(20, size=count)


def calibration(seed: int, count: int) -> tuple[Values, float]:
    """Scores of a calibration up to its threshold, and the threshold."""
    values = scores(seed, count)
    threshold = conformal_threshold(values, 0.01)
    return values[values <= threshold], threshold


def drifting_at(drift: DriftDetector, values: Values) -> int | None:
    """Number of values after which drift is detected, or None."""
    for index, value in enumerate(values):
        drift.add(value)
        finding = drift.compare()
        if finding is not None and finding.drifting:
            return index
    return None


def fed(drift: DriftDetector, values: Values) -> list[DriftFinding]:
    findings = []
    for value in values:
        drift.add(value)
        if (finding := drift.compare()) is not None:
            findings.append(finding)
    return findings


@pytest.mark.parametrize("count", [20, 100])
@pytest.mark.parametrize("seed", range(4))
def test_a_stationary_stream_of_100_000_parts_is_never_called_drifting(count: int, seed: int):
    reference, threshold = calibration(seed, count)
    stream = scores(1000 + seed, 100_000)
    # Only GOOD parts count, so the stream is cut at the threshold like the reference.
    assert drifting_at(DriftDetector(reference, WINDOW), stream[stream <= threshold]) is None


@pytest.mark.parametrize("shift", [1, -1])
@pytest.mark.parametrize("seed", range(10))
def test_a_shift_of_one_standard_deviation_is_detected_within_1000_parts(seed: int, shift: float):
    reference, threshold = calibration(seed, 100)
    before, after = scores(1000 + seed, 2_000), scores(2000 + seed, 1_000) + shift * math.sqrt(20)
    drift = DriftDetector(reference, WINDOW)
    assert drifting_at(drift, before[before <= threshold]) is None
    assert drifting_at(drift, after[after <= threshold]) is not None


def test_a_tenth_of_a_standard_deviation_raises_no_alarm_however_significant_it_is():
    drift = DriftDetector(scores(1, 10_000), 10_000)
    findings = fed(drift, scores(2, 30_000) + 0.1 * math.sqrt(20))
    assert min(finding.p_value for finding in findings) < 1e-6
    assert not any(finding.drifting for finding in findings)


def test_twenty_reference_scores_state_the_smallest_shift_they_can_detect():
    shift = smallest_shift(20, WINDOW)
    assert shift is not None
    assert 1.2 < shift < 1.5

    def detected_share(sigmas: float) -> float:
        streams = [scores(5000 + seed, 1_500) + sigmas * math.sqrt(20) for seed in range(40)]
        return float(
            np.mean(
                [drifting_at(DriftDetector(scores(seed, 20), WINDOW), s) is not None for seed, s in enumerate(streams)]
            )
        )

    assert detected_share(0.5) < 0.05
    assert 0.25 < detected_share(shift) < 0.9
    assert detected_share(2 * shift) == 1


def test_more_reference_values_detect_smaller_shifts_and_too_few_none():
    shifts = [smallest_shift(count, WINDOW) for count in (10, 20, 50, 100, 500)]
    assert all(fewer > more for fewer, more in pairwise(shift for shift in shifts if shift is not None))
    assert None not in shifts
    assert [smallest_shift(count, WINDOW) for count in (0, 1, 2)] == [None] * 3


def test_one_odd_window_is_not_a_drift_and_three_of_four_are():
    drift = DriftDetector(scores(1, 200), WINDOW)
    assert fed(drift, scores(2, 500))[-1].p_value > 0.001
    burst = fed(drift, scores(3, 200) + 50)
    assert burst[-1].p_value == pytest.approx(1e-16)
    assert not any(finding.drifting for finding in burst)
    assert [finding.drifting for finding in fed(drift, scores(4, 200) + 50)] == [True, True]


def test_a_drift_lasts_until_no_recent_window_is_bad():
    drift = DriftDetector(scores(1, 200), WINDOW)
    assert fed(drift, scores(2, 1_000) + 20)[-1].drifting
    after = [finding.drifting for finding in fed(drift, scores(3, 2_000))]
    assert after[0]
    assert after[:4] == [True] * 4
    assert not after[-1]
    assert sorted(after, reverse=True) == after, "it ends once"


def test_nothing_is_compared_before_the_window_is_full_and_then_after_every_fifth_of_it():
    drift = DriftDetector(scores(1, 50), 100)
    compared = []
    for index, value in enumerate(scores(2, 200)):
        drift.add(value)
        if drift.compare() is not None:
            compared.append(index + 1)
    assert compared == [100, 120, 140, 160, 180, 200]


def test_without_reference_values_nothing_is_compared():
    assert fed(DriftDetector([], 20), scores(1, 100)) == []


def test_a_value_that_is_no_number_is_left_out():
    drift = DriftDetector(scores(1, 50), 20)
    assert fed(drift, np.array([math.nan, math.inf] * 100)) == []
    assert 0 <= fed(drift, scores(2, 20))[0].p_value <= 1


def test_equal_values_everywhere_are_one_distribution():
    (finding, *_) = fed(DriftDetector([3.0] * 30, 20), np.full(20, 3.0))
    assert (finding.psi, finding.p_value, finding.drifting) == (pytest.approx(0, abs=0.1), 1.0, False)


@pytest.mark.parametrize(("first", "second"), [(20, 50), (20, 500), (100, 500), (512, 500)])
@pytest.mark.parametrize("shift", [0.0, 0.3, 0.6])
def test_the_p_value_is_that_of_scipy(first: int, second: int, shift: float):
    random = np.random.default_rng(first + second)
    a, b = np.sort(random.normal(size=first)), np.sort(random.normal(shift, size=second))
    exact = ks_2samp(a, b, method="exact").pvalue
    assert same_distribution(a, b) == pytest.approx(exact, rel=0.25, abs=1e-5)


def test_the_stability_index_is_the_sum_over_the_bins():
    reference, window = np.arange(100.0), np.arange(50.0)
    smooth = [10.5 / 105, 0.5 / 55, 10.5 / 55]
    expected = 5 * (smooth[1] - smooth[0]) * math.log(smooth[1] / smooth[0])
    expected += 5 * (smooth[2] - smooth[0]) * math.log(smooth[2] / smooth[0])
    assert stability_index(reference, window) == pytest.approx(expected)
