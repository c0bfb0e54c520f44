"""Things for people are done at a pace that people can follow."""

from __future__ import annotations

from stream.line.pace import Pace

SECOND_NS = 1_000_000_000


def turns(pace: Pace, key: str, rate_hz: int, begin_s: int, end_s: int) -> int:
    steps = range(begin_s * rate_hz, end_s * rate_hz)
    return sum(pace.allows(key, step * SECOND_NS // rate_hz) for step in steps)


def test_what_comes_slowly_has_all_its_turns() -> None:
    assert turns(Pace(10), "cap", 9, 0, 60) == 9 * 60


def test_what_comes_quickly_has_its_rate_of_turns_after_a_burst() -> None:
    pace = Pace(10)
    assert abs(turns(pace, "cap", 100, 0, 2) - (100 + 20)) <= 1
    assert abs(turns(pace, "cap", 100, 2, 12) - 100) <= 1


def test_keys_do_not_take_each_others_turns() -> None:
    pace = Pace(10)
    turns(pace, "GOOD", 100, 0, 20)
    assert turns(pace, "DEFECT", 5, 0, 10) == 50


def test_a_pause_saves_up_no_more_than_ten_seconds() -> None:
    pace = Pace(10)
    turns(pace, "cap", 100, 0, 20)
    later_ns = 3600 * SECOND_NS
    assert sum(pace.allows("cap", later_ns) for _ in range(200)) == 100


def test_a_rate_below_one_in_ten_seconds_begins_with_a_turn() -> None:
    pace = Pace(0.05)
    assert pace.allows("cap", 0)
    assert not pace.allows("cap", 19 * SECOND_NS)
    assert pace.allows("cap", 20 * SECOND_NS)
