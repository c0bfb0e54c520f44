"""Image score, anomaly map and anomalous area from patch distances (paper section 3.3)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

#: Standard deviation of the map's smoothing: as a share of the shorter side, and in patches; the smaller one counts.
#: Of the usual 28 patches of 224 px both are 4 px; a finer grid, such as that of many tiles, keeps its finer places.
SIGMA_OF_SHORT_SIDE, SIGMA_PATCHES = 4 / 224, 0.5


def image_score(distance: float, neighbour_distances: NDArray[np.floating]) -> float:
    """Return the paper's image score s = (1 − exp s* / Σ exp d) · s*, equation 7.

    Args:
        distance: s*, Euclidean, from the farthest test patch to its nearest bank feature m*.
        neighbour_distances: (b,) distances of that test patch to the b bank features nearest to
            m*, with m* itself (hence s*) among them. b = 1 switches the re-weighting off: s* is returned.
    """
    if len(neighbour_distances) <= 1:
        return float(distance)
    d = np.asarray(neighbour_distances, dtype=np.float64)
    # exp overflows at distances that are ordinary here; the quotient does not change with the shift.
    shift = d.max()
    weight = 1.0 - np.exp(distance - shift) / np.exp(d - shift).sum()
    return float(weight * distance)


def sigma_px(size_px: tuple[int, int], grid: tuple[int, ...]) -> float:
    """Return the smoothing of an anomaly map of (height, width) px, made of a grid of (h, w) patches."""
    return min(size_px) * min(SIGMA_OF_SHORT_SIDE, SIGMA_PATCHES / max(1, min(grid)))


def anomaly_map(distances: NDArray[np.floating], size_px: tuple[int, int], sigma_px: float) -> NDArray[np.float32]:
    """Up-sample patch distances to pixels, bilinear, then smooth with a Gaussian.

    Args:
        distances: (h, w) Euclidean patch distances.
        size_px: (height, width) of the map.
        sigma_px: standard deviation of the Gaussian, truncated at 4 σ, borders mirrored.

    Returns:
        (height, width) float32.
    """
    height_px, width_px = size_px
    grid = np.ascontiguousarray(distances, dtype=np.float32)
    fine = cv2.resize(grid, (width_px, height_px), interpolation=cv2.INTER_LINEAR)
    kernel_px = 2 * int(4 * sigma_px + 0.5) + 1
    smooth = cv2.GaussianBlur(fine, (kernel_px, kernel_px), sigma_px, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(smooth, dtype=np.float32)


def anomalous(map_px: NDArray[np.floating], pixel_threshold: float) -> NDArray[np.bool_]:
    """Return where the anomaly map exceeds the pixel threshold, (H, W) bool."""
    return np.asarray(map_px > pixel_threshold)
