from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.core.verdict import Verdict
from stream.devices.actuators.actuator import RejectCommand
from stream.sink.policy.schedule import Due, Heartbeat, Schedule


def command(planned_ns: int, seq: int = 0, tolerance_ns: int = 15) -> RejectCommand:
    return RejectCommand("cap", seq, None, Verdict.DEFECT, None, planned_ns, tolerance_ns, pulse_ns=60)


def schedule(*commands: RejectCommand) -> Schedule:
    planned = Schedule()
    for item in commands:
        planned.add(item)
    return planned


def test_an_empty_schedule_has_nothing_to_do():
    empty = Schedule()
    assert empty.due(10**18) == Due([], [])
    assert empty.next_ns is None
    assert len(empty) == 0


def test_nothing_is_fired_before_its_moment():
    planned = schedule(command(100))
    assert planned.due(99) == Due([], [])
    assert planned.next_ns == 100
    assert planned.due(100) == Due([command(100)], [])
    assert planned.next_ns is None


def test_a_command_is_handed_out_once():
    planned = schedule(command(100))
    planned.due(100)
    assert planned.due(101) == Due([], [])
    assert len(planned) == 0


def test_the_end_of_the_tolerance_is_still_in_time_and_the_nanosecond_after_is_late():
    assert schedule(command(100)).due(115) == Due([command(100)], [])
    assert schedule(command(100)).due(116) == Due([], [command(100)])


def test_each_command_has_its_own_tolerance():
    strict, lenient = command(100, seq=1, tolerance_ns=5), command(101, seq=2, tolerance_ns=50)
    assert schedule(strict, lenient).due(120) == Due([lenient], [strict])


def test_commands_are_fired_in_the_order_of_their_moments():
    planned = schedule(command(300, 3), command(100, 1, 500), command(200, 2, 500))
    assert planned.next_ns == 100
    assert [item.seq for item in planned.due(200).fire] == [1, 2]
    assert planned.next_ns == 300
    assert [item.seq for item in planned.due(300).fire] == [3]


def test_equal_moments_keep_the_order_in_which_they_were_planned():
    planned = schedule(*(command(100, seq) for seq in (5, 3, 9, 3)))
    assert [item.seq for item in planned.due(100).fire] == [5, 3, 9, 3]


def test_what_is_planned_can_be_read_in_order_and_stays_planned():
    planned = schedule(command(300, 3), command(100, 1), command(200, 2), command(100, 9))
    assert [item.seq for item in planned.commands()] == [1, 9, 2, 3]
    assert len(planned) == 4
    assert planned.due(100).fire == [command(100, 1), command(100, 9)]
    assert planned.commands() == [command(200, 2), command(300, 3)]


def test_an_earlier_command_that_is_planned_later_goes_first():
    planned = schedule(command(200, 2))
    planned.add(command(150, 1))
    assert planned.next_ns == 150
    assert planned.due(160) == Due([command(150, 1)], [])


@given(
    commands=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 20)), max_size=20),
    steps=st.lists(st.integers(0, 30), max_size=20),
)
def test_every_command_comes_out_once_fired_only_within_its_time(commands, steps):
    planned = schedule(*(command(at, seq, tolerance) for seq, (at, tolerance) in enumerate(commands)))
    now_ns, seen = 0, []
    for step in [*steps, 200]:
        now_ns += step
        due = planned.due(now_ns)
        assert all(item.planned_ns <= now_ns <= item.expires_ns for item in due.fire)
        assert all(item.expires_ns < now_ns for item in due.late)
        assert planned.next_ns is None or planned.next_ns > now_ns
        seen += [item.seq for item in (*due.fire, *due.late)]
    assert sorted(seen) == list(range(len(commands)))


def test_the_output_goes_off_when_its_pulse_is_over():
    planned = schedule(command(100))
    planned.due(100)
    planned.started(command(100), 103)
    assert planned.on
    assert planned.next_ns == 163
    assert planned.due(162) == Due([], [])
    assert planned.due(163) == Due([], [], end=True)
    assert not planned.on
    assert planned.due(200) == Due([], [])


def test_overlapping_pulses_end_together_with_the_last():
    planned = schedule(command(100, 1), command(150, 2))
    for at in (100, 150):
        for item in planned.due(at).fire:
            planned.started(item, at)
    assert planned.due(160) == Due([], [])
    assert planned.next_ns == 210
    assert planned.due(210).end


def test_a_short_pulse_within_a_long_one_does_not_cut_it():
    planned = schedule()
    planned.started(command(100)._replace(pulse_ns=500), 100)
    planned.started(command(110)._replace(pulse_ns=10), 110)
    assert planned.next_ns == 600


def test_a_pulse_that_begins_when_another_ends_leaves_the_output_on():
    planned = schedule(command(160, 2))
    planned.started(command(100, 1), 100)
    assert planned.due(160) == Due([command(160, 2)], [])
    planned.started(command(160, 2), 160)
    assert planned.next_ns == 220


def shut(planned_ns: int) -> RejectCommand:
    return command(planned_ns, seq=99)._replace(pulse_ns=0)


def test_a_part_that_must_not_pass_shuts_the_output_in_the_pulse_of_the_part_before():
    planned = schedule(command(100, 1), shut(130))
    for item in planned.due(100).fire:
        planned.started(item, 100)
    assert planned.next_ns == 130
    assert planned.due(130) == Due([], [], end=True)
    assert not planned.on


def test_an_output_is_shut_however_late_and_nothing_happens_when_it_is_off():
    planned = schedule(shut(50), shut(130))
    assert planned.due(60) == Due([], [])
    planned.started(command(100, 1), 100)
    assert planned.due(155) == Due([], [], end=True)


def test_a_pulse_that_comes_late_does_not_open_for_the_part_behind_it_that_must_not_pass():
    planned = schedule(command(100, 1), shut(110), command(112, 3))
    assert planned.due(114) == Due([command(112, 3)], [command(100, 1)])


def test_shutting_needs_no_liveness_check():
    planned = checked(shut(100))
    assert planned.next_ns == 100
    assert planned.check_due(90) is None


def checked(*commands: RejectCommand) -> Schedule:
    planned = Schedule(check_ahead_ns=20)
    for item in commands:
        planned.add(item)
    return planned


def test_a_liveness_check_is_due_ahead_of_a_pulse_once():
    planned = checked(command(100))
    assert planned.next_ns == 80
    assert planned.check_due(79) is None
    assert planned.check_due(80) == command(100)
    assert planned.check_due(81) is None
    assert planned.next_ns == 100


def test_one_liveness_check_serves_the_pulses_close_behind_it():
    planned = checked(command(100, 1), command(115, 2), command(300, 3))
    assert planned.check_due(80) == command(100, 1)
    planned.due(100)
    assert planned.check_due(100) is None
    planned.due(115)
    assert planned.check_due(299) == command(300, 3)


def test_a_pulse_planned_at_the_last_moment_is_checked_first_and_a_late_one_not_at_all():
    assert checked(command(100)).check_due(105) == command(100)
    assert checked(command(100)).check_due(116) is None


def test_the_heartbeat_toggles_every_period_while_the_line_is_healthy():
    beat = Heartbeat(100, clear_ns=10)
    beat.keep_alive(1_000)
    assert beat.due(1, None) is True
    assert beat.due(2, None) is None
    assert beat.next_ns == 101
    assert beat.due(101, None) is False


def test_the_heartbeat_stops_without_reports_of_a_healthy_line_and_resumes_with_the_next():
    beat = Heartbeat(100, clear_ns=10)
    assert beat.due(50, None) is None
    assert beat.next_ns is None, "nothing to wake up for"
    beat.keep_alive(200)
    assert beat.due(150, None) is True
    assert beat.due(260, None) is None
    assert beat.next_ns is None
    beat.keep_alive(400)
    assert beat.due(300, None) is False


def test_the_heartbeat_is_postponed_for_a_pulse_but_by_one_period_at_most():
    beat = Heartbeat(100, clear_ns=10)
    beat.keep_alive(10_000)
    assert beat.due(10, None) is True
    assert beat.due(110, next_pulse_ns=115) is None
    assert beat.next_ns == 116
    assert beat.due(116, next_pulse_ns=124) is None
    assert beat.due(210, next_pulse_ns=212) is False


def test_without_a_period_there_is_no_heartbeat():
    beat = Heartbeat(None, clear_ns=10)
    beat.keep_alive(1_000)
    assert beat.due(500, None) is None
    assert beat.next_ns is None
