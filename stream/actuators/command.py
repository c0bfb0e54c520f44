"""What every actuator is told, and what it answers."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from stream.messages import Cause, Verdict


class RejectCommand(NamedTuple):
    """Push one part off the belt.

    Attributes:
        station, seq, part_id: the part.
        verdict, cause: why.
        planned_ns: when the pulse begins, on this host's monotonic clock.
        tolerance_ns: how much later it may still begin; after that it would hit the next part.
        pulse_ns: how long it lasts.
    """

    station: str
    seq: int
    part_id: str | None
    verdict: Verdict
    cause: Cause | None
    planned_ns: int
    tolerance_ns: int
    pulse_ns: int

    @property
    def expires_ns(self) -> int:
        """After this moment the command must not be fired."""
        return self.planned_ns + self.tolerance_ns


class Actuator(Protocol):
    """An output that is open. Both calls come from the actuator's own thread and may block it."""

    def fire(self, command: RejectCommand, fired_ns: int) -> None:
        """Begin the pulse now and return when it is acknowledged.

        Raises:
            OSError: not acknowledged; the command is counted as failed and never repeated.
        """
        ...

    def close(self) -> None:
        """Leave the output in its safe state."""
        ...
