from __future__ import annotations

import numpy as np
import pytest
from support.pictures import good_picture

from stream.core.halvings import Halvings
from stream.model.patchcore.preprocess import network_input


def test_the_same_pixels_in_give_the_same_pixels_out_whatever_their_layout_in_memory():
    picture = good_picture(0)
    region = (30, 20, 100, 80)
    x, y, width, height = region
    view = picture[y : y + height, x : x + width]
    copy = np.ascontiguousarray(view)
    mirrored_twice = np.ascontiguousarray(copy[:, ::-1])[:, ::-1]
    expected = network_input(copy, (96, 96))
    np.testing.assert_array_equal(network_input(view, (96, 96)), expected)
    np.testing.assert_array_equal(network_input(mirrored_twice, (96, 96)), expected)


@pytest.mark.parametrize("shape", [(50, 60), (96, 96), (120, 160), (64, 300), (801, 901)])
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
    network_input(picture[:96, :96], (96, 96))
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("input_px", [(96, 96), (640, 480), (700, 500), (64, 32)])
def test_a_grey_region_gives_what_three_equal_channels_give(input_px: tuple[int, int]):
    grey = np.ascontiguousarray(good_picture(4, width_px=640, height_px=480)[:, :, 1])
    image = network_input(grey, input_px)
    np.testing.assert_array_equal(image, network_input(np.dstack([grey] * 3), input_px))
    assert image.flags.c_contiguous


def test_the_view_takes_nothing_from_the_network_input():
    halvings = Halvings(good_picture(5, width_px=1280, height_px=960))
    halvings.view(500)
    np.testing.assert_array_equal(network_input(halvings, (96, 96)), network_input(halvings.picture, (96, 96)))
