"""Pulses by hand: planned, fired, and what became of them."""

from __future__ import annotations

from collections.abc import Callable

from support.outputs import wait_for

from stream.core.clock import now_ns
from stream.core.verdict import Verdict
from stream.devices.actuators.actuator import RejectCommand
from stream.sink.actuator_thread import ActuatorThread, Fired

Start = Callable[..., ActuatorThread]
MS = 1_000_000
TOLERANCE_MS = 200
PULSE_MS = 40


def command(seq: int, in_ms: float = 60, tolerance_ms: float = TOLERANCE_MS) -> RejectCommand:
    planned_ns = now_ns() + int(in_ms * MS)
    return RejectCommand(
        "cap", seq, f"part{seq}", Verdict.DEFECT, None, planned_ns, int(tolerance_ms * MS), PULSE_MS * MS, 2.5
    )


def fire(thread: ActuatorThread, *commands: RejectCommand) -> list[Fired]:
    """Plan the commands and return what became of them, when the output is off again."""
    for item in commands:
        thread.plan(item)
    wait_for(lambda: thread.idle, "end of the pulses")
    found = thread.outcomes()
    assert [fired.command for fired in found] == list(commands)
    return found


def fire_in_turn(thread: ActuatorThread, count: int, first: int = 0) -> list[Fired]:
    return [fire(thread, command(seq))[0] for seq in range(first, first + count)]
