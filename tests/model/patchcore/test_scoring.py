from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.model.patchcore.inspector import nearest_patches, score_patches
from stream.model.patchcore.scoring import (
    PositionStatistics,
    Scoring,
    position_score_of,
    position_statistics,
)
from stream.model.patchcore.search import MemoryBank, flat_index, torch_product

GRID = (8, 10)


def good_distances(count: int = 60) -> NDArray[np.float32]:
    """Good parts differ most in their last column: a loose edge."""
    random = np.random.default_rng(0)
    distances = random.normal(5, 0.5, (count, *GRID))
    distances[:, :, -1] = random.normal(12, 3, (count, GRID[0]))
    return distances.astype(np.float32)


def test_the_same_distance_is_stranger_where_good_parts_differ_less():
    statistics = position_statistics(good_distances())
    middle, edge = (np.full(GRID, 5, np.float32) for _ in range(2))
    middle[4, 4] = edge[4, 9] = 12
    assert position_score_of(statistics, middle) > 2 * position_score_of(statistics, edge)


def test_the_score_is_the_largest_z_and_twice_the_mean_of_the_top_4_per_cent():
    statistics = PositionStatistics(np.full(GRID, 2.0, np.float32), np.full(GRID, 0.5, np.float32))
    distances = np.full(GRID, 2.0, np.float32)
    distances[1, 1], distances[2, 2], distances[3, 3], distances[5, 5] = 6, 5, 4, 3.5  # z = 8, 6, 4, 3
    assert position_score_of(statistics, distances) == pytest.approx(8 + 2 * (8 + 6 + 4) / 3)  # 4 % of 80 are 3


def test_equal_good_parts_have_a_least_spread():
    statistics = position_statistics(np.full((20, *GRID), 3.0, np.float32))
    assert (statistics.spread > 0).all()
    assert np.isfinite(position_score_of(statistics, np.full(GRID, 4.0, np.float32)))


def test_the_score_does_not_depend_on_the_method_of_the_search():
    random = np.random.default_rng(1)
    bank, features = (random.normal(size=shape).astype(np.float32) for shape in ((300, 24), (*GRID, 24)))
    scoring = Scoring(position=position_statistics(good_distances()))
    found = set()
    for search in (flat_index(bank), torch_product(bank)):
        memory = MemoryBank(bank, search)
        found.add(score_patches(memory, features, nearest_patches(memory, features), scoring).score)
    assert len(found) == 1


def test_distances_alone_give_the_score_up_to_their_rounding():
    random = np.random.default_rng(2)
    memory = MemoryBank(random.normal(size=(300, 24)).astype(np.float32))
    features = random.normal(size=(*GRID, 24)).astype(np.float32)
    scoring = Scoring(position=position_statistics(good_distances()))
    found = score_patches(memory, features, nearest_patches(memory, features), scoring)
    assert scoring.position is not None
    assert position_score_of(scoring.position, found.distances) == pytest.approx(found.score, abs=1e-4)


@pytest.mark.parametrize("relative", [1e-4, 1e-3])
def test_the_tolerance_covers_an_error_of_all_distances(relative: float):
    statistics = position_statistics(good_distances())
    distances = good_distances()[0]
    exact = position_score_of(statistics, distances)
    for factor in (1 - relative, 1 + relative):
        moved = abs(position_score_of(statistics, distances * np.float32(factor)) - exact)
        assert moved <= Scoring(position=statistics).tolerance(exact, relative) * 1.01
