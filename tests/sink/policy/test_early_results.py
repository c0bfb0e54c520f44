"""Results that arrive before the announcement of their part."""

from __future__ import annotations

from stream.sink.policy.early_results import EarlyResults


def test_a_result_waits_for_its_announcement():
    early: EarlyResults[str] = EarlyResults()
    assert early.hold("cap", 3, "three", 0, 100) == []
    assert early.holds("cap", 3)
    assert early.take("cap", 4) is None
    assert early.take("lid", 3) is None
    assert early.take("cap", 3) == "three"
    assert not early.holds("cap", 3)
    assert early.take("cap", 3) is None


def test_a_result_waits_for_half_of_the_time_that_its_part_has_left():
    early: EarlyResults[str] = EarlyResults()
    early.hold("cap", 3, "three", 1_000, 1_100)
    early.hold("lid", 9, "nine", 1_000, 1_300)
    assert early.next_ns == 1_050
    assert early.due(1_049) == []
    assert early.due(1_050) == ["three"]
    assert early.next_ns == 1_150
    assert early.due(1_150) == ["nine"]
    assert early.next_ns is None


def test_a_result_waits_for_a_second_at_most():
    early: EarlyResults[str] = EarlyResults()
    early.hold("cap", 3, "three", 0, 60_000_000_000)
    assert early.next_ns == 1_000_000_000


def test_a_result_whose_part_is_late_already_does_not_wait():
    early: EarlyResults[str] = EarlyResults()
    early.hold("cap", 3, "three", 1_000, 900)
    assert early.due(1_000) == ["three"]


def test_a_later_announcement_shows_which_ones_were_lost():
    early: EarlyResults[str] = EarlyResults()
    for seq in (5, 3, 4):
        early.hold("cap", seq, str(seq), 0, 100)
    early.hold("lid", 1, "lid", 0, 100)
    assert early.below("cap", 5) == ["3", "4"]
    assert early.below("cap", 5) == []
    assert early.all() == ["5", "lid"]
    assert early.all() == []


def test_the_first_result_about_a_part_stays():
    early: EarlyResults[str] = EarlyResults()
    early.hold("cap", 3, "first", 0, 100)
    assert early.hold("cap", 3, "second", 0, 1_000) == []
    assert early.due(50) == ["first"]


def test_a_station_holds_so_many_results_at_most():
    early: EarlyResults[int] = EarlyResults()
    pushed_out = [early.hold("cap", seq, seq, 0, 10**9) for seq in range(70)]
    assert pushed_out == [[]] * 64 + [[seq] for seq in range(6)]
    assert len(early.all()) == 64
