from __future__ import annotations

import numpy as np
import pytest

from stream.training.consistency import another_product, likeness, product_warning


def cloud(count: int, seed: int, centre: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(centre, 1, (count, 40)).astype(np.float32)


def test_pictures_of_one_product_are_one_cloud():
    assert another_product(cloud(100, 0)).tolist() == []


@pytest.mark.parametrize("count", [3, 20, 49])
def test_a_second_product_is_found_however_many_pictures_it_has(count: int):
    means = np.concatenate([cloud(50, 0), cloud(count, 1, centre=8.0)])
    assert another_product(means).tolist() == list(range(50, 50 + count))


def test_a_lone_strange_picture_is_no_product():
    assert another_product(np.concatenate([cloud(50, 0), cloud(1, 1, centre=20.0)])).tolist() == []


def test_equal_pictures_and_few_pictures_are_one_product():
    assert another_product(np.ones((30, 8), np.float32)).tolist() == []
    assert another_product(np.concatenate([cloud(3, 0), cloud(3, 1, centre=8.0)])).tolist() == []


def test_the_pictures_of_another_product_are_named():
    means = np.concatenate([cloud(50, 0), cloud(4, 1, centre=8.0)])
    (warning,) = product_warning(means, [f"{number}.png" for number in range(54)])
    assert warning.startswith("4 of 54 images look like another product or variant than the rest: 50.png, 51.png,")


def test_neighbours_are_alike_whatever_their_light():
    random = np.random.default_rng(0)
    parts = [np.kron(random.integers(0, 100, (16, 16)), np.ones((6, 6))).astype(np.uint8) for _ in range(2)]
    exposures = [parts[0], 2 * parts[0], parts[1], parts[1] // 2]
    found = likeness(np.repeat(one[..., None], 3, axis=2) for one in exposures)
    assert found.shape == (3,)
    assert found[0] > 0.99
    assert found[2] > 0.99
    assert found[1] < 0.5
