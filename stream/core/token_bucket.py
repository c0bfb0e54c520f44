"""Token buckets: how often something may happen. Pure: the clock is passed in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple


class _Bucket(NamedTuple):
    tokens: float
    at_ns: int


class TokenBuckets:
    """A bucket of tokens for each key: full at first, refilled at a steady rate, and it may be overdrawn."""

    def __init__(self, capacity: float, per_ns: float, *, max_keys: int = 10_000) -> None:
        """Fill each bucket with `per_ns` tokens per ns up to `capacity`; beyond `max_keys` the longest unused go."""
        self._capacity = capacity
        self._per_ns = per_ns
        self._max_keys = max_keys
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def available(self, key: Hashable, now_ns: int) -> float:
        """Refill the bucket of a key and return its tokens; below 0 where it was overdrawn."""
        tokens, at_ns = self._buckets.pop(key, _Bucket(self._capacity, now_ns))
        tokens = min(self._capacity, tokens + (now_ns - at_ns) * self._per_ns)
        self._buckets[key] = _Bucket(tokens, now_ns)
        while len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
        return tokens

    def take(self, key: Hashable, tokens: float) -> None:
        """Take tokens from the bucket of a key, even where it has fewer; ask for `available` first."""
        bucket = self._buckets[key]
        self._buckets[key] = bucket._replace(tokens=bucket.tokens - tokens)

    def forget(self, key: Hashable) -> None:
        """Fill the bucket of a key."""
        self._buckets.pop(key, None)
