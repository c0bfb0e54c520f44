"""What every encoder is asked, and the options that all share."""

from __future__ import annotations

from typing import Annotated, Protocol

from pydantic import Field

from stream.core.options import Options

PollMs = Annotated[float, Field(ge=1, le=1_000)]
Wrap = Annotated[int, Field(ge=16, le=2**63)]


class Polled(Options):
    """How often the count is read, and after how many counts it begins at 0 again."""

    poll_ms: PollMs = 10.0
    wrap: Wrap = 65_536


class Encoder(Protocol):
    """A counter that goes up as the belt goes forward. Every call comes from one thread and may block it."""

    def read(self) -> int:
        """Return the count, 0 to wrap - 1; connects when that is needed. Raises OSError."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...
