from __future__ import annotations

import pytest

from stream.line.sections import AlarmOptions, AlarmRule
from stream.sink.policy.alarms import Alarm, AlarmBoard, NofM

SECOND_NS = 1_000_000_000


def raised_at(rule: AlarmRule, observations: list[bool], every_ns: int = SECOND_NS) -> list[int]:
    """Return at which observations an alarm is raised, one observation every `every_ns`."""
    debounce = NofM(rule)
    return [index for index, bad in enumerate(observations) if debounce.observe(bad, index * every_ns)]


def test_a_rule_of_one_raises_at_the_first_bad_observation():
    assert raised_at(AlarmRule(cooldown_s=1000), [False, False, True, True]) == [2]


def test_n_bad_ones_within_m_raise_even_with_good_ones_between():
    assert raised_at(AlarmRule(n=3, of=5, cooldown_s=1000), [True, False, True, False, True]) == [4]


def test_bad_ones_further_apart_than_m_raise_nothing():
    assert raised_at(AlarmRule(n=3, of=5), [True, False, False, True, False, False] * 10) == []


def test_the_alarm_is_silent_during_the_cool_down_and_raised_again_at_its_end():
    assert raised_at(AlarmRule(cooldown_s=10), [True] * 25) == [0, 10, 20]


def test_a_fault_that_ended_during_the_cool_down_is_not_raised_again():
    assert raised_at(AlarmRule(n=2, of=3, cooldown_s=5), [True] * 4 + [False] * 20) == [1]


def test_a_single_bad_one_after_the_cool_down_is_not_yet_n_of_m():
    observations = [True, True, *[False] * 10, True, False, False, True, True]
    assert raised_at(AlarmRule(n=2, of=3, cooldown_s=5), observations) == [1, 16]


def test_a_good_observation_never_raises_although_the_window_is_still_full_of_bad_ones():
    assert raised_at(AlarmRule(n=2, of=10, cooldown_s=3), [True, True, False, False, False, False, True]) == [
        1,
        6,
    ]


def test_without_cool_down_every_bad_one_is_raised():
    assert raised_at(AlarmRule(cooldown_s=0), [True, True, False, True]) == [0, 1, 3]


def test_a_clock_that_starts_below_zero_does_not_delay_the_first_alarm():
    assert NofM(AlarmRule()).observe(True, -5 * SECOND_NS)


def test_an_alarm_has_kind_subject_text_and_time():
    board = AlarmBoard(AlarmOptions())
    alarm = board.observe("uninspected", "cap", True, 7, "part 3: timeout")
    assert alarm == Alarm("uninspected", "cap", "part 3: timeout", 7)


def test_each_kind_follows_its_own_rule():
    board = AlarmBoard(
        AlarmOptions(defect=AlarmRule(n=2, of=2), uninspected=AlarmRule(), late_reject=AlarmRule(n=3, of=3))
    )
    first_raised = {
        kind: next(n for n in range(1, 10) if board.observe(kind, "cap", True, n, "bad"))
        for kind in ("defect", "uninspected", "late_reject")
    }
    assert first_raised == {"defect": 2, "uninspected": 1, "late_reject": 3}


def test_stations_do_not_share_a_window():
    board = AlarmBoard(AlarmOptions(defect=AlarmRule(n=2, of=2)))
    assert board.observe("defect", "cap", True, 0, "bad") is None
    assert board.observe("defect", "label", True, 1, "bad") is None
    assert board.observe("defect", "cap", True, 2, "bad") == Alarm("defect", "cap", "bad", 2)


@pytest.mark.parametrize("kind", ["camera_down", "worker_down", "actuator_fault", "encoder_fault", "store_fault"])
def test_a_level_is_raised_once_when_it_goes_down_and_once_more_after_it_recovered(kind):
    board = AlarmBoard(AlarmOptions())
    levels = [False, True, True, True, False, False, True, True]
    raised = [
        second
        for second, down in enumerate(levels)
        if board.observe(kind, "top", down, second * 3600 * SECOND_NS, "no frame for 1 s")
    ]
    assert raised == [1, 6]


def test_what_is_down_from_the_start_is_raised():
    alarm = AlarmBoard(AlarmOptions()).observe("worker_down", "worker0", True, 5, "silent since the start")
    assert alarm == Alarm("worker_down", "worker0", "silent since the start", 5)


def test_one_camera_that_is_down_does_not_hide_another():
    board = AlarmBoard(AlarmOptions())
    assert board.observe("camera_down", "top", True, 0, "stalled")
    assert board.observe("camera_down", "side", True, 1, "stalled") == Alarm("camera_down", "side", "stalled", 1)


def test_a_level_is_active_until_a_good_observation_ends_it():
    board = AlarmBoard(AlarmOptions())
    board.observe("camera_down", "top", True, SECOND_NS, "stalled")
    board.observe("camera_down", "top", True, 500 * SECOND_NS, "stalled")
    assert [alarm.text for alarm in board.active(1000 * SECOND_NS)] == ["stalled"]
    board.observe("camera_down", "top", False, 1001 * SECOND_NS, "")
    assert board.active(1001 * SECOND_NS) == []


def test_any_other_alarm_is_active_for_its_cool_down_the_newest_first():
    board = AlarmBoard(AlarmOptions(defect=AlarmRule(cooldown_s=60), uninspected=AlarmRule(cooldown_s=0)))
    board.observe("defect", "cap", True, 0, "part 1 is defective")
    board.observe("uninspected", "cap", True, SECOND_NS, "part 2 was not inspected")
    assert [alarm.kind for alarm in board.active(2 * SECOND_NS)] == ["uninspected", "defect"]
    assert [alarm.kind for alarm in board.active(30 * SECOND_NS)] == ["defect"]
    assert board.active(60 * SECOND_NS) == []
