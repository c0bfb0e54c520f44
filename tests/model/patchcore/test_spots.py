from __future__ import annotations

from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.core.spots import Spot
from stream.model.patchcore import spots as measuring
from stream.model.patchcore.spots import SHARE_OF_PEAK, Zones, spot_in_picture, spots_of, strongest_region

PIXEL_THRESHOLD = 10.0
#: (width, height)
INPUT_PX = (224, 224)


def map_with(*boxes: tuple[int, int, int, int, float], height_px: int = 90, width_px: int = 120) -> NDArray[np.float32]:
    """Return a map of 5 everywhere but in boxes (x, y, width, height, value)."""
    pixels = np.full((height_px, width_px), 5, np.float32)
    for x_px, y_px, box_width_px, box_height_px, value in boxes:
        pixels[y_px : y_px + box_height_px, x_px : x_px + box_width_px] = value
    return pixels


def strongest_spot(pixels: NDArray[np.float32], threshold: float) -> Spot | None:
    """The strongest spot in pixels of the map itself, which is as fine as its patches."""
    return measuring.strongest_spot(pixels, pixels, threshold, (pixels.shape[0], pixels.shape[1]))


def distances_with(*boxes: tuple[int, int, int, int, float]) -> NDArray[np.float32]:
    """Return patch distances as fine as the network input's pixels, so that next to nothing is smoothed."""
    return map_with(*boxes, height_px=INPUT_PX[1], width_px=INPUT_PX[0])


def found(distances: NDArray[np.float32], *, strongest: bool = False, **options: Any) -> list[Spot]:
    region_px = options.pop("region_px", INPUT_PX)
    return spots_of(distances, PIXEL_THRESHOLD, INPUT_PX, region_px, with_strongest=strongest, **options)


def test_every_spot_is_measured_the_largest_first():
    large, small = found(distances_with((20, 30, 40, 10, 20.0), (150, 150, 12, 12, 30.0)))
    assert (large.x_px, large.y_px) == (pytest.approx(40, abs=0.5), pytest.approx(35, abs=0.5))
    assert (large.length_px, large.width_px) == (pytest.approx(40, abs=2), pytest.approx(10, abs=2))
    assert large.area_px == pytest.approx(400, rel=0.15)
    assert small.length_px == pytest.approx(12, abs=2)
    assert small.peak == pytest.approx(3.0, rel=0.05)
    assert (large.area_mm2, large.length_mm, large.width_mm, large.zone, large.rule) == (None, None, None, "", None)


@pytest.mark.parametrize("angle", [0, 30, 45, 80])
def test_length_and_width_are_those_along_the_spot_however_it_lies(angle: float):
    distances = np.full(INPUT_PX[::-1], 5, np.float32)
    corners = cv2.boxPoints(((112, 112), (80, 14), angle))
    cv2.fillPoly(distances, [np.round(corners).astype(np.int32)], 20.0)
    (spot,) = found(distances)
    assert (spot.length_px, spot.width_px) == (pytest.approx(80, abs=3), pytest.approx(14, abs=3))


def test_sizes_are_those_of_the_region_also_where_it_was_squeezed():
    (spot,) = found(distances_with((100, 100, 40, 20, 20.0)), region_px=(2240, 672))
    assert (spot.length_px, spot.width_px) == (pytest.approx(400, abs=20), pytest.approx(60, abs=6))
    assert (spot.x_px, spot.y_px) == (pytest.approx(1200, abs=5), pytest.approx(330, abs=2))
    assert spot.area_px == pytest.approx(24_000, rel=0.1)


def test_a_ruler_gives_millimetres_and_square_millimetres():
    (spot,) = found(distances_with((100, 100, 40, 20, 20.0)), mm_per_px=0.1)
    assert (spot.length_mm, spot.width_mm) == (pytest.approx(4, abs=0.2), pytest.approx(2, abs=0.2))
    assert spot.area_mm2 == pytest.approx(8, rel=0.1)


def test_the_zone_of_a_spot_is_that_of_its_centre():
    labels = np.zeros((10, 20), np.uint8)
    labels[:, 10:], labels[8:, :] = 1, 2
    zones = Zones(labels, ("right", "bottom"))
    spots = found(distances_with((10, 10, 30, 30, 20.0), (150, 20, 20, 20, 20.0), (10, 200, 10, 10, 20.0)), zones=zones)
    assert [spot.zone for spot in spots] == ["", "right", "bottom"]


def test_a_part_above_its_threshold_has_its_strongest_spot_where_the_map_does_not_reach_the_pixel_threshold():
    distances = np.full((28, 28), 5, np.float32)
    distances[7:9, 20:22] = 9.5
    assert found(distances) == []
    (spot,) = found(distances, strongest=True)
    assert spot.place == "upper right"
    assert spot.peak < 1


def test_the_most_distant_patch_has_its_spot_also_where_smoothing_moves_the_peak_to_a_larger_one():
    distances = np.full((28, 28), 5, np.float32)
    distances[4:12, 4:12], distances[22, 22] = 11, 14
    assert [spot.place for spot in found(distances)] == ["upper left"]
    assert {spot.place for spot in found(distances, strongest=True)} == {"upper left", "lower right"}


def blurred(width_px: int, height_px: int, peak: float, patches: int = 28) -> NDArray[np.float32]:
    """Return patch distances as a defect of so many px of the network input makes them: averaged over 20 px."""
    sharp = np.full(INPUT_PX[::-1], 5, np.float32)
    sharp[112 - height_px // 2 :, 112 - width_px // 2 :][:height_px, :width_px] = peak
    smooth = cv2.GaussianBlur(sharp, (0, 0), 20 / 2.355)
    return np.asarray(cv2.resize(smooth, (patches, patches), interpolation=cv2.INTER_AREA), np.float32)


def test_a_spot_is_no_larger_because_its_defect_is_stronger():
    weak, middling, strong = (found(blurred(60, 40, peak))[0] for peak in (14.0, 30.0, 80.0))
    for spot in (middling, strong):
        assert spot.area_px == pytest.approx(weak.area_px, rel=0.05)
        assert (spot.length_px, spot.width_px) == pytest.approx((weak.length_px, weak.width_px), rel=0.05)
    assert strong.box_px[2] > middling.box_px[2] > weak.box_px[2], "the outline is the threshold's"


def test_whatever_exceeds_the_pixel_threshold_is_a_spot_and_has_a_size():
    distances = np.full((28, 28), 5, np.float32)
    distances[4:9, 4:9], distances[4:9, 9:24], distances[20:22, 20:22] = 200, 12, 16
    spots = found(distances)
    assert len(spots) == 2
    assert all(spot.area_px > 0 and spot.width_px > 0 for spot in spots)
    # A faint tail of a strong spot belongs to its length: rules must not overlook it.
    assert spots[0].length_px > 120


def test_a_part_that_is_strange_all_over_is_as_large_as_it_is():
    (spot,) = found(np.random.default_rng(3).uniform(14, 17, (28, 28)).astype(np.float32))
    assert spot.length_px > 200
    assert spot.area_px > 0.8 * 224 * 224


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_distance_that_is_no_number_is_a_spot(value: float):
    distances = np.full((28, 28), 5, np.float32)
    distances[20, 20] = value
    (spot,) = found(distances)
    assert spot.peak > 10


def test_the_spot_is_the_part_of_the_anomalous_area_around_the_maximum():
    pixels = map_with((10, 20, 8, 6, 11.5), (12, 22, 2, 2, 13.0), (60, 60, 30, 20, 12.0))
    spot = strongest_spot(pixels, PIXEL_THRESHOLD)
    assert spot is not None
    assert (spot.box_px, spot.peak, spot.place) == ((10, 20, 8, 6), pytest.approx(1.3), "upper left")


@pytest.mark.parametrize("peak", [7.0, 9.9, 10.1])
def test_a_map_that_does_not_exceed_the_pixel_threshold_by_much_has_a_spot_all_the_same(peak):
    beside = SHARE_OF_PEAK * peak + 0.1
    pixels = map_with((100, 70, 8, 6, beside), (104, 72, 1, 1, peak), (10, 10, 5, 5, beside))
    spot = strongest_spot(pixels, PIXEL_THRESHOLD)
    assert spot is not None
    expected = ((100, 70, 8, 6), pytest.approx(peak / PIXEL_THRESHOLD), "lower right")
    assert (spot.box_px, spot.peak, spot.place) == expected


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
    assert spot is not None
    expected = ((2, 2, 100, 80), 2.5, "whole picture, strongest: upper right")
    assert (spot.box_px, spot.peak, spot.place) == expected


def test_what_touches_only_by_a_corner_belongs_to_the_spot():
    spot = strongest_spot(map_with((10, 10, 5, 5, 20.0), (15, 15, 5, 5, 15.0)), PIXEL_THRESHOLD)
    assert spot is not None
    assert spot.box_px == (10, 10, 10, 10)


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_a_map_without_a_distance_above_zero_has_no_spot(value):
    pixels = np.full((20, 20), value, np.float32)
    assert strongest_spot(pixels, PIXEL_THRESHOLD) is None
    assert not strongest_region(pixels, PIXEL_THRESHOLD).any()


def test_the_line_for_people_has_place_zone_size_and_centre_in_mm_where_there_is_a_ruler():
    plain = Spot(
        x_px=14.2, y_px=23, area_px=48, length_px=8, width_px=6, box_px=(10, 20, 8, 6), peak=1.3, place="upper left"
    )
    assert plain.describe() == "upper left, 8 x 6 px at 14, 23"
    measured = msgspec.structs.replace(plain, length_mm=0.34, width_mm=0.1, zone="edge")
    assert measured.describe() == "upper left (edge), 0.34 x 0.1 mm at 14, 23"


@pytest.mark.parametrize("size_px", [(224, 224), (300, 300), (480, 640), (960, 1280), (1, 1)])
def test_the_spot_of_stored_distances_is_in_pixels_of_the_picture(size_px):
    grid = np.full((28, 28), 5, np.float16)
    grid[7:14, 14:21] = 40
    spot = spot_in_picture(grid, PIXEL_THRESHOLD, size_px)
    assert spot is not None
    height_px, width_px = size_px
    left_px, top_px, box_width_px, box_height_px = spot.box_px
    assert left_px == pytest.approx(width_px * 0.48, abs=0.04 * width_px + 1)
    assert top_px == pytest.approx(height_px * 0.23, abs=0.04 * height_px + 1)
    assert box_width_px == pytest.approx(width_px * 0.3, abs=0.06 * width_px + 1)
    assert box_height_px == pytest.approx(height_px * 0.3, abs=0.06 * height_px + 1)


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
    left_px, top_px, box_width_px, box_height_px = spot.box_px
    assert 0 <= left_px < spot.x_px < left_px + box_width_px <= width_px
    assert 0 <= top_px < spot.y_px < top_px + box_height_px <= height_px
    row, column = np.unravel_index(pixels.argmax(), pixels.shape)
    assert strongest_region(pixels, threshold)[row, column]
    assert left_px <= column < left_px + box_width_px
    assert top_px <= row < top_px + box_height_px
