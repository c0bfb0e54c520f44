from __future__ import annotations

import json
import random

from campaigns.mutations import damaged_bytes, damaged_tree, nested
from hypothesis import given
from hypothesis import strategies as st

GENUINE = {"station": "cap", "seq": 17, "score": 1.5, "up": True, "clock": ["boot", 12], "stages": {"search": 2.0}}

TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.integers(0, 2**32), TREES)
def test_a_damaged_tree_is_the_same_for_a_seed_and_leaves_the_genuine_one_alone(seed: int, tree: object):
    before = repr(tree)
    damaged = damaged_tree(random.Random(seed), tree)
    assert repr(damaged) == repr(damaged_tree(random.Random(seed), tree))
    assert repr(tree) == before


@given(st.integers(0, 2**32), st.binary(max_size=200), st.lists(st.binary(max_size=50), max_size=3))
def test_damaged_bytes_are_the_same_for_a_seed(seed: int, data: bytes, others: list[bytes]):
    assert damaged_bytes(random.Random(seed), data, others) == damaged_bytes(random.Random(seed), data, others)


def test_damage_reaches_every_field_by_removal_and_by_another_value():
    dice = random.Random(0)
    trees = [damaged_tree(dice, GENUINE) for _ in range(3_000)]
    changed = sum(tree != GENUINE for tree in trees)
    assert changed > 2_700
    for field, value in GENUINE.items():
        assert any(field not in tree for tree in trees), field
        assert any(field in tree and tree[field] != value for tree in trees), field
    assert any(set(tree) - set(GENUINE) for tree in trees), "fields that nobody knows"


def test_most_damaged_bytes_differ_and_some_are_longer_or_empty():
    dice = random.Random(0)
    data = json.dumps(GENUINE).encode()
    damaged = [damaged_bytes(dice, data, [b"another"]) for _ in range(1_000)]
    assert sum(one != data for one in damaged) > 900
    assert any(len(one) > len(data) for one in damaged)
    assert any(one.endswith(b"another") for one in damaged)
    assert b"" in damaged


def test_nested_values_are_as_deep_as_asked():
    assert nested(3) == [[[0]]]
    assert nested(2, "map") == {"a": {"a": 0}}
