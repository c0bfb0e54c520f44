"""Growing pauses between attempts, and between log lines about one fault. Waiting and the clock are the caller's."""

from __future__ import annotations

from typing import NamedTuple


class Backoff(NamedTuple):
    """Pauses that double from `first_s` to `longest_s`. Pure."""

    first_s: float
    longest_s: float

    def pause_s(self, failures: int) -> float:
        """Return the pause after so many failures in a row, 1 or more."""
        return min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30))


class LogPace:
    """How often a fault that lasts is logged: at once, then at pauses that double up to ten minutes."""

    def __init__(self) -> None:
        self._pauses = Backoff(first_s=1.0, longest_s=600.0)
        self._logged = 0
        self._next_ns = 0
        self._silent = 0

    def due(self, now_ns: int) -> int | None:
        """Note one occurrence; if it is to be logged, returns how many since the last line were not, else None."""
        if self._logged and now_ns < self._next_ns:
            self._silent += 1
            return None
        self._logged += 1
        self._next_ns = now_ns + round(self._pauses.pause_s(self._logged) * 1e9)
        silent, self._silent = self._silent, 0
        return silent

    def over(self) -> bool:
        """Note that the fault is over, so that the next one is logged at once; returns whether there was one."""
        before, self._logged, self._silent = self._logged, 0, 0
        return before > 0
