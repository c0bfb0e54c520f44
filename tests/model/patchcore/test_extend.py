"""A bank that gains what it does not cover, farthest first."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.model.patchcore.extend import farthest_first, perhaps_farther
from stream.model.patchcore.search import MemoryBank

Features = NDArray[np.float32]


def naive(bank: Features, patches: Features, radius: float) -> list[int]:
    """The definition: measure all against all, take the farthest, again, until none is beyond the radius."""
    known, chosen = [row.astype(np.float64) for row in bank], []
    while True:
        distances = [min(np.sqrt(((patch - one) ** 2).sum()) for one in known) for patch in patches.astype(np.float64)]
        farthest = int(np.argmax(distances))
        if distances[farthest] <= radius:
            return chosen
        chosen.append(farthest)
        known.append(patches[farthest].astype(np.float64))


def gaussian(random: np.random.Generator) -> tuple[Features, Features]:
    return random.normal(size=(40, 24)).astype(np.float32), random.normal(size=(60, 24)).astype(np.float32)


def on_a_lattice(random: np.random.Generator) -> tuple[Features, Features]:
    """Every distance occurs many times, exactly: ties go to the lowest index."""
    bank, patches = random.integers(0, 3, (20, 4)), random.integers(0, 5, (80, 4))
    return bank.astype(np.float32), patches.astype(np.float32)


def mostly_known(random: np.random.Generator) -> tuple[Features, Features]:
    """Patches of the bank itself, copies of each other, and some that are far off."""
    bank = random.normal(size=(50, 16)).astype(np.float32)
    far = (random.normal(size=(6, 16)) * 9).astype(np.float32)
    return bank, np.concatenate([bank[:30], far, far, bank[:5]])


def far_from_the_origin(random: np.random.Generator) -> tuple[Features, Features]:
    """Norms of 10,000 beside distances of 5: products of float32 have few digits left."""
    bank, patches = 3000 + random.normal(size=(40, 12)), 3000 + random.normal(size=(60, 12))
    return bank.astype(np.float32), patches.astype(np.float32)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("make", [gaussian, on_a_lattice, mostly_known, far_from_the_origin])
def test_the_choice_is_that_of_the_naive_loop(make, share: float, seed: int):
    bank, patches = make(np.random.default_rng(seed))
    farthest = max(np.linalg.norm(bank.astype(np.float64) - patch, axis=1).min() for patch in patches)
    radius = share * farthest
    assert farthest_first(MemoryBank(bank), patches, radius).tolist() == naive(bank, patches, radius)


def test_what_lies_just_at_the_radius_is_known_and_what_lies_beyond_is_not():
    bank = np.zeros((1, 2), np.float32)
    patches = np.array([[3, 4], [0, -5], [5.000001, 0]], np.float32)
    assert farthest_first(MemoryBank(bank), patches, 5.0).tolist() == [2]


def test_afterwards_nothing_lies_beyond_the_radius():
    random = np.random.default_rng(5)
    bank, patches = random.normal(size=(80, 8)).astype(np.float32), random.normal(size=(900, 8)).astype(np.float32) * 2
    chosen = farthest_first(MemoryBank(bank), patches, 1.5)
    assert 0 < len(chosen) < len(patches)
    after = MemoryBank(np.concatenate([bank, patches[chosen]]))
    assert farthest_first(after, patches, 1.5).tolist() == []


def test_without_patches_there_is_nothing_to_choose():
    bank = MemoryBank(np.ones((3, 4), np.float32))
    assert farthest_first(bank, np.empty((0, 4), np.float32), 1.0).tolist() == []


def test_no_candidate_is_overlooked_by_the_quick_search():
    bank, patches = far_from_the_origin(np.random.default_rng(7))
    radius = 2.5
    distances = np.array([np.linalg.norm(bank.astype(np.float64) - patch, axis=1).min() for patch in patches])
    assert set(np.flatnonzero(distances > radius)) <= set(perhaps_farther(MemoryBank(bank), patches, radius))
