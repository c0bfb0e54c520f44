"""From a part's region to the network input, and how large that is. Pure."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.core.halvings import Halvings

#: Version of the pixel path, stored in every bundle; changes whenever the pixels that `network_input` returns change.
PREPROCESSING = "roi-area-rgb8/3"

Roi = tuple[int, int, int, int]
#: Edge of a square, in px, whose number of pixels is wanted in the region's aspect; or (width, height) exactly.
Size = int | tuple[int, int]

#: Networks halve their maps five times; an input that is a multiple of this loses no row or column.
MULTIPLE_PX = 32


def input_size(size: Size, region_px: tuple[int, int], multiple_px: int = MULTIPLE_PX) -> tuple[int, int]:
    """Return (width, height) of the network input for a region of (width, height).

    An edge gives about as many pixels as a square of that edge has, hence about its time, in the aspect of the
    region: the nearest multiples of `multiple_px`, or that square itself where it is nearest and the network takes it.
    """
    if not isinstance(size, int):
        return size
    aspect = math.log(region_px[0] / region_px[1])
    edges = range(multiple_px, 8 * size + multiple_px, multiple_px)
    candidates = [(width, height) for width in edges for height in edges]
    if multiple_px == MULTIPLE_PX or size % multiple_px == 0:
        candidates.insert(0, (size, size))

    def unlike(candidate: tuple[int, int]) -> float:
        width, height = candidate
        return abs(math.log(width / height) - aspect) + abs(math.log(width * height / size**2))

    return min(candidates, key=unlike)


def network_input(region: NDArray[np.uint8] | Halvings, input_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize a region to the network's input.

    Shrinking averages areas (no aliasing), enlarging interpolates. No edge of the part is cut off: a region of
    another aspect is distorted. A grey region gives what three equal channels give.

    Args:
        region: (H, W, 3) uint8 BGR, or (H, W) uint8 grey; its halvings where more is shrunk from them.
        input_px: (width, height).

    Returns:
        (height, width, 3) uint8, RGB, contiguous.
    """
    halvings = region if isinstance(region, Halvings) else Halvings(region)
    # Colours last: there are fewer pixels then.
    resized = halvings.resized(input_px)
    code = cv2.COLOR_GRAY2RGB if resized.ndim == 2 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(resized, code), dtype=np.uint8)
