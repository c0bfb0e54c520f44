"""Keeping time: when the next frame is due, and waiting for that moment."""

from __future__ import annotations

import threading
import time

_LONGEST_WAIT_S = 3600.0  # Event.wait refuses timeouts of centuries, which a tiny rate would ask for


def tick_ns(origin_ns: int, index: int, rate_hz: float) -> int:
    """Return the moment of tick `index` in ns; counted from the origin, so rounding never adds up."""
    return origin_ns + round(index * 1e9 / rate_hz)


def wait_until(due_ns: int, stop: threading.Event) -> bool:
    """Wait for a moment of the monotonic clock: True when it has come, False as soon as `stop` is set."""
    while (left_ns := due_ns - time.monotonic_ns()) > 0:
        if stop.wait(min(left_ns / 1e9, _LONGEST_WAIT_S)):
            return False
    return not stop.is_set()
