from __future__ import annotations

import numpy as np
import pytest
from support.pictures import good_picture

from stream.core.errors import FrameFault
from stream.core.verdict import Cause
from stream.model.patchcore.preprocess import crop, network_input, region_of


def test_the_same_pixels_in_give_the_same_pixels_out_whatever_their_layout_in_memory():
    picture = good_picture(0)
    region = (30, 20, 100, 80)
    view = crop(picture, region)
    copy = np.ascontiguousarray(view)
    mirrored_twice = np.ascontiguousarray(copy[:, ::-1])[:, ::-1]
    expected = network_input(copy, (96, 96))
    np.testing.assert_array_equal(network_input(view, (96, 96)), expected)
    np.testing.assert_array_equal(network_input(mirrored_twice, (96, 96)), expected)


@pytest.mark.parametrize("shape", [(50, 60), (96, 96), (120, 160), (64, 300)])
def test_every_region_becomes_a_contiguous_square(shape: tuple[int, int]):
    image = network_input(good_picture(1, width_px=shape[1], height_px=shape[0]), (96, 96))
    assert image.shape == (96, 96, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous


def test_the_network_sees_red_first():
    blue_green_red = np.zeros((50, 50, 3), dtype=np.uint8)
    blue_green_red[:] = (10, 20, 30)
    assert network_input(blue_green_red, (32, 32))[0, 0].tolist() == [30, 20, 10]


def test_a_region_of_the_networks_size_only_changes_the_order_of_its_channels():
    picture = good_picture(2, width_px=96, height_px=96)
    np.testing.assert_array_equal(network_input(picture, (96, 96)), picture[:, :, ::-1])


def test_shrinking_averages_areas():
    picture = np.zeros((8, 8, 3), dtype=np.uint8)
    picture[::2, ::2] = 200  # one pixel of each 2×2
    np.testing.assert_array_equal(network_input(picture, (4, 4)), np.full((4, 4, 3), 50))


def test_nothing_is_cut_off_a_picture_that_is_not_square():
    picture = np.zeros((60, 120, 3), dtype=np.uint8)
    picture[:, -4:] = 255
    image = network_input(picture, (60, 60))
    assert image[:, -2:].min() == 255
    assert image[:, :-2].max() == 0


def test_the_input_picture_is_left_as_it_was():
    picture = good_picture(3)
    before = picture.copy()
    network_input(crop(picture, (0, 0, 96, 96)), (96, 96))
    np.testing.assert_array_equal(picture, before)


def test_a_region_holds_the_pixels_it_names():
    picture = good_picture(4)
    region = crop(picture, (7, 11, 20, 30))
    assert region.shape == (30, 20, 3)
    np.testing.assert_array_equal(region, picture[11:41, 7:27])


def test_without_a_region_the_whole_picture_is_used():
    picture = good_picture(5)
    assert crop(picture, None) is picture


def test_a_region_may_reach_the_edge():
    assert crop(good_picture(6), (60, 20, 100, 100)).shape == (100, 100, 3)


@pytest.mark.parametrize(
    "region",
    [
        (61, 20, 100, 100),
        (60, 21, 100, 100),
        (0, 0, 161, 10),
        (500, 500, 10, 10),
        (-1, 0, 50, 50),
        (0, -30, 50, 50),
    ],
    ids=["too far right", "too far down", "too wide", "far outside", "left of it", "above it"],
)
def test_a_region_outside_the_picture_is_a_wrong_geometry(region: tuple[int, int, int, int]):
    with pytest.raises(FrameFault, match="160×120") as fault:
        crop(good_picture(7), region)
    assert fault.value.cause is Cause.WRONG_GEOMETRY
    assert ",".join(str(side) for side in region) in fault.value.detail


@pytest.mark.parametrize("picture_px", [(160, 121), (120, 160), (320, 240)])
def test_a_whole_image_of_another_size_than_the_fits_is_a_wrong_geometry(picture_px: tuple[int, int]):
    with pytest.raises(FrameFault, match=f"160×120 px, the bundle learned {picture_px[0]}×{picture_px[1]}") as fault:
        region_of(good_picture(7), None, picture_px)
    assert fault.value.cause is Cause.WRONG_GEOMETRY


@pytest.mark.parametrize(
    ("roi", "picture_px", "shape"),
    [
        (None, (160, 120), (120, 160, 3)),
        (None, None, (120, 160, 3)),
        ((10, 20, 50, 40), (320, 240), (40, 50, 3)),
    ],
)
def test_the_size_counts_only_for_whole_images_of_one_size(
    roi: tuple[int, int, int, int] | None, picture_px: tuple[int, int] | None, shape: tuple[int, int, int]
):
    assert region_of(good_picture(7), roi, picture_px).shape == shape
