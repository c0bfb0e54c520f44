"""Which parts are watched: somebody may look at their previews even if they are GOOD."""

from __future__ import annotations

from collections.abc import Iterable

from stream.core.rate_limiter import RateLimiter

#: How long a line counts as watched after the sink last said so.
WATCHED_NS = 1_000_000_000
#: Interval of the watched parts of a station: as many as an eye can follow.
_INTERVAL_NS = 1_000_000_000 // 15


class WatchedParts:
    """The parts of one camera's stations. Pure: the clock is passed in."""

    def __init__(self, stations: Iterable[str]) -> None:
        self._limiters = {station: RateLimiter(_INTERVAL_NS) for station in stations}

    def takes(self, station: str, watching_ns: int | None, now_ns: int) -> bool:
        """Whether the next part of a station is watched; if so, it counts.

        `watching_ns` is when the sink last said that the line is; None: never.
        """
        if watching_ns is None or now_ns - watching_ns >= WATCHED_NS:
            return False
        return self._limiters[station].allows(now_ns)
