"""Area averages of large pictures, the expensive part of shrinking made cheap. Pure.

OpenCV averages 2×2 px ten times quicker than areas of any other size. A picture is therefore halved, and the areas of
any size are taken from its last halving.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

#: Least factor that halvings leave. The borders of areas cut through halved pixels as if each had one value: with two
#: of them across an area the result is 48 dB and more from the exact means, with one of them 39.
LEFT = 2


class Halvings:
    """A picture and its halvings, each made when it is first needed, for all that is resized from them; for one thread.

    Attributes:
        picture: (H, W) or (H, W, channels), uint8 or float32; not to be changed.
        size_px: its (width, height).
    """

    def __init__(self, picture: NDArray[Any]) -> None:
        self.picture = picture
        self.size_px = picture.shape[1], picture.shape[0]
        self._levels = [picture]

    def resized(self, size_px: tuple[int, int]) -> NDArray[Any]:
        """Return the picture at another size, (width, height), with its channels and dtype; perhaps a view of it.

        Shrinking averages areas (no aliasing), enlarging interpolates.
        """
        width_px, height_px = size_px
        sides = tuple(zip(self.size_px, size_px, strict=True))
        times = _times(self.size_px, (LEFT * width_px, LEFT * height_px))
        if self.size_px == size_px:
            return self.picture
        shrinks = any(edge > wanted for edge, wanted in sides)
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        if not times:
            return np.asarray(cv2.resize(self.picture, size_px, interpolation=interpolation))
        # By factors, since the last row and column of a halving may stand for less than a whole pixel. Where they do,
        # OpenCV may add one to the result.
        factor_x, factor_y = ((wanted << times) / edge for edge, wanted in sides)
        resized = cv2.resize(self._level(times), None, fx=factor_x, fy=factor_y, interpolation=interpolation)
        return np.asarray(resized)[:height_px, :width_px]

    def view(self, max_px: int) -> NDArray[Any]:
        """Return the picture for people: shrunk, where its longer side exceeds `max_px`, to that.

        What halvings leave, less than two, is interpolated in a quarter of the time that areas take.
        """
        factor = min(1.0, max_px / max(self.size_px))
        size_px = max(1, round(self.size_px[0] * factor)), max(1, round(self.size_px[1] * factor))
        level = self._level(_times(self.size_px, size_px))
        if (level.shape[1], level.shape[0]) == size_px:
            return level
        return np.asarray(cv2.resize(level, size_px, interpolation=cv2.INTER_LINEAR))

    def _level(self, times: int) -> NDArray[Any]:
        while len(self._levels) <= times:
            self._levels.append(_half(self._levels[-1]))
        return self._levels[times]


def _times(size_px: tuple[int, int], least_px: tuple[int, int]) -> int:
    """Return how often a size can be halved without falling below another."""
    return max(0, min((edge // least).bit_length() - 1 for edge, least in zip(size_px, least_px, strict=True)))


def _half(picture: NDArray[Any]) -> NDArray[Any]:
    """Return the means of 2×2 px; an odd last row or column counts twice."""
    height_px, width_px = picture.shape[:2]
    if height_px % 2 or width_px % 2:
        below, right = height_px % 2, width_px % 2
        picture = np.asarray(cv2.copyMakeBorder(picture, 0, below, 0, right, borderType=cv2.BORDER_REPLICATE))
    size_px = (width_px + 1) // 2, (height_px + 1) // 2
    return np.asarray(cv2.resize(picture, size_px, interpolation=cv2.INTER_AREA))
