from __future__ import annotations

import pytest

from stream.core.token_bucket import TokenBuckets

SECOND_NS = 1_000_000_000


def test_a_bucket_begins_full_and_fills_steadily_up_to_its_capacity():
    buckets = TokenBuckets(5, 1e-9)
    assert buckets.available("a", 0) == 5
    buckets.take("a", 4)
    assert buckets.available("a", 0) == pytest.approx(1)
    assert buckets.available("a", 2 * SECOND_NS) == pytest.approx(3)
    assert buckets.available("a", 3600 * SECOND_NS) == 5


def test_an_overdrawn_bucket_fills_from_below_zero():
    buckets = TokenBuckets(1, 1e-9)
    buckets.available("a", 0)
    buckets.take("a", 3)
    assert buckets.available("a", 0) == -2
    assert buckets.available("a", SECOND_NS) == pytest.approx(-1)


def test_keys_have_their_own_buckets_and_a_forgotten_one_is_full():
    buckets = TokenBuckets(2, 1e-9)
    for key in ("a", "b"):
        buckets.available(key, 0)
    buckets.take("a", 2)
    assert (buckets.available("a", 0), buckets.available("b", 0)) == (0, 2)
    buckets.forget("a")
    assert buckets.available("a", 0) == 2


def test_of_too_many_keys_the_longest_unused_is_forgotten():
    buckets = TokenBuckets(2, 1e-9, max_keys=2)
    for key in ("a", "b"):
        buckets.available(key, 0)
        buckets.take(key, 2)
    assert buckets.available("a", 0) == 0
    buckets.available("c", 0)
    assert buckets.available("a", 0) == 0, "used after b"
    assert buckets.available("b", 0) == 2
