"""How much of the time may go into what users look at: they cannot look at a hundred pictures a second."""

from __future__ import annotations

from stream.core.token_bucket import TokenBuckets

#: Time whose share a pause saves up for the burst after it, in seconds.
_SAVED_S = 2.0


class TimeBudget:
    """A budget of time for each key, which may be overdrawn once. Pure: the clock is passed in."""

    def __init__(self, share: float) -> None:
        """Allow each key this share of the time; it begins with the savings of a pause."""
        self._spendable_ns = TokenBuckets(_SAVED_S * 1e9 * share, share)

    def allows(self, key: object, now_ns: int) -> bool:
        """Whether `key` has budget left."""
        return self._spendable_ns.available(key, now_ns) >= 0

    def spend(self, key: object, cost_ns: int) -> None:
        """Take what a turn of `key` has cost from its budget."""
        self._spendable_ns.take(key, cost_ns)
