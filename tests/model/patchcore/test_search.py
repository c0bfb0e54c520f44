from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from support import reference

from stream.model.cpu_lanes import Lanes
from stream.model.patchcore.inspector import nearest_patches, score_patches
from stream.model.patchcore.scoring import Scoring
from stream.model.patchcore.search import (
    MemoryBank,
    Search,
    flat_index,
    openvino_product,
    torch_product,
)

Features = NDArray[np.float32]
LANES = Lanes(2)


def openvino_in_lanes(bank: Features) -> Search:
    return openvino_product(bank, LANES)


METHODS = [flat_index, openvino_in_lanes, torch_product]


def features(seed: int, count: int, dims: int = 152, *, offset: float = 0.0) -> Features:
    return (offset + np.random.default_rng(seed).normal(size=(count, dims))).astype(np.float32)


@pytest.fixture(params=METHODS, ids=lambda method: method.__name__)
def remember(request: pytest.FixtureRequest) -> Callable[[Features], MemoryBank]:
    """A memory bank that searches by one of the methods."""
    return lambda bank: MemoryBank(bank, request.param(bank))


@pytest.mark.parametrize("offset", [0.0, 3.0, 100.0])
@pytest.mark.parametrize("count", [1, 7, 784], ids=["one query", "some queries", "a picture"])
def test_the_nearest_feature_is_that_of_brute_force(remember, count: int, offset: float):
    bank, queries = features(0, 400, offset=offset), features(1, count, offset=offset)
    found = remember(bank).nearest(queries)
    distance, index = reference.nearest(queries, bank)
    np.testing.assert_array_equal(found.row, index)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-4)


def test_distances_are_euclidean_and_float32(remember):
    found = remember(np.zeros((1, 2), dtype=np.float32)).nearest(np.array([[3, 4]], dtype=np.float32))
    assert found.distance.tolist() == [5.0]
    assert (found.distance.dtype, found.row.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("count", [1, 500])
def test_remembered_patches_are_at_distance_0(remember, count: int, offset: float):
    bank = features(2, 500, offset=offset)
    found = remember(bank).nearest(bank[:count])
    assert found.distance.tolist() == [0.0] * count
    assert found.row.tolist() == list(range(count))


def test_a_small_distance_between_large_features_is_not_rounded_away(remember):
    bank = features(3, 50, offset=1000)
    queries = bank + np.float32(0.01)
    found = remember(bank).nearest(queries)
    exact = np.linalg.norm(queries.astype(np.float64) - bank.astype(np.float64), axis=1)
    np.testing.assert_allclose(found.distance, exact, rtol=1e-4)


def test_queries_need_not_be_contiguous(remember):
    bank, queries = features(4, 100, 8), features(5, 60, 8)
    strided = np.asfortranarray(queries)
    np.testing.assert_array_equal(remember(bank).nearest(strided).row, remember(bank).nearest(queries).row)


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


@pytest.mark.parametrize("count", [1, 5, 300])
def test_the_exact_search_is_that_of_differences_in_float64(count: int):
    bank, query = features(10, 200, offset=30.0), features(11, 1, offset=30.0)[0]
    rows, distances = MemoryBank(bank).exact_nearest(query, count)
    expected = np.linalg.norm(bank.astype(np.float64) - query, axis=1)
    order = np.argsort(expected, kind="stable")[:count]
    assert rows.tolist() == order.tolist()
    np.testing.assert_allclose(distances, expected[order], rtol=1e-12)


def test_the_exact_search_tells_apart_what_float32_cannot():
    bank = np.tile(features(12, 1, 64, offset=1000.0), (50, 1))
    query = bank[0].astype(np.float64)
    bank[:, 0] += np.float32(1)
    bank[37, 0] = np.nextafter(bank[37, 0], np.float32(0))  # nearer by one step of float32
    assert MemoryBank(bank).exact_nearest(query, 1)[0].tolist() == [37]
    assert MemoryBank(bank).exact_nearest(query, 3)[0].tolist() == [37, 0, 1]


def test_a_score_does_not_depend_on_the_method_even_between_near_copies():
    random = np.random.default_rng(16)
    bank = np.repeat(features(17, 40, 24, offset=500.0), 8, axis=0)
    bank += random.normal(scale=1e-4, size=bank.shape).astype(np.float32)  # less than the searches can tell apart
    for _ in range(20):
        picture = bank[random.integers(len(bank), size=49)].reshape(7, 7, 24) + np.float32(0.5)
        scores = set()
        for method in METHODS:
            memory = MemoryBank(bank, method(bank))
            scores.add(score_patches(memory, picture, nearest_patches(memory, picture), Scoring(9)).score)
        assert len(scores) == 1


def test_pictures_side_by_side_are_searched_as_they_are_alone():
    bank = features(18, 1176)
    search = openvino_in_lanes(bank)
    pictures = [features(100 + number, 784) for number in range(8)]
    alone = [search(picture) for picture in pictures]
    for picture, expected in zip(LANES.map(search, pictures), alone, strict=True):
        np.testing.assert_array_equal(picture.row, expected.row)
        np.testing.assert_array_equal(picture.distance, expected.distance)
