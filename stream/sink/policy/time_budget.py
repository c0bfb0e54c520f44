"""How much time something for people may take: they cannot look at a hundred pictures a second."""

from __future__ import annotations

from typing import NamedTuple

#: A pause saves up so much for the burst after it.
_SAVED_S = 2.0


class _Purse(NamedTuple):
    amount_ns: float
    at_ns: int


class TimeBudget:
    """A budget of time for each key, which may be overdrawn once. Pure: the clock is passed in."""

    def __init__(self, share: float) -> None:
        """Allow each key this share of the time; it begins with a pause's savings."""
        self._share = share
        self._purses: dict[object, _Purse] = {}

    def allows(self, key: object, now_ns: int) -> bool:
        """Whether all that `key` has spent is paid for."""
        most_ns = _SAVED_S * 1e9 * self._share
        amount_ns, at_ns = self._purses.get(key, _Purse(most_ns, now_ns))
        amount_ns = min(most_ns, amount_ns + (now_ns - at_ns) * self._share)
        self._purses[key] = _Purse(amount_ns, now_ns)
        return amount_ns >= 0

    def spend(self, key: object, cost_ns: int) -> None:
        """Take what a turn of `key` has cost from its budget."""
        amount_ns, at_ns = self._purses[key]
        self._purses[key] = _Purse(amount_ns - cost_ns, at_ns)
