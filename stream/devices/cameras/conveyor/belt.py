"""Drawing a conveyor belt: dark ribbed rubber with parts on it, moved to the right pixel by pixel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import FrameFault

_SEED = 7
_RIB_PX = 32  # distance of the transverse ribs


class BeltPart(NamedTuple):
    """One part on the belt.

    Attributes:
        place: its place in the order of passing, from 0.
        name: file name of its picture.
        image: (h, w, 3) uint8 BGR, no larger than the belt; None when `fault` is set.
        fault: why there is no picture of it.
    """

    place: int
    name: str
    image: NDArray[np.uint8] | None
    fault: FrameFault | None

    @property
    def width_px(self) -> int:
        """Width of the picture; 0 for a part that has none."""
        return 0 if self.image is None else self.image.shape[1]


class Belt:
    """What the camera sees, as a function of how far the belt has moved since the start.

    Parts follow each other at the width of the picture, so they never overlap, and while one is
    centred no other is in view.
    """

    def __init__(self, width_px: int, height_px: int) -> None:
        self.width_px = width_px
        self.height_px = height_px
        self._rubber = _rubber(width_px, height_px)

    def holds(self, width_px: int, height_px: int) -> bool:
        """Whether a part of this size fits into the image."""
        return width_px <= self.width_px and height_px <= self.height_px

    def centred_px(self, place: int) -> int:
        """Return the travel at which the part of this place is centred."""
        return (place + 1) * self.width_px

    def left_px(self, part: BeltPart, travel_px: int) -> int:
        """Return the part's left edge in the picture; negative or beyond the width when out of view."""
        return (self.width_px - part.width_px) // 2 + travel_px - self.centred_px(part.place)

    def picture(self, travel_px: int, parts: Iterable[BeltPart]) -> NDArray[np.uint8]:
        """Return (H, W, 3) uint8 BGR: the belt moved by `travel_px`, the parts' pixels unchanged on it."""
        period_px = self._rubber.shape[1] - self.width_px
        column = -travel_px % period_px
        picture = self._rubber[:, column : column + self.width_px].copy()
        for part in parts:
            if part.image is None:
                continue
            height_px = part.image.shape[0]
            top = (self.height_px - height_px) // 2
            left = self.left_px(part, travel_px)
            first, last = max(0, left), min(self.width_px, left + part.width_px)
            if first < last:
                picture[top : top + height_px, first:last] = part.image[:, first - left : last - left]
        return picture


def _rubber(width_px: int, height_px: int) -> NDArray[np.uint8]:
    """Return dark ribbed rubber, (H, period + W, 3) uint8: it repeats, so every offset is one slice."""
    import cv2

    period_px = (width_px + width_px // 3) // _RIB_PX * _RIB_PX + _RIB_PX
    grain = np.random.default_rng(_SEED).integers(0, 256, (height_px, period_px), dtype=np.uint8)
    margin_px = 8
    wrapped = cv2.copyMakeBorder(grain, 0, 0, margin_px, margin_px, cv2.BORDER_WRAP)
    soft = cv2.GaussianBlur(wrapped, (0, 0), 1.5)[:, margin_px:-margin_px].astype(np.float32)
    ribs = np.where(np.arange(period_px) % _RIB_PX < 3, -8.0, 0.0)
    gray = np.clip(40.0 + (soft - 127.5) * 0.3 + ribs, 0, 255).astype(np.uint8)
    once = np.repeat(gray[:, :, np.newaxis], 3, axis=2)
    return np.ascontiguousarray(np.concatenate([once, once[:, :width_px]], axis=1))
