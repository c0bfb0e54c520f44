"""The protocol of every actuator: the commands it receives, and its acknowledgement."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from stream.core.clock import local_clock
from stream.core.verdict import Cause, Verdict


class RejectCommand(NamedTuple):
    """One pulse of a reject: push this part off the belt, or (GOOD, `open_on_good`) open the gate for it.

    Attributes:
        station, seq, part_id: the part.
        verdict, cause: why.
        planned_ns: when the pulse begins, on this host's monotonic clock.
        tolerance_ns: how much later it may still begin; after that it would hit the next part.
        pulse_ns: how long it lasts; 0: the output is to be off at this moment, even during a pulse for another part.
        score: of the part, if it has one.
        due_count: for a part that is followed by a belt's encoder, the count at which it is at the reject, once that
            is known; its `planned_ns` is 0 until it is near.
    """

    station: str
    seq: int
    part_id: str | None
    verdict: Verdict
    cause: Cause | None
    planned_ns: int
    tolerance_ns: int
    pulse_ns: int
    score: float | None = None
    due_count: int | None = None

    @property
    def expires_ns(self) -> int:
        """After this moment the command must not be fired."""
        return self.planned_ns + self.tolerance_ns


class Actuator(Protocol):
    """An output that is open. Every call comes from the actuator's own thread and may block it, up to its limit.

    What is lost is lost: nothing is repeated, and nothing that was asked for is sent after its limit.
    """

    #: How long the heartbeat keeps a level; None: the output has none, and `beat` is never called.
    heartbeat_ns: int | None

    @property
    def fault(self) -> str | None:
        """The present fault of the output, as a message; None without one. Never blocks; any thread may ask."""
        ...

    def check(self, until_ns: int, /) -> None:
        """Check that the device answers, just before a pulse; raises OSError."""
        ...

    def begin(self, command: RejectCommand, fired_ns: int, /) -> None:
        """Switch on for `command` and return when that is acknowledged, by `command.expires_ns` at the latest.

        Called again while it is on, for a pulse that overlaps the one before.

        Raises:
            OSError: not acknowledged; the command is counted as failed and never repeated.
        """
        ...

    def end(self) -> None:
        """Switch off after the last pulse; raises OSError."""
        ...

    def beat(self, level: bool, until_ns: int, /) -> None:
        """Set the heartbeat; raises OSError."""
        ...

    def close(self) -> None:
        """Leave the output in its safe state: off."""
        ...


def payload(command: RejectCommand, sequence: int) -> dict[str, Any]:
    """Return what an output that takes messages is sent for a pulse, ready for JSON.

    `sequence` counts the messages of this connection; `fire_at` and `not_after` are seconds of Unix time. Who
    receives it must not act after `not_after`: the message may have been held up on its way.
    """
    offset_ns = local_clock().realtime_offset_ns
    return {
        "command": "open" if command.verdict is Verdict.GOOD else "reject",
        "sequence": sequence,
        "station": command.station,
        "seq": command.seq,
        "part_id": command.part_id,
        "verdict": command.verdict,
        "cause": command.cause,
        "score": command.score,
        "fire_at": round((command.planned_ns + offset_ns) / 1e9, 6),
        "not_after": round((command.expires_ns + offset_ns) / 1e9, 6),
        "pulse_ms": command.pulse_ns / 1e6,
    }
