"""What an actuator that also tells verdicts is given, and what it must be able to do.

A verdict is news for people and their systems. It moves nothing: what is to be done is a `RejectCommand`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from stream.core.verdict import Cause, Verdict

#: So long a verdict is news; after that nobody is told of it any more.
NEWS_NS = 600_000_000_000


class VerdictReport(NamedTuple):
    """One settled part.

    Attributes:
        sequence: counts the reports of one actuator from 1, those that are dropped too.
        station, seq, part_id: the part.
        verdict, cause, detail: what the line says of it.
        score, threshold: of its image; None without a result.
        decision: `reject`, `pass` or `ignore`.
        captured_realtime_ns: moment of exposure, Unix time; None when nobody knows it.
        settled_realtime_ns: moment of the verdict, Unix time.
        settled_ns: the same on this host's monotonic clock.
    """

    sequence: int
    station: str
    seq: int
    part_id: str | None
    verdict: Verdict
    cause: Cause | None
    detail: str
    score: float | None
    threshold: float | None
    decision: str
    captured_realtime_ns: int | None
    settled_realtime_ns: int
    settled_ns: int


class VerdictChannel(Protocol):
    """A way to tell verdicts. Every call comes from one thread, which is not that of the rejects, and may block it."""

    @property
    def where(self) -> str:
        """Whom it tells, for a person."""
        ...

    def connect(self) -> None:
        """Connect; raises OSError."""
        ...

    def tell(self, reports: Sequence[VerdictReport], until_ns: int, /) -> None:
        """Tell them and return when all are acknowledged; raises OSError when they are not by `until_ns`."""
        ...

    def drop(self) -> None:
        """End the connection, if there is one; what was not acknowledged is not sent any more."""
        ...


@runtime_checkable
class TellsVerdicts(Protocol):
    """Options of an actuator that can tell every verdict, beside its rejects and independent of them."""

    def open_verdicts(self) -> VerdictChannel:
        """Return a channel that is not connected yet; raises ConfigError when a file cannot be used."""
        ...
