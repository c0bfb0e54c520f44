from __future__ import annotations

import pytest

from stream.cli.bench.rate_search import next_rate_hz, sustained_hz


def search(limit_hz: float, first_hz: float = 10.0) -> tuple[float | None, int]:
    """Try rates on a line that keeps every rate up to a limit; return what was found and in how many trials."""
    kept: dict[float, bool] = {}
    while (rate_hz := next_rate_hz(kept, first_hz)) is not None:
        assert rate_hz not in kept, "no rate is tried twice"
        kept[rate_hz] = rate_hz <= limit_hz
    return sustained_hz(kept), len(kept)


@pytest.mark.parametrize("limit_hz", [0.9, 3.3, 10.0, 11.0, 79.9, 80.0, 133.3, 4321.0])
def test_the_highest_rate_is_found_within_seven_per_cent_in_few_trials(limit_hz: float):
    found, trials = search(limit_hz)
    assert found is not None
    assert limit_hz / 1.075 <= found <= limit_hz
    assert trials <= 15


def test_a_line_that_keeps_no_rate_ends_the_search():
    assert search(0.0)[0] is None


def test_a_rate_kept_above_one_that_was_not_is_luck_and_does_not_count():
    assert sustained_hz({10.0: True, 20.0: False, 40.0: True}) == 10.0


def test_nothing_kept_or_nothing_tried_sustains_nothing():
    assert sustained_hz({10.0: False}) is None
    assert sustained_hz({}) is None
