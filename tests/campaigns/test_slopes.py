from __future__ import annotations

import numpy as np
import pytest
from campaigns.slopes import BLOCKS, slope

TIMES_S = np.arange(0, 1_200, 2.0)


def test_a_leak_is_found_in_noise_larger_than_what_it_adds_in_a_minute():
    noise = np.random.default_rng(0).normal(0, 1.0, len(TIMES_S))
    found = slope(TIMES_S, 100 + 6.0 * TIMES_S / 3_600 + noise)
    assert found.grows
    assert found.low < 6.0 < found.high


def test_noise_alone_is_called_growth_about_as_rarely_as_the_interval_says():
    dice = np.random.default_rng(1)
    grown = sum(slope(TIMES_S, dice.normal(0, 1.0, len(TIMES_S))).grows for _ in range(400))
    assert grown <= 400 * 0.025 + 12


def test_a_figure_that_stays_the_same_has_no_slope():
    found = slope(TIMES_S, [7.0] * len(TIMES_S))
    assert found[:3] == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)
    assert not found.grows


def test_a_falling_figure_does_not_grow():
    assert not slope(TIMES_S, -TIMES_S).grows


def test_too_few_readings_give_no_slope():
    with pytest.raises(ValueError, match=f"{2 * BLOCKS} are needed"):
        slope([0.0, 1.0], [1.0, 2.0])
