"""The decision that follows a verdict, and the pulse that carries it out. Only GOOD passes unconditionally."""

from __future__ import annotations

from enum import StrEnum

from stream.core.parts import Settled
from stream.core.verdict import Verdict
from stream.devices.actuators.actuator import RejectCommand
from stream.line.sections import OnUninspected, RejectOptions
from stream.sink.policy.shift_register import Tracked


class Decision(StrEnum):
    """The decision about one part."""

    REJECT = "reject"
    PASS = "pass"  # noqa: S105 - a part passes, this is no password
    IGNORE = "ignore"


def decide(verdict: Verdict, on_uninspected: OnUninspected) -> Decision:
    """Return the decision for a verdict, by the station's policy if the part was not inspected."""
    if verdict is Verdict.GOOD:
        return Decision.PASS
    if verdict is Verdict.DEFECT:
        return Decision.REJECT
    return Decision(on_uninspected)


def pulse_ns_for(decision: Decision, verdict: Verdict, reject: RejectOptions) -> int | None:
    """Return how long the reject's output is on for a part: to push it off, or to let it through.

    0: the output is switched off, so that the part cannot pass through a gate still open for the one before it;
    None: the output is not switched.
    """
    pulse_ns = int(reject.pulse_ms * 1e6)
    if reject.gate == "open_on_good":
        return pulse_ns if decision is Decision.PASS and verdict is Verdict.GOOD else 0
    return pulse_ns if decision is Decision.REJECT else None


def plan_pulse(settled: Settled, reject: RejectOptions, pulse_ns: int, score: float | None) -> RejectCommand | None:
    """Plan the pulse for a part at captured + transport delay.

    Returns:
        The command; None when it cannot be planned: the part's moment of exposure is unknown, or
        the part is past the reject by more than the tolerance.
    """
    captured_ns = settled.part.captured_ns
    if captured_ns is None or reject.transport_delay_ms is None:
        return None
    command = _pulse(settled, pulse_ns, score)._replace(
        planned_ns=captured_ns + int(reject.transport_delay_ms * 1e6), tolerance_ns=int(reject.tolerance_ms * 1e6)
    )
    return command if settled.settled_ns <= command.expires_ns else None


def track_pulse(settled: Settled, reject: RejectOptions, pulse_ns: int, score: float | None) -> Tracked | None:
    """Plan the pulse for a part that is tracked by an encoder; None when its moment of exposure is unknown."""
    captured_ns = settled.part.captured_ns
    if captured_ns is None or reject.transport_counts is None or reject.tolerance_counts is None:
        return None
    return Tracked(_pulse(settled, pulse_ns, score), captured_ns, reject.transport_counts, reject.tolerance_counts)


def _pulse(settled: Settled, pulse_ns: int, score: float | None) -> RejectCommand:
    """Return the command without its planned moment."""
    part = settled.part
    return RejectCommand(
        station=part.station,
        seq=part.seq,
        part_id=part.part_id,
        verdict=settled.verdict,
        cause=settled.cause,
        planned_ns=0,
        tolerance_ns=0,
        pulse_ns=pulse_ns,
        score=score,
    )
