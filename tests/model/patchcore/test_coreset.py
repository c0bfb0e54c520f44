from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support import reference

from stream.model.patchcore.coreset import covering_radius, greedy_k_center, projection
from stream.model.patchcore.coreset_cuda import greedy_k_center_on_device
from stream.training.spooled_array import SpooledArray

Features = NDArray[np.float32]


def on_device(features: Features, count: int, **options: Any) -> NDArray[np.int64]:
    return greedy_k_center_on_device(torch.from_numpy(features).double(), count, **options)


def gaussian(seed: int) -> Features:
    return np.random.default_rng(seed).normal(size=(900, 152)).astype(np.float32)


def clustered(seed: int) -> Features:
    """Tight clusters far apart: once each has a center, what is left lies below the rounding of float32."""
    random = np.random.default_rng(seed)
    centers = random.normal(scale=100, size=(12, 40))
    points = centers[random.integers(12, size=300)] + random.normal(scale=1e-3, size=(300, 40))
    return points.astype(np.float32)


def with_duplicates(seed: int) -> Features:
    random = np.random.default_rng(seed)
    distinct = random.normal(size=(150, 64)).astype(np.float32)
    return distinct[random.integers(150, size=800)]


def on_a_lattice(seed: int) -> Features:
    """Small whole numbers: every distance occurs many times, exactly."""
    return np.random.default_rng(seed).integers(0, 4, size=(700, 6)).astype(np.float32)


def nearly_tied(seed: int) -> Features:
    """A lattice whose points are displaced by less than float32 distances can tell apart."""
    random = np.random.default_rng(seed)
    points = random.integers(0, 4, size=(700, 6)) + random.normal(scale=3e-7, size=(700, 6))
    return points.astype(np.float32)


def far_from_the_origin(seed: int) -> Features:
    """Norms of 30,000 beside distances of 10: ‖a‖²+‖b‖²−2ab has few digits left."""
    return (3000 + np.random.default_rng(seed).normal(size=(700, 100))).astype(np.float32)


def heavy_tailed(seed: int) -> Features:
    """A dense middle and outliers at every scale, as patches of good parts have; many rounds."""
    random = np.random.default_rng(seed)
    return (random.normal(size=(6000, 24)) * random.pareto(2.0, size=(6000, 1))).astype(np.float32)


def mostly_blank(seed: int) -> Features:
    """White background beside a part: far more copies of one patch than are followed in a round."""
    features = np.random.default_rng(seed).normal(size=(40_000, 8)).astype(np.float32)
    features[200:] = 50
    return features


ALL = [gaussian, clustered, with_duplicates, on_a_lattice, nearly_tied, far_from_the_origin, heavy_tailed, mostly_blank]


def projected(features: Features, seed: int) -> Features:
    matrix = projection(features.shape[1], dims=128, seed=seed)
    return features if matrix is None else features @ matrix.numpy()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("make", ALL)
def test_the_fast_choice_is_that_of_the_naive_algorithm_in_float64(make, seed: int):
    features = projected(make(seed), seed)
    picked = greedy_k_center(features, 300, seed=seed).tolist()
    assert picked == reference.greedy_k_center(features, 300, start=picked[0])


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("make", ALL)
def test_the_choice_on_a_device_is_that_of_the_naive_algorithm_in_float64(make, seed: int):
    features = projected(make(seed), seed)
    picked = greedy_k_center_on_device(torch.from_numpy(features).double(), 60, seed=seed).tolist()
    assert picked == reference.greedy_k_center(features, 60, start=picked[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("make", ALL)
def test_the_choice_on_a_gpu_is_that_on_the_cpu(make):
    features = projected(make(3), 3)
    there = torch.from_numpy(features).double().cuda()
    assert greedy_k_center_on_device(there, 300, seed=3).tolist() == greedy_k_center(features, 300, seed=3).tolist()


@pytest.mark.parametrize("count", [1, 2])
def test_a_device_chooses_one_or_two_as_well(count: int):
    features = gaussian(16)
    assert on_device(features, count, seed=1).tolist() == greedy_k_center(features, count, seed=1).tolist()


def test_features_in_a_file_are_chosen_as_those_in_memory(tmp_path: Path):
    features = heavy_tailed(17)
    store = SpooledArray((24,), np.float32, capacity=len(features), folder=tmp_path)
    for begin in range(0, len(features), 700):
        store.append(features[begin : begin + 700])
    assert greedy_k_center(store, 200, seed=0).tolist() == greedy_k_center(features, 200, seed=0).tolist()
    assert covering_radius(store, features[:50]) == covering_radius(features, features[:50])


def test_fewer_distinct_features_than_asked_for_are_returned_once_each():
    distinct = np.random.default_rng(3).normal(size=(10, 32)).astype(np.float32)
    picked = greedy_k_center(np.tile(distinct, (30, 1)), 50, seed=0)
    assert sorted(index % 10 for index in picked.tolist()) == list(range(10))


@pytest.mark.parametrize("choose", [greedy_k_center, on_device])
def test_of_equal_features_one_is_returned(choose):
    assert len(choose(np.full((40, 8), 2.5, dtype=np.float32), 7, seed=0)) == 1


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
    before = features.copy()
    greedy_k_center(features, 30, seed=0)
    np.testing.assert_array_equal(features, before)


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
    expected = reference.covering_radius(features, centers)
    assert covering_radius(features, centers) == pytest.approx(expected, rel=1e-6)


def test_the_greedy_choice_covers_better_than_a_random_one():
    features = clustered(10)
    greedy = features[greedy_k_center(features, 12, seed=0)]
    at_random = features[np.random.default_rng(0).permutation(len(features))[:12]]
    assert covering_radius(features, greedy) < covering_radius(features, at_random)


@pytest.mark.parametrize("choose", [greedy_k_center, on_device])
def test_progress_grows_to_the_number_chosen(choose):
    reported: list[int] = []
    choose(heavy_tailed(11), 250, seed=0, progress=reported.append)
    assert reported == sorted(set(reported))
    assert reported[-1] == 250


def test_projection_keeps_distances_within_some_per_cent():
    features = torch.randn(60, 600, generator=torch.Generator().manual_seed(12))
    matrix = projection(600, dims=128, seed=0)
    assert matrix is not None
    assert matrix.shape == (600, 128)
    ratio = torch.pdist(features @ matrix) / torch.pdist(features)
    assert float(ratio.mean()) == pytest.approx(1, abs=0.03)
    assert float(ratio.min()) > 0.7
    assert float(ratio.max()) < 1.3


def test_projection_is_decided_by_its_seed():
    first, again, other = (projection(200, dims=128, seed=seed) for seed in (1, 1, 2))
    assert first is not None
    assert again is not None
    assert other is not None
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("dims", [40, 128])
def test_features_that_are_short_enough_are_not_projected(dims: int):
    assert projection(dims, dims=128, seed=0) is None
