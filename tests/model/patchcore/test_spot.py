from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.model.patchcore.spot import SHARE_OF_PEAK, Spot, spot_in_picture, strongest_region, strongest_spot

PIXEL_THRESHOLD = 10.0


def map_with(*boxes: tuple[int, int, int, int, float], height_px: int = 90, width_px: int = 120) -> NDArray[np.float32]:
    """Return a map of 5 everywhere but in boxes (x, y, width, height, value)."""
    pixels = np.full((height_px, width_px), 5, np.float32)
    for x_px, y_px, box_width_px, box_height_px, value in boxes:
        pixels[y_px : y_px + box_height_px, x_px : x_px + box_width_px] = value
    return pixels


def test_the_spot_is_the_part_of_the_mask_around_the_maximum():
    pixels = map_with((10, 20, 8, 6, 11.5), (12, 22, 2, 2, 13.0), (60, 60, 30, 20, 12.0))
    assert strongest_spot(pixels, PIXEL_THRESHOLD) == Spot(10, 20, 8, 6, 13.0, "upper left")


@pytest.mark.parametrize("peak", [7.0, 9.9, 10.1])
def test_a_map_that_does_not_exceed_the_pixel_threshold_by_much_has_a_spot_all_the_same(peak):
    beside = SHARE_OF_PEAK * peak + 0.1
    pixels = map_with((100, 70, 8, 6, beside), (104, 72, 1, 1, peak), (10, 10, 5, 5, beside))
    spot = strongest_spot(pixels, PIXEL_THRESHOLD)
    assert spot == Spot(100, 70, 8, 6, pytest.approx(peak), "lower right")


@pytest.mark.parametrize(
    ("x_px", "y_px", "place"),
    [
        *((0, 0, "upper left"), (55, 0, "top"), (110, 0, "upper right")),
        *((0, 40, "left"), (55, 40, "centre"), (110, 40, "right")),
        *((0, 80, "lower left"), (55, 80, "bottom"), (110, 80, "lower right")),
    ],
)
def test_the_place_is_said_in_words(x_px, y_px, place):
    spot = strongest_spot(map_with((x_px, y_px, 10, 10, 20.0)), PIXEL_THRESHOLD)
    assert spot is not None
    assert spot.place == place


def test_of_a_spot_over_most_of_the_picture_the_strongest_point_is_said():
    spot = strongest_spot(map_with((2, 2, 100, 80, 20.0), (90, 10, 2, 2, 25.0)), PIXEL_THRESHOLD)
    assert spot == Spot(2, 2, 100, 80, 25.0, "whole picture, strongest: upper right")


def test_what_touches_only_by_a_corner_belongs_to_the_spot():
    spot = strongest_spot(map_with((10, 10, 5, 5, 20.0), (15, 15, 5, 5, 15.0)), PIXEL_THRESHOLD)
    assert spot is not None
    assert (spot.width_px, spot.height_px) == (10, 10)


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_a_map_without_a_distance_above_zero_has_no_spot(value):
    pixels = np.full((20, 20), value, np.float32)
    assert strongest_spot(pixels, PIXEL_THRESHOLD) is None
    assert not strongest_region(pixels, PIXEL_THRESHOLD).any()


def test_the_line_for_people_has_place_size_and_corner():
    assert Spot(10, 20, 8, 6, 13.0, "upper left").describe() == "upper left, 8 x 6 px at 10, 20"


@pytest.mark.parametrize("size_px", [(224, 224), (300, 300), (480, 640), (960, 1280), (1, 1)])
def test_the_spot_of_stored_distances_is_in_pixels_of_the_picture(size_px):
    grid = np.full((28, 28), 5, np.float16)
    grid[7:14, 14:21] = 40
    spot = spot_in_picture(grid, PIXEL_THRESHOLD, size_px)
    assert spot is not None
    height_px, width_px = size_px
    assert spot.x_px == pytest.approx(width_px * 0.48, abs=0.04 * width_px + 1)
    assert spot.y_px == pytest.approx(height_px * 0.23, abs=0.04 * height_px + 1)
    assert spot.width_px == pytest.approx(width_px * 0.3, abs=0.06 * width_px + 1)
    assert spot.height_px == pytest.approx(height_px * 0.3, abs=0.06 * height_px + 1)


def test_distances_beyond_half_precision_are_the_strongest_spot():
    grid = np.full((28, 28), 5, np.float16)
    grid[3, 3], grid[20, 20], grid[27, 0] = 40, np.inf, np.nan
    spot = spot_in_picture(grid, PIXEL_THRESHOLD, (224, 224))
    assert spot is not None
    assert spot.place == "lower right"
    assert np.isfinite(spot.peak)


@given(st.integers(0, 10_000), st.floats(0.1, 30), st.integers(1, 60), st.integers(1, 60))
def test_a_spot_lies_within_the_picture_and_holds_the_maximum(seed, threshold, height_px, width_px):
    pixels = np.random.default_rng(seed).gamma(2, 4, (height_px, width_px)).astype(np.float32)
    spot = strongest_spot(pixels, threshold)
    assert spot is not None
    assert 0 <= spot.x_px < spot.x_px + spot.width_px <= width_px
    assert 0 <= spot.y_px < spot.y_px + spot.height_px <= height_px
    row, column = np.unravel_index(pixels.argmax(), pixels.shape)
    assert strongest_region(pixels, threshold)[row, column]
    assert spot.x_px <= column < spot.x_px + spot.width_px
    assert spot.y_px <= row < spot.y_px + spot.height_px
