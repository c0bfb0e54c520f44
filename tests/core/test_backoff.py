from __future__ import annotations

from stream.core.backoff import Backoff


def test_pauses_double_from_the_first_to_the_longest():
    backoff = Backoff(0.05, 2.0)
    assert [backoff.pause_s(failures) for failures in range(1, 9)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_a_pause_after_very_many_failures_is_still_the_longest():
    assert Backoff(0.2, 1.0).pause_s(10_000) == 1.0
