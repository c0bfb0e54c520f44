from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from support.pictures import good_picture

from stream.core.errors import FrameFault
from stream.core.verdict import Cause
from stream.model.patchcore.geometry import Geometry
from stream.model.patchcore.preprocess import Roi


def region_of(
    picture: NDArray[np.uint8], roi: Roi | None, picture_px: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    return Geometry(roi, picture_px, (96, 96)).region(picture)


def test_a_region_holds_the_pixels_it_names():
    picture = good_picture(4)
    region = region_of(picture, (7, 11, 20, 30))
    assert region.shape == (30, 20, 3)
    np.testing.assert_array_equal(region, picture[11:41, 7:27])


def test_without_a_region_the_whole_picture_is_used():
    picture = good_picture(5)
    assert region_of(picture, None) is picture


def test_a_region_may_reach_the_edge():
    assert region_of(good_picture(6), (60, 20, 100, 100)).shape == (100, 100, 3)


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
        region_of(good_picture(7), region)
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
