"""How an actuator publishes every verdict, beside its rejects.

A verdict informs users and their systems. It moves nothing: that is what a `RejectCommand` is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from stream.core.parts import PartResult

#: Verdicts older than this are not published.
VERDICT_MAX_AGE_NS = 600_000_000_000


class VerdictReport(NamedTuple):
    """One settled part.

    Attributes:
        sequence: counts the reports of one actuator from 1, those that are dropped too.
        part: the part and its result.
        decision: `reject`, `pass` or `ignore`.
        captured_realtime_ns: moment of exposure, Unix time; None where it is unknown.
        settled_realtime_ns: moment of the verdict, Unix time.
        settled_ns: the same on this host's monotonic clock.
    """

    sequence: int
    part: PartResult
    decision: str
    captured_realtime_ns: int | None
    settled_realtime_ns: int
    settled_ns: int


class VerdictChannel(Protocol):
    """A way to publish verdicts. All calls come from one thread, not that of the rejects; they may block it."""

    @property
    def where(self) -> str:
        """Where it publishes, for messages."""
        ...

    def connect(self) -> None:
        """Connect; raises OSError."""
        ...

    def publish(self, reports: Sequence[VerdictReport], until_ns: int, /) -> None:
        """Publish and return when all are acknowledged; raises OSError when they are not by `until_ns`."""
        ...

    def drop(self) -> None:
        """End the connection, if there is one; what was not acknowledged is not sent again."""
        ...


@runtime_checkable
class PublishesVerdicts(Protocol):
    """Options of an actuator that can publish every verdict, independent of its rejects."""

    def open_verdicts(self) -> VerdictChannel:
        """Return a channel that is not connected yet; raises ConfigError when a file cannot be used."""
        ...
