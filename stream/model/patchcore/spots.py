"""The connected spots of an anomaly map: area, length, width, place and peak, in pixels, millimetres and words.

A spot is where the map exceeds the pixel threshold; that decides how many there are and where. Its size is another
matter: the map is blurred, by the patches' neighbourhoods, their fields of view and the smoothing, so that it exceeds
the threshold far around a strong defect, and only in the middle of a weak one. Its size is therefore measured where it
exceeds a share of its height above good patches, whatever the threshold, as the width of a peak is, and the blur's own
width is taken off. benchmarks/spots.py compares the outcome with drawn defects.
"""

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
#: Share of a spot's height above the good level, at the strongest point within so many patches, from which on a place
#: counts for its size.
_SHARE_OF_HEIGHT, _REACH_PATCHES = 0.6, 2
#: The most that the good level may be, and the least distance that counts, in multiples of the pixel threshold.
_MOST_GOOD, _LEAST_DISTANCE = 0.8, 0.9
#: Width of the blur, in patches, and the least share of length and width that remains without it.
_BLUR_PATCHES, _LEAST_LEFT = 3.0, 0.25
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
    blur = _Blur.of(distances, map_px, pixel_threshold)
    spots = []
    for label, (x, y, width, height, _) in enumerate(figures.tolist()[1:], start=1):
        box = x, y, width, height
        spots.append(_measured(np.asarray(labels), label, box, pixels, pixel_threshold, scale, blur, mm_per_px, zones))
    return sorted(spots, key=lambda spot: (-spot.area_px, spot.y_px, spot.x_px))


def strongest_region(map_px: NDArray[np.floating], pixel_threshold: float) -> NDArray[np.bool_]:
    """Return the connected region around the map's maximum, (H, W) bool; empty if nothing exceeds 0.

    It is the part of the anomalous area around the maximum. Where the map hardly exceeds the pixel threshold or does
    not reach it, the region is that above `SHARE_OF_PEAK` of the maximum: the image score may make a part a DEFECT by
    itself.

    Args:
        map_px: (H, W) anomaly map, finite.
        pixel_threshold: distance above which a pixel is anomalous.
    """
    return _region_around(_strongest_pixel(map_px), map_px, pixel_threshold)


def strongest_spot(
    map_px: NDArray[np.floating], distances: NDArray[np.float32], pixel_threshold: float, size_px: tuple[int, int]
) -> Spot | None:
    """Return the spot of `strongest_region` in px of a picture of (height, width); None if nothing exceeds 0.

    `distances` are the patches (h, w) of which the map was made.
    """
    region = strongest_region(map_px, pixel_threshold).astype(np.uint8)
    if not region.any():
        return None
    scale = size_px[1] / map_px.shape[1], size_px[0] / map_px.shape[0]
    x, y, width, height = cv2.boundingRect(region)
    blur = _Blur.of(distances, (map_px.shape[1], map_px.shape[0]), pixel_threshold)
    return _measured(region, 1, (x, y, width, height), map_px, pixel_threshold, scale, blur)


def spot_in_picture(
    patch_distances: NDArray[np.floating], pixel_threshold: float, size_px: tuple[int, int]
) -> Spot | None:
    """Return the strongest spot, `strongest_region`, of stored patch distances in pixels of a picture.

    None if nothing exceeds 0.

    Args:
        patch_distances: (h, w), float16 or float32.
        pixel_threshold: distance above which a pixel is anomalous.
        size_px: (height, width) of the picture. The time does not depend on it.
    """
    factor = min(1.0, _LOCATED_AT_PX / max(size_px))
    small_px = (max(1, round(size_px[0] * factor)), max(1, round(size_px[1] * factor)))
    distances = _finite(patch_distances, nan=0.0)
    return strongest_spot(map_in_picture(distances, small_px), distances, pixel_threshold, size_px)


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


class _Blur(NamedTuple):
    """What a map does to a defect.

    Attributes:
        patch_px: (width, height) of a patch, px of the map.
        good: distance of the part's good patches.
        least: distance below which nothing counts for a size.
    """

    patch_px: tuple[float, float]
    good: float
    least: float

    @classmethod
    def of(cls, distances: NDArray[np.float32], map_px: tuple[int, int], pixel_threshold: float) -> _Blur:
        """Return that of a map of (width, height), made of patch distances (h, w), finite."""
        judged = distances[distances > 0]
        # A part that is strange all over has no good patches to tell their level.
        good = min(float(np.median(judged)), _MOST_GOOD * pixel_threshold) if judged.size else 0.0
        return cls(
            (map_px[0] / distances.shape[1], map_px[1] / distances.shape[0]),
            max(0.0, good),
            _LEAST_DISTANCE * pixel_threshold,
        )


def _measured(
    labels: NDArray[np.integer],
    label: int,
    box: tuple[int, int, int, int],
    pixels: NDArray[np.floating],
    pixel_threshold: float,
    scale: tuple[float, float],
    blur: _Blur,
    mm_per_px: float | None = None,
    zones: Zones = NO_ZONES,
) -> Spot:
    """Measure one spot of a map: its `label` among those of all (0: none), within its `box` (x, y, width, height).

    `scale` is px of the picture for one of the map, (x, y).
    """
    x, y, columns, rows = box
    own = labels[y : y + rows, x : x + columns] == label
    distances = pixels[y : y + rows, x : x + columns]
    down, across = np.nonzero(own)
    height, width = pixels.shape
    centre = float(across.mean()) + x + 0.5, float(down.mean()) + y + 0.5
    if columns > _WHOLE * width and rows > _WHOLE * height:
        row, column = _strongest_pixel(pixels)
        place = f"whole picture, strongest: {_place((column + 0.5) / width, (row + 0.5) / height)}"
    else:
        place = _place((x + columns / 2) / width, (y + rows / 2) / height)
    length_px, width_px, area_px = _size(_extent(labels, label, box, pixels, blur), scale, blur.patch_px)
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


def _extent(
    labels: NDArray[np.integer], label: int, box: tuple[int, int, int, int], pixels: NDArray[np.floating], blur: _Blur
) -> NDArray[np.bool_]:
    """Return the pixels by which a spot is measured, in a rectangle that reaches beyond its `box`.

    The height is that of the strongest point nearby, so that a faint tail of a strong spot counts too. What belongs to
    other spots does not, nor what is not connected with this one.
    """
    x, y, columns, rows = box
    reach_x, reach_y = (max(1, round(_REACH_PATCHES * edge)) for edge in blur.patch_px)
    left, top = max(0, x - reach_x), max(0, y - reach_y)
    around = slice(top, y + rows + reach_y), slice(left, x + columns + reach_x)
    own, near = labels[around] == label, pixels[around].astype(np.float32)
    free = own | (labels[around] == 0)
    kernel = np.ones((2 * reach_y + 1, 2 * reach_x + 1), np.uint8)
    peaks = np.asarray(cv2.dilate(np.where(own, near, np.float32(0)), kernel))
    good = np.minimum(peaks, np.float32(blur.good))
    level = good + np.float32(_SHARE_OF_HEIGHT) * (peaks - good)
    # Of a spot that does not reach the threshold its own pixels are the limit.
    within = free & (peaks > 0) & (near >= level) & (own | (near >= blur.least))
    _, parts = cv2.connectedComponents(within.astype(np.uint8), connectivity=8)
    # The strongest point of a spot exceeds its own share: something always remains.
    return np.asarray(np.isin(parts, np.unique(parts[own & within])) & within)


def _size(
    extent: NDArray[np.bool_], scale: tuple[float, float], patch_px: tuple[float, float]
) -> tuple[float, float, float]:
    """Return length, width and area of what is measured, without the blur, whose square adds to those of the sides.

    Of a spot that is longer than wide it is taken off the length in proportion: its ends are fainter than its middle.
    """
    length_px, width_px = _sides(extent, scale)
    blur_px = _BLUR_PATCHES * float(np.sqrt(patch_px[0] * scale[0] * patch_px[1] * scale[1]))
    sharp = [
        float(np.sqrt(max(side_px**2 - (blur_px * share) ** 2, (_LEAST_LEFT * side_px) ** 2)))
        for side_px, share in ((length_px, width_px / length_px), (width_px, 1.0))
    ]
    area_px = np.count_nonzero(extent) * scale[0] * scale[1]
    return sharp[0], sharp[1], float(area_px) * sharp[0] * sharp[1] / (length_px * width_px)


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
