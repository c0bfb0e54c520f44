from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import reference
from support.pictures import defective_picture, good_picture

from stream.model.bundle import load_bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.inspector import inspect, nearest_patches, score_patches
from stream.model.patchcore.preprocess import network_input
from stream.model.patchcore.score import anomalous, anomaly_map, image_score, sigma_px
from stream.model.patchcore.scoring import Scoring
from stream.model.patchcore.search import MemoryBank

B = 9


def activations(seed: int, count: int, dims: int, scale: float) -> NDArray[np.float32]:
    """Features like a network's: never negative, many zeros."""
    random = np.random.default_rng(seed)
    return np.maximum(random.normal(0.3, 1, (count, dims)) * scale, 0).astype(np.float32)


@pytest.mark.parametrize("scale", [0.01, 1.0, 20.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("b", [1, 2, 9])
def test_the_image_score_is_equation_7(seed: int, scale: float, b: int):
    features = activations(seed, 12 * 12, 152, scale).reshape(12, 12, 152)
    bank = MemoryBank(activations(seed + 100, 150, 152, scale))
    found = score_patches(bank, features, nearest_patches(bank, features), Scoring(b))
    expected = reference.image_score(features.reshape(-1, 152), bank.features, b)
    assert found.score == pytest.approx(expected.score, rel=1e-4)


@pytest.mark.parametrize("picture", [good_picture(200), defective_picture(201)], ids=["good", "defective"])
def test_real_features_score_as_the_paper_says(small_bundle: Path, picture: NDArray[np.uint8]):
    bundle = load_bundle(small_bundle)
    extractor = load_extractor(bundle.info.spec)
    image = network_input(picture, bundle.info.spec.input_px)[None]
    (features,) = extractor(image)
    (found,) = inspect(extractor, MemoryBank(bundle.bank), image, Scoring(B))

    queries = features.reshape(-1, features.shape[-1])
    expected = reference.image_score(queries, bundle.bank, B)
    distances, indices = reference.nearest(queries, bundle.bank)
    nearest = nearest_patches(MemoryBank(bundle.bank), features)
    np.testing.assert_array_equal(nearest.row, indices)
    np.testing.assert_allclose(nearest.distance, distances, rtol=1e-4)
    np.testing.assert_allclose(found.distances, distances.reshape(12, 12), rtol=1e-4)
    assert found.score == pytest.approx(expected.score, rel=1e-4)


def test_a_defect_scores_higher_than_good_pictures_and_shows_where_it_is(small_bundle: Path):
    bundle = load_bundle(small_bundle)
    input_px = bundle.info.spec.input_px
    pictures = [*(good_picture(seed) for seed in range(300, 306)), defective_picture(306)]
    found = inspect(
        load_extractor(bundle.info.spec),
        MemoryBank(bundle.bank),
        np.stack([network_input(picture, input_px) for picture in pictures]),
        Scoring(B),
    )
    assert found[-1].score > 1.5 * max(inspection.score for inspection in found[:-1])
    smooth = anomaly_map(found[-1].distances, input_px, sigma_px(input_px, found[-1].distances.shape))
    row, column = np.unravel_index(smooth.argmax(), smooth.shape)
    assert abs(row - input_px[1] / 2) < input_px[1] / 4
    assert abs(column - input_px[0] / 2) < input_px[0] / 4


def test_a_picture_made_of_remembered_patches_scores_0():
    bank = MemoryBank(activations(3, 400, 64, 5.0))
    features = bank.features[:144].reshape(12, 12, 64)
    found = score_patches(bank, features, nearest_patches(bank, features), Scoring(B))
    assert found.score == 0
    assert not found.distances.any()


def test_one_neighbour_leaves_the_distance_as_the_score():
    bank = MemoryBank(activations(4, 60, 16, 1.0))
    features = activations(5, 9, 16, 1.0).reshape(3, 3, 16)
    nearest = nearest_patches(bank, features)
    found = score_patches(bank, features, nearest, Scoring(1))
    assert found.score == pytest.approx(float(nearest.distance.max()), rel=1e-6)


def test_a_bank_of_one_feature_leaves_the_distance_as_the_score():
    bank = MemoryBank(np.zeros((1, 4), dtype=np.float32))
    features = np.full((1, 1, 4), 3.0, dtype=np.float32)
    assert score_patches(bank, features, nearest_patches(bank, features), Scoring(B)).score == pytest.approx(6)


@given(
    star=st.floats(1e-6, 1e4),
    further=st.lists(st.floats(0, 1e4), min_size=1, max_size=20),
)
def test_the_weight_lies_between_1_minus_1_over_b_and_1(star: float, further: list[float]):
    distances = np.array([star, *(star + extra for extra in further)])
    weight = image_score(star, distances) / star
    assert 1 - 1 / len(distances) - 1e-9 <= weight <= 1
    if max(further) < 30:  # beyond that exp(-30) is lost beside 1
        assert weight < 1


def test_neighbours_as_far_as_the_nearest_give_the_smallest_weight():
    assert image_score(5.0, np.full(9, 5.0)) == pytest.approx(5 * (1 - 1 / 9))


def test_the_score_is_finite_at_distances_whose_exponential_is_not():
    assert image_score(5000.0, np.array([5000.0, 5001.0, 9000.0])) == pytest.approx(5000.0)


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.01, 1.0, 30.0, 1000.0]), copies=st.integers(1, 12))
def test_the_weight_keeps_its_bounds_in_any_bank_also_with_duplicates(seed: int, scale: float, copies: int):
    bank = MemoryBank(np.repeat(activations(seed, 15, 8, scale), copies, axis=0))
    features = activations(seed + 1, 25, 8, scale).reshape(5, 5, 8)
    nearest = nearest_patches(bank, features)
    star = float(nearest.distance.max())
    score = score_patches(bank, features, nearest, Scoring(B)).score
    assert star * (1 - 1 / B) * (1 - 1e-5) <= score <= star * (1 + 1e-5)


@pytest.mark.parametrize(
    ("grid", "size_px", "sigma"),
    [((28, 28), (224, 224), 4.0), ((12, 12), (96, 96), sigma_px((96, 96), (12, 12))), ((9, 14), (150, 211), 2.5)],
)
def test_the_map_is_up_sampled_and_smoothed_as_in_the_reference(grid, size_px, sigma):
    distances = np.random.default_rng(6).gamma(2.0, 3.0, grid).astype(np.float32)
    found = anomaly_map(distances, size_px, sigma)
    expected = reference.anomaly_map(distances, *size_px, sigma)
    assert found.dtype == np.float32
    assert found.shape == size_px
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_uniform_map_stays_uniform_up_to_its_borders():
    np.testing.assert_allclose(anomaly_map(np.full((28, 28), 2.5), (224, 224), 4.0), 2.5, rtol=1e-5)


def test_the_map_of_a_single_far_patch_peaks_over_that_patch():
    distances = np.zeros((28, 28), dtype=np.float32)
    distances[5, 20] = 10
    row, column = np.unravel_index(anomaly_map(distances, (224, 224), 4.0).argmax(), (224, 224))
    assert (row // 8, column // 8) == (5, 20)


def test_half_precision_distances_are_taken_too():
    distances = np.random.default_rng(7).gamma(2.0, 3.0, (12, 12)).astype(np.float16)
    np.testing.assert_allclose(
        anomaly_map(distances, (96, 96), 2.0), reference.anomaly_map(distances, 96, 96, 2.0), rtol=1e-4
    )


def test_smoothing_scales_with_the_picture():
    assert [sigma_px((size, size + 50), (28, 30)) for size in (224, 448, 112)] == [4.0, 8.0, 2.0]
    assert sigma_px((224, 224), (14, 14)) == 4.0
    assert sigma_px((448, 448), (56, 56)) == 4.0


def test_anomalous_are_the_pixels_above_the_threshold_and_not_those_at_it():
    np.testing.assert_array_equal(anomalous(np.array([[0.5, 1.0], [1.5, 2.0]]), 1.0), [[False, False], [True, True]])
