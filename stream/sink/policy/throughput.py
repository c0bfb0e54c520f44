"""Rate and latency of parts over the last seconds."""

from __future__ import annotations

from collections import deque

from stream.core.statistics import percentiles

#: Parts kept; with more of them the window is shorter.
_MAX_PARTS = 1_000


class ThroughputWindow:
    """The parts of one station within a window of time. Pure: the clock is passed in."""

    def __init__(self, window_ns: int) -> None:
        """Keep the parts of the last `window_ns`."""
        self._window_ns = window_ns
        self._parts: deque[tuple[int, float | None]] = deque(maxlen=_MAX_PARTS)

    def add(self, settled_ns: int, total_ms: float | None) -> None:
        """Note a part; `total_ms` is None when its exposure is unknown."""
        self._parts.append((settled_ns, total_ms))

    def rate_hz(self, now_ns: int) -> float:
        """Return parts per second between the oldest one within the window and now."""
        self._drop_old(now_ns)
        if len(self._parts) < 2:
            return 0.0
        span_ns = max(now_ns, self._parts[-1][0]) - self._parts[0][0]
        return len(self._parts) / (span_ns / 1e9) if span_ns > 0 else 0.0

    def latency_ms(self, now_ns: int) -> tuple[float, float] | None:
        """Return (median, 99th percentile) of the totals within the window; None without any."""
        self._drop_old(now_ns)
        totals = [total for _, total in self._parts if total is not None]
        if not totals:
            return None
        p50_ms, p99_ms = percentiles(totals, 50, 99)
        return p50_ms, p99_ms

    def _drop_old(self, now_ns: int) -> None:
        while self._parts and now_ns - self._parts[0][0] > self._window_ns:
            self._parts.popleft()
