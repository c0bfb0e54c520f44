"""Growing pauses between attempts. Waiting is the caller's, who also waits for an event that ends it."""

from __future__ import annotations

from typing import NamedTuple


class Backoff(NamedTuple):
    """Pauses that double from `first_s` to `longest_s`. Pure."""

    first_s: float
    longest_s: float

    def pause_s(self, failures: int) -> float:
        """Return the pause after so many failures in a row, 1 or more."""
        return min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30))
