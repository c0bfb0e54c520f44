from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.training.registration import MIN_PICTURES, registration_of


def parts(count: int, jitter_px: int) -> list[NDArray[np.uint8]]:
    """Pictures of one textured part, each moved by up to so many pixels."""
    random = np.random.default_rng(0)
    texture = np.kron(random.integers(0, 256, (28, 28)), np.ones((8, 8))).astype(np.uint8)
    moved = (
        np.roll(texture, tuple(random.integers(-jitter_px, jitter_px + 1, 2)), (0, 1)) if jitter_px else texture
        for _ in range(count)
    )
    return [np.repeat(one[..., None], 3, axis=2) for one in moved]


def test_parts_that_lie_still_are_in_place():
    found = registration_of(parts(60, 0), (28, 28))
    assert found.median_patches == pytest.approx(0, abs=0.2)
    assert found.in_place


def test_parts_that_lie_anywhere_are_not():
    found = registration_of(parts(60, 60), (28, 28))
    assert found.median_patches > 1.5
    assert not found.in_place


def test_few_pictures_cannot_describe_each_place():
    assert not registration_of(parts(MIN_PICTURES - 1, 0), (28, 28)).in_place


def test_a_single_picture_has_no_shift():
    assert registration_of(parts(1, 0), (28, 28)).median_patches == 0


def test_what_masks_fill_does_not_make_parts_seem_still():
    filled = np.zeros((224, 224), np.bool_)
    filled[:, :90] = True
    pictures = [np.where(filled[..., None], np.uint8(117), picture) for picture in parts(60, 60)]
    assert not registration_of(pictures, (28, 28), filled).in_place
    still = [np.where(filled[..., None], np.uint8(117), picture) for picture in parts(60, 0)]
    assert registration_of(still, (28, 28), filled).in_place
