"""PatchCore's formulas once more, plainly and in float64, to hold the fast ones against.

Written from the paper (Roth et al., CVPR 2022), not from `stream.model.patchcore`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

Float = NDArray[np.float64]


def locally_aware(level: NDArray[np.floating], neighbourhood: int, stride: int) -> Float:
    """Equations 1 and 2: the mean over N_p(h, w) of every s-th position, (C, H, W) → (C, h, w); zeros outside."""
    channels, height, width = level.shape
    reach = neighbourhood // 2
    rows, columns = range(0, height, stride), range(0, width, stride)
    answer = np.empty((channels, len(rows), len(columns)))
    for i, h in enumerate(rows):
        for j, w in enumerate(columns):
            inside = [
                (a, b)
                for a in range(h - reach, h + reach + 1)
                for b in range(w - reach, w + reach + 1)
                if 0 <= a < height and 0 <= b < width
            ]
            answer[:, i, j] = sum(level[:, a, b].astype(np.float64) for a, b in inside) / neighbourhood**2
    return answer


def bilinear(level: NDArray[np.floating], height: int, width: int) -> Float:
    """Resize (C, H, W) to (C, height, width); pixels are areas, so their centres lie at halves."""

    def along(values: Float, axis: int, target: int) -> Float:
        source = values.shape[axis]
        place = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
        before = np.floor(place).astype(int)
        after = np.minimum(before + 1, source - 1)
        shape = [1] * values.ndim
        shape[axis] = target
        share = (place - before).reshape(shape)
        return np.take(values, before, axis) * (1 - share) + np.take(values, after, axis) * share

    return along(along(np.asarray(level, dtype=np.float64), 1, height), 2, width)


def patch_features(levels: list[NDArray[np.floating]], neighbourhood: int, stride: int) -> Float:
    """Levels (C, H, W) of one picture, fine to coarse → (h, w, D)."""
    pooled = [locally_aware(level, neighbourhood, stride) for level in levels]
    _, height, width = pooled[0].shape
    return np.concatenate([bilinear(level, height, width) for level in pooled]).transpose(1, 2, 0)


def nearest(queries: NDArray[np.floating], bank: NDArray[np.floating]) -> tuple[Float, NDArray[np.int64]]:
    """Distance to and index of the nearest bank feature, for each of (P, D) queries."""
    wide = bank.astype(np.float64)
    distances = np.array([np.sqrt(((wide - query) ** 2).sum(axis=1)) for query in queries.astype(np.float64)])
    return distances.min(axis=1), distances.argmin(axis=1)


def neighbours(bank: NDArray[np.floating], index: int, count: int) -> NDArray[np.int64]:
    """N_b(m*): the `count` bank features nearest to bank feature `index`, nearest first."""
    wide = bank.astype(np.float64)
    return np.argsort(((wide - wide[index]) ** 2).sum(axis=1), kind="stable")[:count]


class Score(NamedTuple):
    """The terms of equations 6 and 7."""

    score: float
    star: float
    weight: float
    patch: int
    remembered: int


def image_score(queries: NDArray[np.floating], bank: NDArray[np.floating], b: int) -> Score:
    """Equations 6 and 7 for patches (P, D) of one picture; exp as it stands, so distances stay below 700."""
    distances, indices = nearest(queries, bank)
    patch = int(distances.argmax())
    remembered, star = int(indices[patch]), float(distances[patch])
    if b == 1:
        return Score(star, star, 1.0, patch, remembered)
    query, wide = queries[patch].astype(np.float64), bank.astype(np.float64)
    total = sum(np.exp(np.linalg.norm(query - wide[m])) for m in neighbours(bank, remembered, b))
    weight = float(1 - np.exp(star) / total)
    return Score(weight * star, star, weight, patch, remembered)


def anomaly_map(distances: NDArray[np.floating], height: int, width: int, sigma: float) -> Float:
    """Patch distances (h, w) up-sampled and smoothed, the kernel cut off at 4 σ."""
    fine = bilinear(np.asarray(distances)[np.newaxis], height, width)[0]
    return np.asarray(scipy.ndimage.gaussian_filter(fine, sigma, mode="mirror", radius=int(4 * sigma + 0.5)))


def greedy_k_center(features: NDArray[np.floating], count: int, start: int) -> list[int]:
    """Algorithm 1: always the feature farthest from those picked; the first of equals; none twice."""
    wide = features.astype(np.float64)
    picked = [start]
    squared = ((wide - wide[start]) ** 2).sum(axis=1)
    while len(picked) < count and squared.max() > 0:
        farthest = int(squared.argmax())
        picked.append(farthest)
        squared = np.minimum(squared, ((wide - wide[farthest]) ** 2).sum(axis=1))
    return picked


def covering_radius(features: NDArray[np.floating], centers: NDArray[np.floating]) -> float:
    """The objective of equation 5."""
    return float(nearest(features, centers)[0].max())
