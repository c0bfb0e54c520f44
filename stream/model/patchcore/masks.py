"""Masks: named areas of a part that are not judged, or judged by a threshold of their own. Pure.

They are drawn in pixels of the part's region, the upper left one being 0, 0, so that they follow region and alignment.
What is not judged is filled with one grey level in the network input itself, with every pixel of it to which an ignored
one contributes: bank, score and map cannot depend on what lies there, in a fit, on the line or in a replay. A patch is
judged if the pixel at its centre is not filled; its distance weighs 1 / factor, and that of the others nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.core.errors import ConfigError
from stream.core.halvings import Halvings
from stream.model.patchcore.spots import Zones

#: Grey level of what is not judged: the mean that the networks subtract. Without colour, so that grey parts stay grey.
FILL = 117

#: Where a polygon's points lie at most, px: OpenCV computes in integers.
_FARTHEST_PX = 1 << 20

Kind = Literal["ignore", "judge_only", "zone"]
Polygon = tuple[tuple[float, float], ...]


class Mask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A named area, of one shape, in px of the region.

    Attributes:
        name: unique among the masks of a part.
        kind: `ignore`: never judged; `judge_only`: where there are such masks, nothing else is judged; `zone`: judged.
        polygons: closed lines of (x, y), each inverting what it encloses, so that one within another is a hole; the
            pixels on the lines belong to the area.
        rectangle: (x, y, width, height).
        circle: (x, y, radius) of its centre.
        factor: multiple of the thresholds that holds here: with 2 a distance counts half.
    """

    name: str
    kind: Kind
    polygons: tuple[Polygon, ...] = ()
    rectangle: tuple[float, float, float, float] | None = None
    circle: tuple[float, float, float] | None = None
    factor: float = 1.0

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """The least x and y and the largest x and y of the area."""
        if self.rectangle is not None:
            x, y, width, height = self.rectangle
            return x, y, x + width, y + height
        if self.circle is not None:
            x, y, radius = self.circle
            return x - radius, y - radius, x + radius, y + radius
        points = np.array([point for polygon in self.polygons for point in polygon], dtype=np.float64).reshape(-1, 2)
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        return float(left), float(top), float(right), float(bottom)

    def area(self, size_px: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the pixels of the area, (H, W) bool, of a region of (width, height)."""
        width_px, height_px = size_px
        if self.circle is not None:
            x, y, radius = self.circle
            rows, columns = np.ogrid[:height_px, :width_px]
            return np.asarray((columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius * radius)
        area = np.zeros((height_px, width_px), np.uint8)
        if self.rectangle is not None:
            left, top, right, bottom = np.clip(self.bounds, 0, max(size_px))
            area[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = 1
        else:
            outlines = [np.clip(np.floor(polygon), -_FARTHEST_PX, _FARTHEST_PX) for polygon in self.polygons]
            cv2.fillPoly(area, [outline.astype(np.int32) for outline in outlines], (1,))
        return area > 0

    def moved(self, x_px: float, y_px: float) -> Mask:
        """Return the mask so far to the right and down."""
        polygons = tuple(tuple((x + x_px, y + y_px) for x, y in polygon) for polygon in self.polygons)
        rectangle, circle = self.rectangle, self.circle
        if rectangle is not None:
            rectangle = (rectangle[0] + x_px, rectangle[1] + y_px, *rectangle[2:])
        if circle is not None:
            circle = (circle[0] + x_px, circle[1] + y_px, circle[2])
        return msgspec.structs.replace(self, polygons=polygons, rectangle=rectangle, circle=circle)


class Masks(msgspec.Struct, frozen=True, forbid_unknown_fields=True, cache_hash=True):
    """All masks of a part: `areas` drawn in a region of `region_px`, (width, height).

    Where areas with a factor overlap, the later one counts.
    """

    region_px: tuple[int, int]
    areas: tuple[Mask, ...]

    def __post_init__(self) -> None:
        """Raise ValueError for a region or a mask without an extent, as damaged metadata may have it."""
        if min(self.region_px) < 1 or not all(
            mask.rectangle or mask.circle or (mask.polygons and all(mask.polygons)) for mask in self.areas
        ):
            raise ValueError("masks without an extent")

    def filled(self, input_px: tuple[int, int]) -> NDArray[np.bool_]:
        """Return which pixels of the network input of (width, height) are filled, (H, W) bool; not to be changed."""
        return _filled(self, input_px)

    def fill(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Fill what is not judged in a network input, (H, W, 3) uint8, in place; return it."""
        filled = self.filled((pixels.shape[1], pixels.shape[0])).view(np.uint8)
        cv2.copyTo(np.full_like(pixels, FILL), filled, pixels)
        return pixels

    def fill_each(self, inputs: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a copy of network inputs, (N, H, W, 3) uint8, with what is not judged filled."""
        copies = inputs.copy()
        for pixels in copies:
            self.fill(pixels)
        return copies

    def weights(self, input_px: tuple[int, int], grid: tuple[int, int]) -> NDArray[np.float32] | None:
        """Return what a distance is multiplied by at each patch, (h, w), not to be changed; None: 1 everywhere.

        0: the patch is not judged.
        """
        weights = _weights(self, input_px, grid)
        return None if (weights == 1).all() else weights

    def check(self, input_px: tuple[int, int], grid: tuple[int, int] | None = None) -> None:
        """Raise ConfigError unless something is judged, and something of each area that is meant to be.

        Args:
            input_px: (width, height) of the network input.
            grid: (h, w) of the patches; None: not known yet, so that only pixels are looked at.
        """
        judged = ~self.filled(input_px) if grid is None else _weights(self, input_px, grid) > 0
        if not judged.any():
            raise ConfigError(f"masks {self.names}: nothing is left to judge; draw what is ignored smaller")
        if grid is None:
            return
        for mask in self.areas:
            if mask.kind != "ignore" and not (_at_centres(mask.area(self.region_px), grid) & judged).any():
                raise ConfigError(
                    f"mask '{mask.name}': no patch of {grid[1]}×{grid[0]} has its centre in it, or all that do are "
                    "ignored; draw it larger, or give the network more pixels with --size or --tiles"
                )

    def zones(self) -> Zones:
        """Return the areas that are judged, as labels of the pixels of the region."""
        named = [mask for mask in self.areas if mask.kind != "ignore"]
        labels = np.zeros((self.region_px[1], self.region_px[0]), np.uint8)
        for number, mask in enumerate(named, start=1):
            labels[mask.area(self.region_px)] = number
        return Zones(labels, tuple(mask.name for mask in named))

    @property
    def names(self) -> str:
        """The names in words."""
        return ", ".join(f"'{mask.name}'" for mask in self.areas)

    def describe(self) -> list[str]:
        """Return one line for each mask."""
        return [_described(mask) for mask in self.areas]


def polygons_of(area: NDArray[np.bool_]) -> tuple[Polygon, ...]:
    """Return the polygons whose area is that of (H, W) bool, to the pixel."""
    contours, _ = cv2.findContours(area.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    return tuple(tuple((float(x), float(y)) for x, y in contour.reshape(-1, 2)) for contour in contours)


def _union(areas: Iterable[NDArray[np.bool_]], size_px: tuple[int, int]) -> NDArray[np.bool_]:
    union = np.zeros((size_px[1], size_px[0]), np.bool_)
    for area in areas:
        union |= area
    return union


@lru_cache(maxsize=64)
def _filled(masks: Masks, input_px: tuple[int, int]) -> NDArray[np.bool_]:
    region_px = masks.region_px
    unjudged = _union((mask.area(region_px) for mask in masks.areas if mask.kind == "ignore"), region_px)
    only = [mask.area(region_px) for mask in masks.areas if mask.kind == "judge_only"]
    if only:
        unjudged |= ~_union(only, region_px)
    # One pixel more, since an aligned region is interpolated; then every pixel of the input in which one has a share.
    grown = np.asarray(cv2.dilate(unjudged.astype(np.float32), np.ones((3, 3), np.uint8)))
    filled = Halvings(grown).resized(input_px) > 0
    filled.flags.writeable = False
    return filled


@lru_cache(maxsize=64)
def _weights(masks: Masks, input_px: tuple[int, int], grid: tuple[int, int]) -> NDArray[np.float32]:
    weights = np.ones(grid, np.float32)
    for mask in masks.areas:
        if mask.factor != 1.0:
            weights[_at_centres(mask.area(masks.region_px), grid)] = 1.0 / mask.factor
    weights[_at_centres(masks.filled(input_px), grid)] = 0.0
    weights.flags.writeable = False
    return weights


def _at_centres(pixels: NDArray[np.bool_], grid: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels at the centres of the patches, (H, W) → (h, w)."""
    sides = zip(grid, pixels.shape, strict=True)
    return pixels[np.ix_(*(((np.arange(count) + 0.5) * size / count).astype(int) for count, size in sides))]


def _described(mask: Mask) -> str:
    if mask.rectangle is not None:
        shape = "rectangle {:g},{:g} of {:g}×{:g} px".format(*mask.rectangle)
    elif mask.circle is not None:
        shape = "circle around {:g},{:g} of {:g} px".format(*mask.circle)
    else:
        points = sum(map(len, mask.polygons))
        shape = f"{len(mask.polygons)} polygon{'s' * (len(mask.polygons) != 1)} of {points} points"
    factor = f", thresholds × {mask.factor:g}" if mask.factor != 1.0 else ""
    return f"{mask.name}: {mask.kind}, {shape}{factor}"
