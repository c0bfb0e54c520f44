from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.model.cpu_lanes import Lanes
from stream.model.patchcore.own_banks import search_own_banks
from stream.model.patchcore.search import flat_index

Features = NDArray[np.float32]
BANKS, DIMS = 6, 24


def patches(seed: int, count: int, scale: float = 1.0, apart: float = 20.0) -> Features:
    """Patches of all tiles in turn, with the tiles' coordinates."""
    known = scale * np.random.default_rng(seed).normal(size=(count, DIMS))
    coordinates = np.eye(BANKS)[np.arange(count) % BANKS] * apart / np.sqrt(2)
    return np.concatenate([known, coordinates], axis=1).astype(np.float32)


@pytest.mark.parametrize("lanes", [None, Lanes(1)], ids=["faiss", "matrix product"])
def test_a_patch_meets_its_own_bank_as_if_all_had_been_searched(lanes: Lanes | None):
    bank, queries = patches(1, 300), patches(2, 90)
    own, whole = search_own_banks(bank, BANKS, lanes=lanes)(queries), flat_index(bank)(queries)
    assert own.row.tolist() == whole.row.tolist()
    np.testing.assert_allclose(own.distance, whole.distance, rtol=1e-6)
    assert (own.row % BANKS == np.arange(90) % BANKS).all()


def test_a_patch_that_is_farther_from_its_bank_than_banks_are_apart_is_searched_in_all():
    bank, queries = patches(3, 300), patches(4, 60, scale=30)
    bank[1::BANKS, :DIMS] += 500  # the second tile's bank is nowhere near
    own, whole = search_own_banks(bank, BANKS)(queries), flat_index(bank)(queries)
    assert own.row.tolist() == whole.row.tolist()
    np.testing.assert_allclose(own.distance, whole.distance, rtol=1e-6)
    assert (own.row[1::BANKS] % BANKS != 1).all()


def test_a_tile_of_which_the_bank_remembers_nothing_is_compared_with_the_others():
    bank, queries = patches(5, 300)[np.arange(300) % BANKS != 2], patches(6, 60)
    own, whole = search_own_banks(bank, BANKS)(queries), flat_index(bank)(queries)
    assert own.row.tolist() == whole.row.tolist()
    assert own.distance[2::BANKS].min() >= 20


def test_one_bank_for_all_is_searched_as_it_is():
    bank, queries = patches(7, 50), patches(8, 20)
    assert search_own_banks(bank, 0)(queries).row.tolist() == flat_index(bank)(queries).row.tolist()
