"""AUPRO: how well anomaly maps cover every defect, however small, at few false-positive pixels.

The area under the per-region-overlap curve of Bergmann et al., "The MVTec Anomaly Detection
Dataset", IJCV 129 (2021), section 5.3, computed as in MVTec's published evaluation code.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

#: The authors integrate up to this false-positive rate; results for other limits are not comparable.
LIMIT = 0.3


def aupro(
    maps: Sequence[NDArray[np.floating]],
    truths: Sequence[NDArray[np.bool_]],
    limit: float = LIMIT,
    judged: NDArray[np.bool_] | None = None,
) -> float:
    """Return the area under the per-region-overlap curve up to a false-positive rate, over that rate.

    Every connected region of the ground truth weighs the same, whatever its size. Takes about 70
    bytes of memory a pixel.

    Args:
        maps: (H, W) anomaly maps, higher is more anomalous; they may differ in size.
        truths: (H, W) bool ground truth of each map; all False for good images.
        limit: false-positive rate up to which the curve counts, in (0, 1].
        judged: (H, W) bool, the pixels that count, of maps of one size; None: all.

    Returns:
        In [0, 1]; 1 if all defect pixels score above all normal ones, `limit / 2` for a constant map.

    Raises:
        ValueError: no region, no normal pixel, a NaN, or arguments that do not fit together.
    """
    if not 0 < limit <= 1:
        raise ValueError(f"limit {limit} is not in (0, 1]")
    false_positive_rate, overlap = pro_curve(maps, truths, judged)
    inside = false_positive_rate <= limit
    rate = np.append(false_positive_rate[inside], limit)
    height = np.append(overlap[inside], np.interp(limit, false_positive_rate, overlap))
    return float(np.sum(np.diff(rate) * (height[1:] + height[:-1])) / 2 / limit)


def pro_curve(
    maps: Sequence[NDArray[np.floating]],
    truths: Sequence[NDArray[np.bool_]],
    judged: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the curve from (0, 0) to (1, 1), one point for every distinct value of the maps.

    Returns:
        (K,) false-positive rate over all normal pixels, and (K,) mean share of each ground-truth
        region found at that threshold, both rising. Arguments and errors as for `aupro`.
    """
    if len(maps) != len(truths) or any(m.shape != g.shape for m, g in zip(maps, truths, strict=True)):
        raise ValueError("every map needs ground truth of its own shape")
    if judged is not None and any(m.shape != judged.shape for m in maps):
        raise ValueError("the pixels that count have another shape than a map")
    regions = 0
    shares = []
    for truth in truths:
        count, share = _region_shares(truth if judged is None else truth & judged)
        regions += count
        shares.append(share.ravel() if judged is None else share[judged])
    if not regions:
        raise ValueError("no ground truth marks a region")
    values = np.concatenate([m.ravel() if judged is None else m[judged] for m in maps])
    if np.isnan(values).any():
        raise ValueError("a map holds NaN")

    order = np.argsort(values)[::-1]
    values = values[order]
    share = np.concatenate(shares)[order]
    false_positives = np.cumsum(share == 0)
    if not false_positives[-1]:
        raise ValueError("no normal pixel to take the false-positive rate from")
    # Pixels of equal value pass the threshold together: only the last of them is a point of the curve.
    points = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)
    rate = false_positives[points] / false_positives[-1]
    # The sum of many shares rounds to a little more or less than the number of regions.
    overlap = np.minimum(np.cumsum(share)[points] / regions, 1.0)
    return np.concatenate(([0.0], rate)), np.concatenate(([0.0], overlap))


def _region_shares(truth: NDArray[np.bool_]) -> tuple[int, NDArray[np.float64]]:
    """Return the number of regions, and (H, W) the share of its region that each pixel is; 0: normal.

    Pixels that touch at a corner belong together (8-connectivity), as in MVTec's code.
    """
    # OpenCV takes only arrays of bytes.
    count, labels = cv2.connectedComponents(np.ascontiguousarray(truth, dtype=np.uint8), connectivity=8)
    labels = np.asarray(labels)
    sizes = np.bincount(labels.ravel(), minlength=count)
    share = np.zeros(count)
    share[1:] = 1 / sizes[1:]
    return count - 1, share[labels]
