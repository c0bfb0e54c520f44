"""How much CPU time work of low priority may take: nobody looks at a hundred overlays a second."""

from __future__ import annotations

from typing import NamedTuple

#: Longest pause whose share is saved for the burst after it.
_SAVED_S = 2.0


class _Balance(NamedTuple):
    left_ns: float
    at_ns: int


class TimeBudget:
    """A budget of time for each key, which may be overdrawn once. Pure: the clock is passed in."""

    def __init__(self, share: float) -> None:
        """Allow each key this share of the time; a key starts with the savings of the longest pause."""
        self._share = share
        self._balances: dict[object, _Balance] = {}

    def allows(self, key: object, now_ns: int) -> bool:
        """Whether `key` has budget left."""
        limit_ns = _SAVED_S * 1e9 * self._share
        left_ns, at_ns = self._balances.get(key, _Balance(limit_ns, now_ns))
        left_ns = min(limit_ns, left_ns + (now_ns - at_ns) * self._share)
        self._balances[key] = _Balance(left_ns, now_ns)
        return left_ns >= 0

    def spend(self, key: object, cost_ns: int) -> None:
        """Take a cost from the budget of `key`, which `allows` was asked about before."""
        left_ns, at_ns = self._balances[key]
        self._balances[key] = _Balance(left_ns - cost_ns, at_ns)
