from __future__ import annotations

import pytest

from stream.sink.policy.throughput import ThroughputWindow

S = 1_000_000_000


def test_the_rate_is_that_of_the_window():
    recent = ThroughputWindow(10 * S)
    for tick in range(40):
        recent.add(tick * S // 2, 5.0)
    assert recent.rate_hz(20 * S) == pytest.approx(2.0, rel=0.1)


def test_a_line_that_has_stopped_has_no_rate_and_no_latency():
    recent = ThroughputWindow(10 * S)
    assert (recent.rate_hz(0), recent.latency_ms(0)) == (0.0, None)
    for tick in range(5):
        recent.add(tick * S, 5.0)
    assert recent.rate_hz(100 * S) == 0.0
    assert recent.latency_ms(100 * S) is None


def test_latency_is_median_and_99th_percentile_of_the_parts_whose_exposure_is_known():
    recent = ThroughputWindow(10 * S)
    for total_ms in range(1, 101):
        recent.add(S, float(total_ms))
        recent.add(S, None)
    assert recent.latency_ms(S) == pytest.approx((50.5, 99.01))
