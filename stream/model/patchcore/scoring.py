"""Image scores from patch distances: the paper's, or judged by what good parts show at the same place.

The plain score asks how far the strangest patch is from all that the bank remembers. Where parts lie at the same
place in every picture, good parts themselves are stranger at some places than at others: edges, prints, holes.
The position-aware score therefore measures each distance in standard deviations of good parts at that place, as
PaDiM (Defard et al., arXiv 2011.08785) does with features, but here with PatchCore's distances. The anomaly map and
its pixel threshold stay on plain distances either way.

Where a part has masks, each patch has a weight: 0 if it is not judged, else by the factor of the zone that it is in.
What is compared with a threshold is multiplied by it: distances, or their deviations by place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.model.patchcore.head import LIMIT, DefectHead, pooled
from stream.model.patchcore.score import image_score

if TYPE_CHECKING:  # a bundle is read where nothing is searched
    from stream.model.patchcore.search import MemoryBank, Nearest

#: b of the paper's image score; the paper gives no value, implementations use 9.
REWEIGHT_NEIGHBOURS = 9

#: The position-aware score: smoothing of the statistics, in patches; the least spread, as a share of the mean one;
#: the share of a picture's patches that is averaged beside the maximum, and the weight of that average.
_SMOOTHING_PATCHES, _LEAST_SPREAD = 1.0, 0.25
_TOP_SHARE, _TOP_WEIGHT = 0.04, 2.0


class PositionStatistics(NamedTuple):
    """Distances of good parts at each place of the patch grid: (h, w) float32 `mean` and `spread`, which is above 0."""

    mean: NDArray[np.float32]
    spread: NDArray[np.float32]


@dataclass(frozen=True)
class Scoring:
    """How a bundle turns patch distances into the image score.

    Attributes:
        reweight_neighbours: b of the plain score; 1 switches the re-weighting off.
        position: statistics of good parts; None: the plain score.
        head: what marked defects have in common, added to either score; None: nothing.
        weights: (h, w) float32 of the patches, ≥ 0 and somewhere above; None: all are judged alike.
    """

    reweight_neighbours: int = REWEIGHT_NEIGHBOURS
    position: PositionStatistics | None = None
    head: DefectHead | None = None
    weights: NDArray[np.float32] | None = None

    @property
    def judged(self) -> NDArray[np.bool_] | None:
        """Which patches are judged, (h, w); None: all."""
        return None if self.weights is None else self.weights > 0

    def weighted(self, distances: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return patch distances (h, w) float32 as they count: those of the anomaly map."""
        return distances if self.weights is None else distances * self.weights

    def fused(self, score: float, features: NDArray[np.floating]) -> float:
        """Return the image score with the head's evidence from patch features (h, w, D); without a head as it is."""
        return (
            score if self.head is None else self.head.fused(score, pooled(features, self.head.level_dims, self.judged))
        )

    def tolerance(self, score: float, relative: float) -> float:
        """Return how far the score moves at most when all patch features move by a `relative` error."""
        if self.head is not None:
            # Of the score before the head only the size is known.
            before = abs(self.head.score_mean) + (abs(score) + LIMIT) * self.head.score_spread
            return self.head.tolerance(replace(self, head=None).tolerance(before, relative), relative)
        moved = relative * abs(score)
        if self.position is not None:
            mean, spread = self.position
            largest = (mean / spread) if self.weights is None else (mean / spread * self.weights)
            moved += relative * (1 + _TOP_WEIGHT) * float(largest.max())
        return moved


def position_statistics(
    good_distances: NDArray[np.float32], judged: NDArray[np.bool_] | None = None
) -> PositionStatistics:
    """Return the statistics of (n, h, w) float32 patch distances of n ≥ 2 good pictures.

    Each picture must have been measured without its own patches in the bank, and none may calibrate. Of patches that
    are not `judged`, (h, w) bool, nothing is learned; None: all are.
    """
    mean, spread = (
        _smoothed(plane.astype(np.float32), judged)
        for plane in (good_distances.mean(axis=0), good_distances.std(axis=0))
    )
    inside = slice(None) if judged is None else judged
    least = _LEAST_SPREAD * float(spread[inside].mean())
    # Equal pictures have no spread at all: any difference is then strange.
    spread += max(least, 1e-3 * float(mean[inside].mean()), float(np.finfo(np.float32).tiny))
    return PositionStatistics(mean, spread)


def _smoothed(plane: NDArray[np.float32], judged: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    if judged is None:
        smooth = cv2.GaussianBlur(plane, (0, 0), _SMOOTHING_PATCHES, borderType=cv2.BORDER_REFLECT_101)
        return np.asarray(smooth, np.float32)
    # An average over the judged patches alone; 0 where there are none.
    among, share = (_smoothed(values.astype(np.float32), None) for values in (np.where(judged, plane, 0), judged))
    return np.where(judged, among / np.maximum(share, np.finfo(np.float32).tiny), 0).astype(np.float32)


def position_score(
    statistics: PositionStatistics,
    bank: MemoryBank,
    queries: NDArray[np.float32],
    nearest: Nearest,
    weights: NDArray[np.float32] | None = None,
) -> float:
    """Return max z + 2 · (mean of the top 4 % of z), z = weight · (distance − mean) / spread, of one picture.

    The patches that count are measured again in float64, and the one with the largest z searched again, so that the
    score does not depend on the method of the search.

    Args:
        statistics: of the patch grid.
        bank: in which the patches were searched.
        queries: (P, D) float32 patch features, row by row of the grid.
        nearest: what the search found for them.
        weights: (h, w) of the patches; None: 1.
    """
    mean, spread = statistics.mean.reshape(-1), statistics.spread.reshape(-1)
    z = (nearest.distance - mean) / spread
    if weights is None:
        patches = _top(z)
    else:
        judged = np.flatnonzero(weights)
        z *= weights.reshape(-1)
        patches = judged[_top(z[judged])]
    difference = queries[patches].astype(np.float64) - bank.features[nearest.row[patches]]
    distances = np.sqrt(np.einsum("pd,pd->p", difference, difference))
    distances[0] = bank.exact_nearest(queries[patches[0]].astype(np.float64), 1)[1][0]
    exact = (distances - mean[patches]) / spread[patches]
    return _combined(exact if weights is None else exact * weights.reshape(-1)[patches])


def position_score_of(statistics: PositionStatistics, distances: NDArray[np.floating]) -> float:
    """Return the same score of patch distances (h, w) alone, exact to their own rounding."""
    z = ((distances - statistics.mean) / statistics.spread).reshape(-1).astype(np.float64)
    return _combined(z[_top(z)])


def plain_score(bank: MemoryBank, query: NDArray[np.float64], *, reweight_neighbours: int) -> float:
    """Return the paper's re-weighted image score (equation 7) of its farthest patch, (D,)."""
    remembered, star = bank.exact_nearest(query, 1)
    around = bank.neighbours(int(remembered[0]), reweight_neighbours)
    return image_score(float(star[0]), np.linalg.norm(bank.features[around] - query, axis=1))


def _top(z: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the patches that count, the largest z first."""
    count = max(1, round(_TOP_SHARE * len(z)))
    top = np.argpartition(z, -count)[-count:]
    return top[np.argsort(-z[top], kind="stable")]


def _combined(top_z: NDArray[np.float64]) -> float:
    return float(top_z.max() + _TOP_WEIGHT * top_z.mean())
