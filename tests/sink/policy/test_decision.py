from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.parts import Part, Settled
from stream.core.verdict import Cause, Verdict
from stream.devices.actuators.actuator import RejectCommand
from stream.line.sections import RejectOptions, StationOptions
from stream.sink.policy.decision import Decision, decide, plan_pulse, pulse_ns_for, track_pulse

MS = 1_000_000
CAPTURED_NS = 5_000 * MS
REJECT = RejectOptions(actuator="gate", transport_delay_ms=420, pulse_ms=60, tolerance_ms=15)
PLANNED_NS = CAPTURED_NS + 420 * MS
LATEST_NS = PLANNED_NS + 15 * MS


def settled(at_ns: int, captured_ns: int | None = CAPTURED_NS) -> Settled:
    part = Part("cap", 17, captured_ns, CAPTURED_NS + 150 * MS, "A-17")
    return Settled(part, Verdict.UNINSPECTED, Cause.TIMEOUT, "no result by the deadline", at_ns)


@pytest.mark.parametrize("policy", ["reject", "pass", "ignore"])
def test_a_good_part_passes_and_a_defective_one_is_rejected_under_every_policy(policy: str):
    assert decide(Verdict.GOOD, policy) is Decision.PASS
    assert decide(Verdict.DEFECT, policy) is Decision.REJECT


@pytest.mark.parametrize(
    ("policy", "decision"), [("reject", Decision.REJECT), ("pass", Decision.PASS), ("ignore", Decision.IGNORE)]
)
def test_the_decision_for_an_uninspected_part_is_the_stations_policy(policy: str, decision: Decision):
    assert decide(Verdict.UNINSPECTED, policy) is decision


@pytest.mark.parametrize(("mode", "decision"), [("triggered", Decision.REJECT), ("freerun", Decision.IGNORE)])
def test_without_a_policy_only_a_triggered_station_rejects_uninspected_parts(mode: str, decision: Decision):
    station = StationOptions(camera="top", bundle="cap.safetensors", mode=mode)
    assert decide(Verdict.UNINSPECTED, station.uninspected_policy) is decision


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("policy", ["reject", "pass", "ignore"])
def test_a_gate_that_opens_on_good_opens_for_good_parts_only_and_is_shut_for_all_others(verdict: Verdict, policy: str):
    gate = RejectOptions(actuator="gate", transport_delay_ms=420, pulse_ms=60, gate="open_on_good")
    pulse_ns = pulse_ns_for(decide(verdict, policy), verdict, gate)
    assert pulse_ns == (60 * MS if verdict is Verdict.GOOD else 0)


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("policy", ["reject", "pass", "ignore"])
def test_a_reject_that_pulses_on_bad_pulses_for_what_is_rejected(verdict: Verdict, policy: str):
    decision = decide(verdict, policy)
    assert pulse_ns_for(decision, verdict, REJECT) == (60 * MS if decision is Decision.REJECT else None)


def test_a_part_that_is_tracked_by_an_encoder_has_counts_and_no_moment_yet():
    counted = RejectOptions(actuator="gate", encoder="belt", transport_counts=900, tolerance_counts=20)
    tracked = track_pulse(settled(CAPTURED_NS + 100 * MS), counted, 60 * MS, 3.5)
    assert tracked is not None
    assert (tracked.captured_ns, tracked.transport_counts, tracked.tolerance_counts) == (CAPTURED_NS, 900, 20)
    assert (tracked.command.seq, tracked.command.planned_ns, tracked.command.pulse_ns) == (17, 0, 60 * MS)
    assert track_pulse(settled(CAPTURED_NS, captured_ns=None), counted, 60 * MS, None) is None


def test_the_pulse_is_planned_for_the_moment_the_part_reaches_the_reject():
    assert plan_pulse(settled(CAPTURED_NS + 100 * MS), REJECT, 60 * MS, 3.5) == RejectCommand(
        station="cap",
        seq=17,
        part_id="A-17",
        verdict=Verdict.UNINSPECTED,
        cause=Cause.TIMEOUT,
        planned_ns=PLANNED_NS,
        tolerance_ns=15 * MS,
        pulse_ns=60 * MS,
        score=3.5,
    )


@pytest.mark.parametrize("decided_ns", [PLANNED_NS, PLANNED_NS + 1, LATEST_NS])
def test_a_decision_within_the_tolerance_is_still_planned(decided_ns: int):
    command = plan_pulse(settled(decided_ns), REJECT, 60 * MS, None)
    assert command is not None
    assert (command.planned_ns, command.expires_ns) == (PLANNED_NS, LATEST_NS)


def test_a_decision_past_the_tolerance_would_hit_another_part_and_is_not_planned():
    assert plan_pulse(settled(LATEST_NS + 1), REJECT, 60 * MS, None) is None


def test_a_part_whose_exposure_is_unknown_cannot_be_planned():
    assert plan_pulse(settled(CAPTURED_NS, captured_ns=None), REJECT, 60 * MS, None) is None


@given(
    delay_ms=st.floats(0, 60_000),
    tolerance_ms=st.floats(0.1, 1_000),
    decided_ms=st.integers(0, 120_000),
)
def test_a_command_that_is_planned_can_still_be_fired_and_any_other_could_not(
    delay_ms: float, tolerance_ms: float, decided_ms: int
):
    reject = RejectOptions(actuator="gate", transport_delay_ms=delay_ms, tolerance_ms=tolerance_ms)
    decided_ns = CAPTURED_NS + decided_ms * MS
    command = plan_pulse(settled(decided_ns), reject, 60 * MS, None)
    margin_ns = CAPTURED_NS + (delay_ms + tolerance_ms) * MS - decided_ns
    if command is None:
        assert margin_ns < 2, "the moment may be cut to whole nanoseconds"
    else:
        assert margin_ns > -2
        assert command.expires_ns >= decided_ns
        assert command.planned_ns == pytest.approx(CAPTURED_NS + delay_ms * MS, abs=1)
