from __future__ import annotations

import numpy as np
import pytest
import reference
from numpy.typing import NDArray

from stream.patchcore.search import MemoryBank


def features(seed: int, count: int, dims: int = 152, *, offset: float = 0.0) -> NDArray[np.float32]:
    return (offset + np.random.default_rng(seed).normal(size=(count, dims))).astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 3.0, 100.0])
@pytest.mark.parametrize("count", [1, 7, 784], ids=["one query", "some queries", "a picture"])
def test_the_nearest_feature_is_that_of_brute_force(count: int, offset: float):
    bank, queries = features(0, 400, offset=offset), features(1, count, offset=offset)
    found = MemoryBank(bank).nearest(queries)
    distance, index = reference.nearest(queries, bank)
    np.testing.assert_array_equal(found.row, index)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-4)


def test_distances_are_euclidean_and_float32():
    found = MemoryBank(np.zeros((1, 2), dtype=np.float32)).nearest(np.array([[3, 4]], dtype=np.float32))
    assert found.distance.tolist() == [5.0]
    assert (found.distance.dtype, found.row.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("count", [1, 500])
def test_remembered_patches_are_at_distance_0(count: int, offset: float):
    bank = features(2, 500, offset=offset)
    found = MemoryBank(bank).nearest(bank[:count])
    assert found.distance.tolist() == [0.0] * count
    assert found.row.tolist() == list(range(count))


def test_a_small_distance_between_large_features_is_not_rounded_away():
    bank = features(3, 50, offset=1000)
    queries = bank + np.float32(0.01)
    found = MemoryBank(bank).nearest(queries)
    exact = np.linalg.norm(queries.astype(np.float64) - bank.astype(np.float64), axis=1)
    np.testing.assert_allclose(found.distance, exact, rtol=1e-4)


def test_queries_need_not_be_contiguous():
    bank, queries = features(4, 100, 8), features(5, 60, 8)
    strided = np.asfortranarray(queries)
    np.testing.assert_array_equal(MemoryBank(bank).nearest(strided).row, MemoryBank(bank).nearest(queries).row)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_the_neighbours_are_those_of_brute_force_with_the_feature_itself_first(count: int):
    bank = features(6, 300)
    memory = MemoryBank(bank)
    for index in (0, 17, 299):
        found = memory.neighbours(index, count).tolist()
        assert found == reference.neighbours(bank, index, count).tolist()
        assert found[0] == index


def test_duplicates_in_the_bank_keep_the_feature_among_its_own_neighbours():
    bank = np.repeat(features(7, 20, 16), 15, axis=0)
    memory = MemoryBank(bank)
    for index in range(0, 300, 7):
        found = memory.neighbours(index, 9)
        assert index in found
        assert len(set(found.tolist())) == 9
        np.testing.assert_array_equal(bank[found], np.repeat(bank[index][None], 9, axis=0))


def test_no_more_neighbours_are_returned_than_the_bank_holds():
    assert sorted(MemoryBank(features(8, 4)).neighbours(2, 9).tolist()) == [0, 1, 2, 3]


def test_a_bank_has_the_length_of_its_features():
    assert len(MemoryBank(features(9, 37))) == 37
