"""A search in bfloat16 may overstate distances, within a bound, and decides nothing: scores are those of float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.model.cpu_lanes import Lanes
from stream.model.patchcore.half_search import UNIT, bfloat16_product
from stream.model.patchcore.inspector import nearest_patches, score_patches
from stream.model.patchcore.scoring import PositionStatistics, Scoring
from stream.model.patchcore.search import MemoryBank, Nearest, Search, openvino_product

Features = NDArray[np.float32]
LANES = Lanes(2)
GRID = (14, 14)
PATCHES = GRID[0] * GRID[1]


def normal(seed: int, count: int, dims: int = 64) -> Features:
    return np.random.default_rng(seed).normal(size=(count, dims)).astype(np.float32)


def near_ties() -> tuple[Features, Features]:
    """Bank features that bfloat16 cannot tell apart, and patches whose distances it cannot rank."""
    random = np.random.default_rng(1)
    bank = np.repeat(normal(2, 40), 8, axis=0)
    bank += random.normal(scale=1e-3, size=bank.shape).astype(np.float32)
    directions = normal(3, PATCHES)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return bank, bank[random.integers(len(bank), size=PATCHES)] + directions


def large_norms() -> tuple[Features, Features]:
    """Features of large and very different size, far from zero."""
    sizes = np.geomspace(1e-3, 1e3, 300, dtype=np.float32)[:, None]
    return normal(4, 300) * sizes + 1000, normal(5, PATCHES) * sizes[:PATCHES] + 1000


def copies() -> tuple[Features, Features]:
    """One feature many times, and patches that are all alike."""
    return np.repeat(normal(6, 3), 100, axis=0), np.repeat(normal(7, 1), PATCHES, axis=0)


def zeros() -> tuple[Features, Features]:
    """Nothing but zeros, at distance 0."""
    return np.zeros((300, 64), np.float32), np.zeros((PATCHES, 64), np.float32)


def ordinary() -> tuple[Features, Features]:
    return normal(8, 300), normal(9, PATCHES)


SCENES = [near_ties, large_norms, copies, zeros, ordinary]
Scene = Callable[[], tuple[Features, Features]]


def random_rows(bank: Features) -> Search:
    """The worst search there could be: distances to features that were drawn."""

    def search(queries: Features) -> Nearest:
        row = np.random.default_rng(0).integers(len(bank), size=len(queries))
        return Nearest(np.linalg.norm(queries - bank[row], axis=1).astype(np.float32), row)

    return search


def half(bank: Features) -> Search:
    return bfloat16_product(bank, LANES)


def scorings() -> list[Scoring]:
    random = np.random.default_rng(10)
    position = PositionStatistics(
        random.uniform(0, 2, GRID).astype(np.float32), random.uniform(0.1, 1, GRID).astype(np.float32)
    )
    weights = np.where(random.random(GRID) < 0.3, 0, random.uniform(0.5, 2, GRID)).astype(np.float32)
    return [Scoring(9), Scoring(1, weights=weights), Scoring(9, position), Scoring(9, position, weights=weights)]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_a_distance_is_never_less_than_the_true_one_and_more_within_the_bound(scene: Scene):
    bank, queries = scene()
    found = half(bank)(queries)
    wide, center = bank.astype(np.float64), bank.mean(axis=0)
    squares = ((queries[:, None].astype(np.float64) - wide) ** 2).sum(axis=2)
    true = squares.min(axis=1)
    taken = squares[np.arange(len(queries)), found.row]
    np.testing.assert_allclose(found.distance, np.sqrt(taken), rtol=1e-5, atol=1e-6)
    a, b = np.linalg.norm(queries - center, axis=1)[:, None], np.linalg.norm(bank - center, axis=1)
    # And what float32 loses where it sums: 64 products and six squares.
    bound = 2 * (2 * UNIT + UNIT**2) * a * b + UNIT * squares + 80 * np.finfo(np.float32).eps * (a + b) ** 2
    nearest = squares.argmin(axis=1)
    rows = np.arange(len(queries))
    assert (taken <= true + bound[rows, found.row] + bound[rows, nearest]).all()


@pytest.mark.parametrize("first", [half, random_rows], ids=["bfloat16", "drawn"])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_scores_are_those_of_a_search_in_float32_to_the_last_bit(scene: Scene, first: Callable[[Features], Search]):
    bank, queries = scene()
    picture = queries.reshape(*GRID, -1)
    full = openvino_product(bank, LANES)
    plain, settled = MemoryBank(bank, full), MemoryBank(bank, first(bank), full=full)
    for scoring in scorings():
        expected = score_patches(plain, picture, nearest_patches(plain, picture), scoring).score
        assert score_patches(settled, picture, nearest_patches(settled, picture), scoring).score == expected


def test_a_search_that_overstates_would_decide_otherwise_if_nothing_were_searched_again():
    bank, queries = ordinary()
    picture = queries.reshape(*GRID, -1)
    true, drawn = MemoryBank(bank), MemoryBank(bank, random_rows(bank))
    expected = score_patches(true, picture, nearest_patches(true, picture), Scoring(9)).score
    assert score_patches(drawn, picture, nearest_patches(drawn, picture), Scoring(9)).score != expected


def test_only_patches_that_may_decide_are_searched_again():
    bank, queries = normal(11, 300), normal(12, PATCHES)
    queries[17] *= 3  # one patch is far stranger than all others
    searched: list[int] = []

    def full(some: Features) -> Nearest:
        searched.append(len(some))
        return openvino_product(bank, LANES)(some)

    memory = MemoryBank(bank, half(bank), full=full)
    settled = memory.settled(queries, memory.nearest(queries), lambda distances: distances, 1)
    assert sum(searched) < PATCHES / 4
    assert settled.distance.argmax() == 17


def test_pictures_side_by_side_are_searched_in_bfloat16_as_they_are_alone():
    bank = normal(13, 800)
    search = half(bank)
    pictures = [normal(100 + number, 400) for number in range(6)]
    alone = [search(picture) for picture in pictures]
    for found, expected in zip(LANES.map(search, pictures), alone, strict=True):
        np.testing.assert_array_equal(found.row, expected.row)
        np.testing.assert_array_equal(found.distance, expected.distance)
