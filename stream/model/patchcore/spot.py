"""The strongest spot of an anomaly map: where a part resembles the good ones least, in pixels and in words."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.model.patchcore.score import anomaly_map, sigma_px

#: Share of the map's peak that the spot exceeds, unless the pixel threshold is lower.
SHARE_OF_PEAK = 0.9
#: Longer side of the map by which a spot is located, in px: several pixels for each patch.
_LOCATED_AT_PX = 224
#: Share of both sides from which on a spot has no place of its own.
_WHOLE = 2 / 3
_PLACES = (
    ("upper left", "top", "upper right"),
    ("left", "centre", "right"),
    ("lower left", "bottom", "lower right"),
)


class Spot(NamedTuple):
    """A spot of a picture.

    Attributes:
        x_px, y_px: upper left corner of the smallest rectangle around it.
        width_px, height_px: size of that rectangle.
        peak: the map's largest value, a distance.
        place: in words: `upper left`, `top`, …, `centre`, …, `lower right`; of a spot over most of the picture
            `whole picture, strongest: upper left` and so on.
    """

    x_px: int
    y_px: int
    width_px: int
    height_px: int
    peak: float
    place: str

    def describe(self) -> str:
        """Return place, size and corner in one line of ASCII."""
        return f"{self.place}, {self.width_px} x {self.height_px} px at {self.x_px}, {self.y_px}"


def strongest_region(map_px: NDArray[np.floating], pixel_threshold: float) -> NDArray[np.bool_]:
    """Return the connected region around the map's maximum, (H, W) bool; empty if nothing exceeds 0.

    It is the part of the mask around the maximum. Where the map hardly exceeds the pixel threshold or does not reach
    it, the region is that above `SHARE_OF_PEAK` of the maximum: the image score may make a part a DEFECT by itself.

    Args:
        map_px: (H, W) anomaly map, finite.
        pixel_threshold: distance above which a pixel is anomalous.
    """
    at = np.unravel_index(int(map_px.argmax()), map_px.shape)
    peak = float(map_px[at])
    if not peak > 0:
        return np.zeros(map_px.shape, np.bool_)
    within = map_px > min(pixel_threshold, SHARE_OF_PEAK * peak)
    _, labels = cv2.connectedComponents(within.astype(np.uint8), connectivity=8)
    return np.asarray(labels == labels[at])


def strongest_spot(map_px: NDArray[np.floating], pixel_threshold: float) -> Spot | None:
    """Return the spot of `strongest_region`; None if nothing exceeds 0."""
    region = strongest_region(map_px, pixel_threshold)
    if not region.any():
        return None
    x_px, y_px, width_px, height_px = cv2.boundingRect(region.astype(np.uint8))
    rows, columns = map_px.shape
    if width_px > _WHOLE * columns and height_px > _WHOLE * rows:
        row, column = divmod(int(map_px.argmax()), columns)
        place = f"whole picture, strongest: {_place((column + 0.5) / columns, (row + 0.5) / rows)}"
    else:
        place = _place((x_px + width_px / 2) / columns, (y_px + height_px / 2) / rows)
    return Spot(x_px, y_px, width_px, height_px, float(map_px.max()), place)


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
    spot = strongest_spot(map_in_picture(patch_distances, small_px), pixel_threshold)
    if spot is None:
        return None
    across, down = size_px[1] / small_px[1], size_px[0] / small_px[0]
    left, right = round(spot.x_px * across), round((spot.x_px + spot.width_px) * across)
    top, bottom = round(spot.y_px * down), round((spot.y_px + spot.height_px) * down)
    return spot._replace(x_px=left, y_px=top, width_px=right - left, height_px=bottom - top)


def map_in_picture(patch_distances: NDArray[np.floating], size_px: tuple[int, int]) -> NDArray[np.float32]:
    """Return the anomaly map of stored patch distances (h, w) over a picture of (height, width), finite."""
    # A distance beyond float16 was stored as inf, and smoothing would spread it as NaN.
    distances = patch_distances.astype(np.float32)
    finite = np.nan_to_num(distances, nan=0.0, posinf=float(np.finfo(np.float16).max))
    return anomaly_map(finite, size_px, sigma_px(size_px, finite.shape))


def _place(across: float, down: float) -> str:
    """Return the words for a point, by its shares of the picture's width and height, in (0, 1)."""
    return _PLACES[int(3 * down)][int(3 * across)]
