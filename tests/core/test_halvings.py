from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.core.halvings import Halvings

#: (width, height) of pictures, and of what they are shrunk to.
SIZES = [
    ((640, 480), (224, 224)),
    ((641, 481), (224, 192)),
    ((1280, 1024), (224, 224)),
    ((1300, 1000), (320, 224)),
    ((900, 900), (224, 224)),  # just above four
    ((895, 895), (224, 224)),  # just below
    ((449, 449), (224, 224)),
    ((1001, 333), (96, 64)),
    ((1793, 1801), (224, 224)),
    ((3000, 500), (352, 160)),
    ((257, 2000), (128, 224)),
    ((2448, 2048), (224, 224)),
    ((2447, 2049), (256, 192)),
    ((1224, 1024), (848, 640)),  # four tiles, less than two
    ((1224, 1024), (1216, 1024)),  # tiles at their native scale
    ((2735, 1823), (128, 96)),
]


def part(width_px: int, height_px: int) -> NDArray[np.uint8]:
    """Draw shading, a sensor's noise, sharp discs and fine rings, as a machined part has them."""
    random = np.random.default_rng(3)
    shading = cv2.resize(random.normal(128, 40, (24, 24)), (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(shading + random.normal(0, 6, (height_px, width_px)), 0, 255).astype(np.uint8)
    for number in range(40):
        centre = int(random.integers(0, width_px)), int(random.integers(0, height_px))
        radius, level = int(random.integers(3, 4 + width_px // 12)), int(random.integers(0, 256))
        cv2.circle(picture, centre, radius, level, cv2.FILLED if number % 2 else 2)
    return picture


def shares(edge_px: int, wanted_px: int) -> NDArray[np.float64]:
    """Return how much each pixel along an edge contributes to each of the wanted ones, (wanted, edge)."""
    borders = np.arange(wanted_px + 1)[:, None] * edge_px / wanted_px
    pixels = np.arange(edge_px)
    overlaps = np.minimum(pixels + 1, borders[1:]) - np.maximum(pixels, borders[:-1])
    return np.asarray(np.clip(overlaps, 0, None) * wanted_px / edge_px)


def exact(picture: NDArray[np.uint8], size_px: tuple[int, int]) -> NDArray[np.float64]:
    """Return the means of areas in float64."""
    height_px, width_px = picture.shape
    return np.asarray(shares(height_px, size_px[1]) @ picture.astype(np.float64) @ shares(width_px, size_px[0]).T)


def psnr_db(picture: NDArray[np.uint8], truth: NDArray[np.float64]) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.square(picture - truth).mean())))


@pytest.mark.parametrize(("picture_px", "size_px"), SIZES)
def test_shrinking_gives_the_means_of_areas_to_45_db(picture_px: tuple[int, int], size_px: tuple[int, int]):
    picture = part(*picture_px)
    shrunk = Halvings(picture).resized(size_px)
    assert shrunk.shape == (size_px[1], size_px[0])
    assert psnr_db(shrunk, exact(picture, size_px)) > 45


@pytest.mark.parametrize(("picture_px", "size_px"), SIZES)
def test_every_channel_of_a_colour_picture_is_shrunk_as_a_grey_one(
    picture_px: tuple[int, int], size_px: tuple[int, int]
):
    grey = part(*picture_px)
    other = np.ascontiguousarray(grey[::-1])
    colours = Halvings(np.dstack([grey, other, grey])).resized(size_px)
    np.testing.assert_array_equal(colours[:, :, 0], Halvings(grey).resized(size_px))
    np.testing.assert_array_equal(colours[:, :, 1], Halvings(other).resized(size_px))
    np.testing.assert_array_equal(colours[:, :, 2], Halvings(grey).resized(size_px))


@pytest.mark.parametrize(("picture_px", "size_px"), [((8, 8), (2, 2)), ((96, 64), (3, 2)), ((2448, 2048), (306, 256))])
def test_whole_powers_of_two_are_plain_means_of_blocks(picture_px: tuple[int, int], size_px: tuple[int, int]):
    picture = part(*picture_px)
    edge = picture_px[0] // size_px[0]
    blocks = picture.reshape(size_px[1], edge, size_px[0], edge).mean(axis=(1, 3))
    # Every halving rounds.
    np.testing.assert_allclose(Halvings(picture).resized(size_px), blocks, atol=0.5 * np.log2(edge) + 1e-9)


@pytest.mark.parametrize("size_px", [(224, 224), (151, 101), (601, 399), (900, 700), (700, 300)])
def test_where_less_than_four_is_left_it_is_the_plain_average_or_interpolation(size_px: tuple[int, int]):
    picture = part(600, 400)
    shrinks = size_px[0] < 600 or size_px[1] < 400
    plain = cv2.resize(picture, size_px, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    np.testing.assert_array_equal(Halvings(picture).resized(size_px), plain)


@pytest.mark.parametrize("edge_px", [1920, 1921, 1927])
@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_the_last_row_and_column_count_whatever_the_size(edge_px: int, side: str):
    picture = np.zeros((edge_px, edge_px), np.uint8)
    edge = {"left": np.s_[:, 0], "right": np.s_[:, -1], "top": np.s_[0], "bottom": np.s_[-1]}[side]
    picture[edge] = 255
    shrunk = Halvings(picture).resized((224, 224))
    assert shrunk[edge].min() > 0
    assert np.count_nonzero(shrunk) == 224


def test_what_was_shrunk_before_changes_nothing():
    picture = part(1300, 1000)
    halvings = Halvings(picture)
    halvings.view(100)
    np.testing.assert_array_equal(halvings.resized((320, 224)), Halvings(picture).resized((320, 224)))
    np.testing.assert_array_equal(halvings.view(100), Halvings(picture).view(100))
    np.testing.assert_array_equal(picture, part(1300, 1000))


@pytest.mark.parametrize(
    ("picture_px", "max_px", "expected_px"),
    [
        ((2448, 2048), 1024, (1024, 857)),
        ((2048, 1024), 512, (512, 256)),
        ((300, 1), 100, (100, 1)),
        ((80, 60), 100, (80, 60)),
    ],
)
def test_a_view_has_its_longer_side_at_most(picture_px: tuple[int, int], max_px: int, expected_px: tuple[int, int]):
    view = Halvings(part(*picture_px)).view(max_px)
    assert (view.shape[1], view.shape[0]) == expected_px


@pytest.mark.parametrize("picture_px", [(2448, 2048), (1990, 1500), (1025, 700), (2735, 1823)])
def test_a_view_looks_like_the_means_of_areas(picture_px: tuple[int, int]):
    picture = part(*picture_px)
    view = Halvings(picture).view(1024)
    assert psnr_db(view, exact(picture, (view.shape[1], view.shape[0]))) > 30
