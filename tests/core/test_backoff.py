from __future__ import annotations

from stream.core.backoff import Backoff, LogPace


def test_pauses_double_from_the_first_to_the_longest():
    backoff = Backoff(0.05, 2.0)
    assert [backoff.pause_s(failures) for failures in range(1, 9)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_a_pause_after_very_many_failures_is_still_the_longest():
    assert Backoff(0.2, 1.0).pause_s(10_000) == 1.0


def test_a_fault_that_lasts_is_logged_at_once_and_then_at_growing_intervals():
    pace, s = LogPace(), 1_000_000_000
    logged = {at: silent for at in range(0, 40) if (silent := pace.due(at * s)) is not None}
    assert logged == {0: 0, 1: 0, 3: 1, 7: 3, 15: 7, 31: 15}


def test_after_a_fault_is_over_the_next_one_is_logged_at_once():
    pace = LogPace()
    assert not pace.over()
    pace.due(0)
    assert pace.over()
    assert pace.due(1) == 0
