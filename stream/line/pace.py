"""How often something for people may be done: they cannot look at a hundred pictures a second."""

from __future__ import annotations

from typing import NamedTuple

#: A pause saves up so much for the burst after it.
_SAVED_S = 10.0


class _Purse(NamedTuple):
    amount: float
    at_ns: int


class Pace:
    """A token bucket for each key. Pure: the clock is passed in."""

    def __init__(self, rate_hz: float) -> None:
        """Allow each key `rate_hz` on average, and a burst of ten seconds' worth, at least one."""
        self._rate_hz = rate_hz
        self._most = max(1.0, rate_hz * _SAVED_S)
        self._purses: dict[object, _Purse] = {}

    def allows(self, key: object, now_ns: int) -> bool:
        """Whether `key` has its turn now; if so, it is taken."""
        amount, at_ns = self._purses.get(key, _Purse(self._most, now_ns))
        amount = min(self._most, amount + (now_ns - at_ns) / 1e9 * self._rate_hz)
        turn = amount >= 1
        self._purses[key] = _Purse(amount - turn, now_ns)
        return turn
