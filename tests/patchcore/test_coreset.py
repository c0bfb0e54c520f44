from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference
import torch
from torch import Tensor

from stream.patchcore.coreset import covering_radius, greedy_k_center, random_projection


def gaussian(seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(900, 152)).astype(np.float32))


def clustered(seed: int) -> Tensor:
    """Tight clusters far apart: once each has a center, what is left lies below the rounding of float32."""
    random = np.random.default_rng(seed)
    centers = random.normal(scale=100, size=(12, 40))
    points = centers[random.integers(12, size=300)] + random.normal(scale=1e-3, size=(300, 40))
    return torch.from_numpy(points.astype(np.float32))


def with_duplicates(seed: int) -> Tensor:
    random = np.random.default_rng(seed)
    distinct = random.normal(size=(150, 64)).astype(np.float32)
    return torch.from_numpy(distinct[random.integers(150, size=800)])


def on_a_lattice(seed: int) -> Tensor:
    """Small whole numbers: every distance occurs many times, exactly."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 4, size=(700, 6)).astype(np.float32))


def nearly_tied(seed: int) -> Tensor:
    """A lattice whose points are displaced by less than float32 distances can tell apart."""
    random = np.random.default_rng(seed)
    points = random.integers(0, 4, size=(700, 6)) + random.normal(scale=3e-7, size=(700, 6))
    return torch.from_numpy(points.astype(np.float32))


def far_from_the_origin(seed: int) -> Tensor:
    """Norms of 30,000 beside distances of 10: ‖a‖²+‖b‖²−2ab has few digits left."""
    return torch.from_numpy((3000 + np.random.default_rng(seed).normal(size=(700, 100))).astype(np.float32))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("make", [gaussian, clustered, with_duplicates, on_a_lattice, nearly_tied, far_from_the_origin])
def test_the_fast_choice_is_that_of_the_naive_algorithm_in_float64(make, seed: int):
    projected = random_projection(make(seed), dims=128, seed=seed)
    picked = greedy_k_center(projected, 100, seed=seed).tolist()
    assert picked == reference.greedy_k_center(projected.numpy(), 100, start=picked[0])


def test_fewer_distinct_features_than_asked_for_are_returned_once_each():
    distinct = torch.randn(10, 32, generator=torch.Generator().manual_seed(3))
    features = distinct.repeat(30, 1)
    picked = greedy_k_center(features, 50, seed=0)
    assert sorted(index % 10 for index in picked.tolist()) == list(range(10))


def test_of_equal_features_one_is_returned():
    assert len(greedy_k_center(torch.full((40, 8), 2.5), 7, seed=0)) == 1


def test_more_than_there_are_returns_every_feature_once():
    features = gaussian(4)[:30]
    assert sorted(greedy_k_center(features, 1000, seed=1).tolist()) == list(range(30))


def test_one_is_the_random_start_which_the_seed_decides():
    features = gaussian(5)
    starts = [greedy_k_center(features, 1, seed=seed).tolist() for seed in range(8)]
    assert all(len(start) == 1 for start in starts)
    assert len({start[0] for start in starts}) > 1
    assert starts == [greedy_k_center(features, 1, seed=seed).tolist() for seed in range(8)]


def test_a_smaller_choice_is_the_beginning_of_a_larger_one():
    features = gaussian(6)
    assert greedy_k_center(features, 20, seed=2).tolist() == greedy_k_center(features, 60, seed=2).tolist()[:20]


def test_the_features_are_left_as_they_were():
    features = gaussian(7)
    before = features.clone()
    greedy_k_center(features, 30, seed=0)
    assert torch.equal(features, before)


def test_the_covering_radius_never_grows_with_the_count():
    features = gaussian(8)
    picked = greedy_k_center(features, 100, seed=0)
    radii = [covering_radius(features, features[picked[:count]]) for count in range(1, 101, 9)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(radii))
    assert radii[-1] < radii[0]


@pytest.mark.parametrize("make", [gaussian, far_from_the_origin])
def test_the_covering_radius_is_the_largest_distance_to_a_center(make):
    features = make(9)
    centers = features[greedy_k_center(features, 60, seed=0)]
    expected = reference.covering_radius(features.numpy(), centers.numpy())
    assert covering_radius(features, centers) == pytest.approx(expected, rel=1e-4)


def test_the_greedy_choice_covers_better_than_a_random_one():
    features = clustered(10)
    greedy = features[greedy_k_center(features, 12, seed=0)]
    at_random = features[torch.randperm(len(features), generator=torch.Generator().manual_seed(0))[:12]]
    assert covering_radius(features, greedy) < covering_radius(features, at_random)


def test_every_pick_is_reported():
    reported: list[int] = []
    greedy_k_center(gaussian(11), 25, seed=0, progress=reported.append)
    assert reported == list(range(1, 26))


def test_projection_keeps_distances_within_some_per_cent():
    features = torch.randn(60, 600, generator=torch.Generator().manual_seed(12))
    projected = random_projection(features, dims=128, seed=0)
    assert projected.shape == (60, 128)
    ratio = torch.pdist(projected) / torch.pdist(features)
    assert float(ratio.mean()) == pytest.approx(1, abs=0.03)
    assert float(ratio.min()) > 0.7
    assert float(ratio.max()) < 1.3


def test_projection_is_decided_by_its_seed():
    features = gaussian(13)
    first, again, other = (random_projection(features, dims=128, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_features_that_are_short_enough_are_not_projected():
    features = clustered(14)
    assert torch.equal(random_projection(features, dims=128, seed=0), features)
