"""One event in each interval."""

from __future__ import annotations


class RateLimiter:
    """Allows one event in each interval on average. Pure: the clock is passed in.

    An event slightly after its time makes the next one due earlier: of parts that come slightly faster than the
    interval nearly all are allowed, not every second one.
    """

    def __init__(self, interval_ns: int) -> None:
        """Allow one in `interval_ns`."""
        self._interval_ns = interval_ns
        self._next_ns = 0

    def allows(self, now_ns: int) -> bool:
        """Whether an event is allowed now; if so, it counts."""
        if now_ns < self._next_ns:
            return False
        self._next_ns = max(self._next_ns, now_ns - self._interval_ns // 2) + self._interval_ns
        return True
