"""How much CPU time work of low priority may take: nobody looks at a hundred overlays a second."""

from __future__ import annotations

from stream.core.token_bucket import TokenBuckets

#: Longest pause whose share is saved for the burst after it.
_SAVED_S = 2.0


class TimeBudget:
    """A budget of time for each key, which may be overdrawn once. Pure: the clock is passed in."""

    def __init__(self, share: float) -> None:
        """Allow each key this share of the time; a key starts with the savings of the longest pause."""
        self._spendable_ns = TokenBuckets(_SAVED_S * 1e9 * share, share)

    def allows(self, key: object, now_ns: int) -> bool:
        """Whether `key` has budget left."""
        return self._spendable_ns.available(key, now_ns) >= 0

    def spend(self, key: object, cost_ns: int) -> None:
        """Take a cost from the budget of `key`, which `allows` was asked about before."""
        self._spendable_ns.take(key, cost_ns)
