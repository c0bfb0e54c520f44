"""The connected spots of an anomaly map: area, length, width, place and peak, in pixels, millimetres and words."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.core.spots import Spot
from stream.model.patchcore.score import anomalous, anomaly_map, sigma_px

#: Share of the map's peak that the strongest spot exceeds, unless the pixel threshold is lower.
SHARE_OF_PEAK = 0.9
#: Longer side of the map by which a spot of a picture is located, in px: several pixels for each patch.
_LOCATED_AT_PX = 224
#: The largest distance that is stored.
_FARTHEST = float(np.finfo(np.float16).max)
#: Share of both sides from which on a spot has no place of its own.
_WHOLE = 2 / 3
_PLACES = (
    ("upper left", "top", "upper right"),
    ("left", "centre", "right"),
    ("lower left", "bottom", "lower right"),
)


class Zones(NamedTuple):
    """Named parts of a region.

    Attributes:
        labels: (H, W) uint8 over the whole region, at any resolution: 0, or a zone's place in `names` from 1.
        names: of the zones.
    """

    labels: NDArray[np.uint8] = np.zeros((1, 1), np.uint8)
    names: tuple[str, ...] = ()

    def at(self, across: float, down: float) -> str:
        """Return the zone of a point, by its shares of the region's width and height in [0, 1]; empty: none."""
        rows, columns = self.labels.shape
        label = int(self.labels[min(rows - 1, int(down * rows)), min(columns - 1, int(across * columns))])
        return self.names[label - 1] if label else ""


#: Of a region without zones.
NO_ZONES = Zones()


def spots_of(
    patch_distances: NDArray[np.floating],
    pixel_threshold: float,
    map_px: tuple[int, int],
    region_px: tuple[int, int],
    *,
    with_strongest: bool,
    mm_per_px: float | None = None,
    zones: Zones = NO_ZONES,
) -> list[Spot]:
    """Measure the spots where the anomaly map exceeds the pixel threshold, neighbours by a corner being one.

    Args:
        patch_distances: (h, w).
        pixel_threshold: distance above which a pixel is anomalous.
        map_px: (width, height) of the map that is measured: the network input's.
        region_px: (width, height) of the part's region; sizes and places are in its px.
        with_strongest: also the spot around the most distant patch, as `strongest_region`, where the map does not reach
            the pixel threshold: of a part whose score exceeds its threshold.
        mm_per_px: of the region, for the sizes in mm.
        zones: of the region.

    Returns:
        The spots, the largest first.
    """
    # What is no number may be anything: it must not pass for a small spot.
    distances = _finite(patch_distances, nan=_FARTHEST)
    pixels = anomaly_map(distances, map_px[::-1], sigma_px(map_px[::-1], distances.shape))
    within = anomalous(pixels, pixel_threshold)
    if with_strongest:
        for at in {_pixel_of_strongest_patch(distances, pixels), _strongest_pixel(pixels)}:
            within |= _region_around(at, pixels, pixel_threshold)
    _, labels, figures, _ = cv2.connectedComponentsWithStats(within.astype(np.uint8), connectivity=8)
    scale = region_px[0] / map_px[0], region_px[1] / map_px[1]
    spots = []
    for label, (x, y, width, height, _) in enumerate(figures.tolist()[1:], start=1):
        own = labels[y : y + height, x : x + width] == label
        spots.append(_measured(own, (x, y), pixels, pixel_threshold, scale, mm_per_px, zones))
    return sorted(spots, key=lambda spot: (-spot.area_px, spot.y_px, spot.x_px))


def strongest_region(map_px: NDArray[np.floating], pixel_threshold: float) -> NDArray[np.bool_]:
    """Return the connected region around the map's maximum, (H, W) bool; empty if nothing exceeds 0.

    It is the part of the mask around the maximum. Where the map hardly exceeds the pixel threshold or does not reach
    it, the region is that above `SHARE_OF_PEAK` of the maximum: the image score may make a part a DEFECT by itself.

    Args:
        map_px: (H, W) anomaly map, finite.
        pixel_threshold: distance above which a pixel is anomalous.
    """
    return _region_around(_strongest_pixel(map_px), map_px, pixel_threshold)


def strongest_spot(map_px: NDArray[np.floating], pixel_threshold: float, size_px: tuple[int, int]) -> Spot | None:
    """Return the spot of `strongest_region` in px of a picture of (height, width); None if nothing exceeds 0."""
    region = strongest_region(map_px, pixel_threshold)
    if not region.any():
        return None
    scale = size_px[1] / map_px.shape[1], size_px[0] / map_px.shape[0]
    x, y, width, height = cv2.boundingRect(region.astype(np.uint8))
    return _measured(region[y : y + height, x : x + width], (x, y), map_px, pixel_threshold, scale)


def spot_in_picture(
    patch_distances: NDArray[np.floating], pixel_threshold: float, size_px: tuple[int, int]
) -> Spot | None:
    """Return the strongest spot of stored patch distances in pixels of a picture.

    Args:
        patch_distances: (h, w), float16 or float32.
        pixel_threshold: distance above which a pixel is anomalous.
        size_px: (height, width) of the picture. The time does not depend on it.
    """
    factor = min(1.0, _LOCATED_AT_PX / max(size_px))
    small_px = (max(1, round(size_px[0] * factor)), max(1, round(size_px[1] * factor)))
    return strongest_spot(map_in_picture(patch_distances, small_px), pixel_threshold, size_px)


def map_in_picture(patch_distances: NDArray[np.floating], size_px: tuple[int, int]) -> NDArray[np.float32]:
    """Return the anomaly map of stored patch distances (h, w) over a picture of (height, width), finite."""
    finite = _finite(patch_distances, nan=0.0)
    return anomaly_map(finite, size_px, sigma_px(size_px, finite.shape))


def _finite(patch_distances: NDArray[np.floating], *, nan: float) -> NDArray[np.float32]:
    """Return distances that smoothing does not spread as NaN."""
    # A distance beyond float16 was stored as inf.
    return np.nan_to_num(patch_distances.astype(np.float32), nan=nan, posinf=_FARTHEST)


def _strongest_pixel(pixels: NDArray[np.floating]) -> tuple[int, int]:
    row, column = divmod(int(pixels.argmax()), pixels.shape[1])
    return row, column


def _pixel_of_strongest_patch(distances: NDArray[np.float32], pixels: NDArray[np.float32]) -> tuple[int, int]:
    """Return the middle of the most distant patch, (row, column) of the map: smoothing may have moved the peak."""
    row, column = divmod(int(distances.argmax()), distances.shape[1])
    rows, columns = pixels.shape
    return int((row + 0.5) * rows / distances.shape[0]), int((column + 0.5) * columns / distances.shape[1])


def _region_around(at: tuple[int, int], pixels: NDArray[np.floating], pixel_threshold: float) -> NDArray[np.bool_]:
    peak = float(pixels[at])
    if not peak > 0:
        return np.zeros(pixels.shape, np.bool_)
    within = pixels > min(pixel_threshold, SHARE_OF_PEAK * peak)
    _, labels = cv2.connectedComponents(within.astype(np.uint8), connectivity=8)
    return np.asarray(labels == labels[at])


def _measured(
    own: NDArray[np.bool_],
    corner: tuple[int, int],
    pixels: NDArray[np.floating],
    pixel_threshold: float,
    scale: tuple[float, float],
    mm_per_px: float | None = None,
    zones: Zones = NO_ZONES,
) -> Spot:
    """Measure one spot of a map, `own` in the rectangle at `corner` (x, y); `scale` is px of the picture, (x, y)."""
    (x, y), (rows, columns) = corner, own.shape
    distances = pixels[y : y + rows, x : x + columns]
    down, across = np.nonzero(own)
    height, width = pixels.shape
    centre = float(across.mean()) + x + 0.5, float(down.mean()) + y + 0.5
    if columns > _WHOLE * width and rows > _WHOLE * height:
        row, column = _strongest_pixel(pixels)
        place = f"whole picture, strongest: {_place((column + 0.5) / width, (row + 0.5) / height)}"
    else:
        place = _place((x + columns / 2) / width, (y + rows / 2) / height)
    length_px, width_px = _sides(own, scale)
    area_px = len(across) * scale[0] * scale[1]
    left, top = round(x * scale[0]), round(y * scale[1])
    right, bottom = round((x + columns) * scale[0]), round((y + rows) * scale[1])
    return Spot(
        x_px=centre[0] * scale[0],
        y_px=centre[1] * scale[1],
        area_px=area_px,
        length_px=length_px,
        width_px=width_px,
        box_px=(left, top, right - left, bottom - top),
        peak=float(distances[own].max()) / max(pixel_threshold, float(np.finfo(np.float32).tiny)),
        place=place,
        zone=zones.at(centre[0] / width, centre[1] / height),
        area_mm2=None if mm_per_px is None else area_px * mm_per_px**2,
        length_mm=None if mm_per_px is None else length_px * mm_per_px,
        width_mm=None if mm_per_px is None else width_px * mm_per_px,
    )


def _sides(own: NDArray[np.bool_], scale: tuple[float, float]) -> tuple[float, float]:
    """Return longer and shorter side of the smallest rectangle, turned as fits, around the corners of all pixels."""
    contours, _ = cv2.findContours(own.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    middles = np.concatenate(contours).reshape(-1, 1, 2).astype(np.float32)
    corners = middles + np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    hull = cv2.convexHull(corners.reshape(-1, 2) * np.array(scale, np.float32))
    _, sides, _ = cv2.minAreaRect(hull)
    return float(max(sides)), float(min(sides))


def _place(across: float, down: float) -> str:
    """Return the words for a point, by its shares of the picture's width and height, in (0, 1)."""
    return _PLACES[int(3 * down)][int(3 * across)]
