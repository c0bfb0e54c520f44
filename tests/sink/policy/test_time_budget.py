"""Things for people take no more time than they are given."""

from __future__ import annotations

from stream.sink.policy.time_budget import TimeBudget

SECOND_NS = 1_000_000_000
COST_NS = 10_000_000


def turns(pace: TimeBudget, key: str, rate_hz: int, begin_s: int, end_s: int) -> int:
    taken = 0
    for step in range(begin_s * rate_hz, end_s * rate_hz):
        if pace.allows(key, step * SECOND_NS // rate_hz):
            pace.spend(key, COST_NS)
            taken += 1
    return taken


def test_what_fits_into_its_share_has_all_its_turns() -> None:
    assert turns(TimeBudget(0.1), "cap", 9, 0, 60) == 9 * 60


def test_what_comes_too_often_has_no_more_than_its_share_of_the_time() -> None:
    pace = TimeBudget(0.1)
    turns(pace, "cap", 100, 0, 10)
    assert abs(turns(pace, "cap", 100, 10, 60) - 500) <= 1


def test_what_takes_longer_has_its_turn_less_often() -> None:
    pace = TimeBudget(0.1)
    assert pace.allows("cap", 0)
    pace.spend("cap", SECOND_NS)
    assert not pace.allows("cap", 7 * SECOND_NS)
    assert pace.allows("cap", 8 * SECOND_NS), "two seconds' worth was saved"


def test_keys_do_not_take_each_others_time() -> None:
    pace = TimeBudget(0.1)
    turns(pace, "GOOD", 100, 0, 20)
    assert turns(pace, "DEFECT", 5, 0, 10) == 50


def test_a_pause_saves_up_no_more_than_two_seconds() -> None:
    pace = TimeBudget(0.1)
    turns(pace, "cap", 100, 0, 20)
    later_ns = 3600 * SECOND_NS
    assert sum(pace_allows_and_spends(pace, later_ns) for _ in range(200)) == 21


def pace_allows_and_spends(pace: TimeBudget, now_ns: int) -> bool:
    if not pace.allows("cap", now_ns):
        return False
    pace.spend("cap", COST_NS)
    return True
