"""The quickest search is taken, and finds what any other finds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from support import reference

from stream.model.cpu_lanes import Lanes
from stream.model.patchcore.inspector import nearest_patches, score_patches
from stream.model.patchcore.scoring import Scoring
from stream.model.patchcore.search import MemoryBank, Nearest, Search, flat_index
from stream.model.search_choice import quickest, quickest_bank

Features = NDArray[np.float32]
LANES = Lanes(2)


def features(seed: int, count: int, dims: int = 152) -> Features:
    return np.random.default_rng(seed).normal(size=(count, dims)).astype(np.float32)


def test_the_method_whose_best_trial_is_shortest_is_the_quickest():
    bank = features(13, 100)
    now_s = 0.0

    def taking(*seconds: float) -> Search:
        search, trials = flat_index(bank), iter(seconds)

        def timed(queries: Features) -> Nearest:
            nonlocal now_s
            now_s += next(trials)
            return search(queries)

        return timed

    candidates = {
        "steady": taking(3, 3, 3, 3, 3, 3),
        "slow to start": taking(99, 2, 9, 9, 9, 9),  # the first is not counted; another process took its time
        "slow": taking(1, 4, 4, 4, 4, 4),
    }
    best, seconds = quickest(candidates, bank, clock=lambda: now_s)
    assert best == "slow to start"
    assert seconds == {"steady": 3, "slow to start": 2, "slow": 4}


@pytest.mark.parametrize("device", ["openvino", "torch-cpu"])
def test_whatever_is_quickest_finds_what_brute_force_finds(device: str):
    bank, queries = features(14, 300), features(15, 196)
    lanes = LANES if device == "openvino" else None
    row = quickest_bank(bank, 196, device=device, lanes=lanes).nearest(queries).row
    np.testing.assert_array_equal(row, reference.nearest(queries, bank)[1])


def test_the_quickest_search_gives_the_score_of_the_plain_one():
    bank = features(16, 1500)
    memory, plain = quickest_bank(bank, 784, device="openvino", lanes=LANES), MemoryBank(bank)
    for seed in range(20, 26):
        picture = features(seed, 784).reshape(28, 28, -1)
        assert (
            score_patches(memory, picture, nearest_patches(memory, picture), Scoring(9)).score
            == score_patches(plain, picture, nearest_patches(plain, picture), Scoring(9)).score
        )
