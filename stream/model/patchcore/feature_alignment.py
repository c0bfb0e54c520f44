"""Finds fixtures by their features: SIFT keypoints, matched and fitted by a rigid move. Pure.

For parts whose edges repeat themselves, and those that turn far: keypoints need no search over angles. They cost
several times as much as edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.model.patchcore.fixtures import BEYOND, Move, Patch, Search, middle, patch_of, rotation

#: Most keypoints of a window, the strongest.
_KEYPOINTS = 500
#: A keypoint's nearest match must be so much nearer than the second.
_RATIO = 0.8
#: Fewest keypoints of all fixtures that agree on a move.
LEAST_KEYPOINTS = 8
#: Farthest that a keypoint may be from where the move puts it, pixels of the working scale.
_AGREES_PX = 2.0
#: Largest change of scale of a part that is rigid.
_STRETCH = 0.1


class FeatureFinder:
    """Finds fixtures in frames; any thread may call it."""

    def __init__(self, patches: Sequence[Patch], search: Search) -> None:
        """Prepare for fixtures with their surroundings in the reference."""
        self._search, self._scale = search, patches[0].scale
        self._boxes = [patch.box for patch in patches]
        self._middle = middle(self._boxes)
        found = [_features(patch) for patch in patches]
        inside = [_within(places, box) for (places, _), box in zip(found, self._boxes, strict=True)]
        self._places = [places[kept] - self._middle for (places, _), kept in zip(found, inside, strict=True)]
        self._descriptors = [described[kept] for (_, described), kept in zip(found, inside, strict=True)]

    @property
    def keypoints(self) -> int:
        """How many keypoints the fixtures have."""
        return sum(len(places) for places in self._places)

    def __call__(self, frame: NDArray[np.uint8]) -> tuple[Move, float]:
        """Return the most likely move of the fixtures in a frame, and the share of their keypoints that agree on it."""
        here, there = [], []
        for number, box in enumerate(self._boxes):
            way = np.array([box[0] + box[2] / 2, box[1] + box[3] / 2]) - self._middle
            turned = (float(np.hypot(*way)) + max(box[2:]) / 2) * math.sin(min(self._search.most, math.pi / 2))
            reach_px = self._search.limit_px * (1 + BEYOND) + turned
            places, described = _features(patch_of(frame, box, self._scale, margin=math.ceil(reach_px / self._scale)))
            for mine, its in _matched(self._descriptors[number], described):
                here.append(self._places[number][mine])
                there.append(places[its] - self._middle)
        if len(here) < LEAST_KEYPOINTS:
            return Move(0.0, 0.0, 0.0), 0.0
        return self._fitted(np.array(here), np.array(there))

    def _fitted(self, here: NDArray[np.float64], there: NDArray[np.float64]) -> tuple[Move, float]:
        """Return the rigid move from (N, 2) places to others on which most agree."""
        cv2.setRNGSeed(0)  # the same frame has the same move, here and in a replay
        matrix, agreeing = cv2.estimateAffinePartial2D(
            here, there, method=cv2.RANSAC, ransacReprojThreshold=_AGREES_PX * self._scale
        )
        if matrix is None or abs(math.hypot(matrix[0, 0], matrix[1, 0]) - 1) > _STRETCH:
            return Move(0.0, 0.0, 0.0), 0.0
        kept = agreeing.ravel().astype(bool)
        if kept.sum() < LEAST_KEYPOINTS:
            return Move(0.0, 0.0, 0.0), 0.0
        return _rigid(here[kept], there[kept], rotates=self._search.rotates), float(kept.sum()) / self.keypoints


def _rigid(here: NDArray[np.float64], there: NDArray[np.float64], *, rotates: bool) -> Move:
    """Return the move that brings places (N, 2) nearest to others (Kabsch), seen from the origin."""
    middle_here, middle_there = here.mean(axis=0), there.mean(axis=0)
    a, b = here - middle_here, there - middle_there
    angle = math.atan2(float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()), float((a * b).sum())) if rotates else 0.0
    shift = middle_there - rotation(angle) @ middle_here
    return Move(float(shift[0]), float(shift[1]), angle)


def _features(patch: Patch) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return places (N, 2) x and y in px of the frame, and descriptors (N, 128)."""
    keypoints, described = cv2.SIFT_create(nfeatures=_KEYPOINTS).detectAndCompute(patch.pixels, None)  # type: ignore[attr-defined]
    if described is None:
        return np.empty((0, 2)), np.empty((0, 128), np.float32)
    places = np.array([point.pt for point in keypoints], np.float64)
    return patch.origin + (places + 0.5) * patch.scale - 0.5, np.asarray(described, np.float32)


def _within(places: NDArray[np.float64], box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    corner, size = np.array(box[:2]), np.array(box[2:])
    return np.asarray(((places >= corner) & (places < corner + size)).all(axis=1))


def _matched(mine: NDArray[np.float32], its: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Return pairs of rows, each the nearest and clearly nearer than the second."""
    if len(mine) < 1 or len(its) < 2:
        return []
    pairs: Any = cv2.BFMatcher(cv2.NORM_L2).knnMatch(mine, its, k=2)
    return [(first.queryIdx, first.trainIdx) for first, second in pairs if first.distance < _RATIO * second.distance]
