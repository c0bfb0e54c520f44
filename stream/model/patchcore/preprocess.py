"""From an image or frame to the network input: the one function that fit, evaluate and capture use."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.core.errors import FrameFault
from stream.core.verdict import Cause

#: Version of the pixel path, stored in every bundle; changes whenever the pixels that `network_input` returns change.
PREPROCESSING = "roi-square-area-rgb8/1"

Roi = tuple[int, int, int, int]


def crop(image: NDArray[np.uint8], roi: Roi | None) -> NDArray[np.uint8]:
    """Return the region (x, y, width, height), in px, of an image, without copying.

    Raises:
        FrameFault: WRONG_GEOMETRY, if the image does not contain the region.
    """
    if roi is None:
        return image
    x, y, width, height = roi
    if min(x, y) < 0 or x + width > image.shape[1] or y + height > image.shape[0]:
        raise FrameFault(
            Cause.WRONG_GEOMETRY,
            f"the picture is {image.shape[1]}×{image.shape[0]} px, too small for region {x},{y},{width},{height}",
        )
    return image[y : y + height, x : x + width]


def region_of(image: NDArray[np.uint8], roi: Roi | None, picture_px: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Return the part's region of a frame, as a view, or refuse the frame.

    Args:
        image: (H, W, 3) uint8.
        roi: the region; None: the whole image, which must then have the size of the images in the fit.
        picture_px: that size, (width, height); None: they differed.

    Raises:
        FrameFault: WRONG_GEOMETRY, if the image has another size or does not contain the region.
    """
    width_px, height_px = image.shape[1], image.shape[0]
    if roi is None and picture_px is not None and (width_px, height_px) != picture_px:
        raise FrameFault(
            Cause.WRONG_GEOMETRY,
            f"the picture is {width_px}×{height_px} px, the bundle learned {picture_px[0]}×{picture_px[1]}",
        )
    return crop(image, roi)


def network_input(region: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Resize a region to the network's square input.

    Shrinking averages areas (no aliasing), enlarging interpolates. The aspect ratio is not kept, so
    that no edge of the part is cut off.

    Args:
        region: (H, W, 3) uint8, BGR.
        size_px: edge of the square.

    Returns:
        (size_px, size_px, 3) uint8, RGB, contiguous.
    """
    shrinking = region.shape[0] > size_px or region.shape[1] > size_px
    resized = cv2.resize(region, (size_px, size_px), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(resized, cv2.COLOR_BGR2RGB), dtype=np.uint8)
