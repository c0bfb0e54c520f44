"""Fixtures: marked places of the reference picture by which a part is found, and their pixels at a scale. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

#: (x, y, width, height) in px of the frame.
Box = tuple[int, int, int, int]

#: Share of the limits by which a search exceeds them, so that a part just beyond is named with its place.
BEYOND = 0.2
#: Pixels that the smoothing of a picture reaches.
_SMOOTHED = 4


class Search(NamedTuple):
    """Where a part is looked for.

    Attributes:
        rotates: whether it may be turned.
        limit_px: farthest from its place.
        limit_deg: farthest turned, to either side.
    """

    rotates: bool
    limit_px: float
    limit_deg: float

    @property
    def most(self) -> float:
        """The largest angle that is searched, radians."""
        return math.radians(self.limit_deg) * (1 + BEYOND) if self.rotates else 0.0


class Move(NamedTuple):
    """How the middle of all fixtures has moved, px of the frame, and its turn in radians, clockwise."""

    x_px: float
    y_px: float
    angle: float


class Patch(NamedTuple):
    """A fixture with its surroundings, in grey, at a scale.

    Attributes:
        box: the fixture, px of the frame.
        scale: px of the frame to one pixel.
        margin: pixels around the fixture.
        pixels: (h, w) uint8.
    """

    box: Box
    scale: int
    margin: int
    pixels: NDArray[np.uint8]

    @property
    def origin(self) -> NDArray[np.float64]:
        """(x, y) of the corner of the first pixel, px of the frame."""
        return np.array(self.box[:2]) - float(self.margin * self.scale)


class Finder(Protocol):
    """Finds fixtures in frames; any thread may call it."""

    def __call__(self, frame: NDArray[np.uint8]) -> tuple[Move, float]:
        """Return the most likely move of the fixtures in a frame, (H, W, 3) or (H, W) uint8, and its match, 0 to 1."""
        ...


def working_scale(boxes: Sequence[Box], pixels: int) -> int:
    """Return the least whole number of px to one with which all fixtures together have no more than so many pixels."""
    return max(1, math.ceil(math.sqrt(sum(width * height for _, _, width, height in boxes) / pixels)))


def cells(box: Box, scale: int) -> tuple[int, int]:
    """Return (columns, rows) of a fixture at a scale; a rest that fills no pixel is left out."""
    return max(1, box[2] // scale), max(1, box[3] // scale)


def turning_margin(box: Box, scale: int, search: Search) -> int:
    """Return how many pixels around it a fixture shows once it is turned."""
    return _SMOOTHED + math.ceil(max(box[2:]) / 2 * math.sin(min(search.most, math.pi / 2)) / scale)


def patch_of(frame: NDArray[np.uint8], box: Box, scale: int, *, margin: int, multiple: int = 1) -> Patch:
    """Return a fixture of a frame, (H, W, 3) BGR or (H, W) uint8, with at least `margin` pixels around it.

    The edge of the frame goes on beyond it. Columns and rows are a `multiple`.
    """
    columns, rows = (multiple * math.ceil((count + 2 * margin) / multiple) for count in cells(box, scale))
    left, top = box[0] - margin * scale, box[1] - margin * scale
    right, bottom = left + columns * scale, top + rows * scale
    height_px, width_px = frame.shape[:2]
    inside = frame[max(0, top) : max(0, min(bottom, height_px)), max(0, left) : max(0, min(right, width_px))]
    grey = inside if inside.ndim == 2 else cv2.cvtColor(inside, cv2.COLOR_BGR2GRAY)
    beyond = max(0, -top), max(0, bottom - height_px), max(0, -left), max(0, right - width_px)
    if any(beyond):
        grey = cv2.copyMakeBorder(grey, *beyond, cv2.BORDER_REPLICATE)
    if scale > 1:
        grey = cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA)
    return Patch(box, scale, margin, np.asarray(grey, np.uint8))


def middle(boxes: Sequence[Box]) -> NDArray[np.float64]:
    """Return the middle (x, y) of fixtures, px of the frame: the mean of their middles."""
    corners, sizes = np.split(np.array(boxes, np.float64), 2, axis=1)
    return np.asarray((corners + (sizes - 1) / 2).mean(axis=0))


def rotation(angle: float) -> NDArray[np.float64]:
    """Return the matrix that turns (x, y) clockwise, y pointing down, by `angle` in radians."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])
