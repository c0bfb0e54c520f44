"""A head learned from marked parts: it tells from pooled patch features how much a part resembles known defects.

PatchCore knows only good parts. Once users have marked defects, a logistic regression on the pooled features of
a picture adds what they have in common. Half of its evidence is added to the image score, so that a defect of a
kind that nobody marked is still found by its distance alone. Pure: training is in `training/head.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Marked defects that it takes to learn a head; with fewer it does harm.
MIN_DEFECTS = 10
#: Weight of the head's evidence against the image score's; with 1 defects of a kind never marked are missed more often.
WEIGHT = 0.5
#: Standard deviations to which a standardised pooled feature is limited: one odd picture must not outweigh the score.
LIMIT = 3.0
#: Least spread of a pooled feature, and least norm of a level: a constant one says nothing.
_LEAST = 1e-9


class DefectHead(NamedTuple):
    """The logistic regression, and what brings it and the image score to one scale.

    Attributes:
        weights: (2 D,) float64, of the standardised pooled features.
        bias: of the logit.
        mean, spread: (2 D,) float64 mean and standard deviation of good pictures' pooled features.
        logit_mean, logit_spread: of good pictures that the regression was not trained on.
        score_mean, score_spread: image score of good pictures.
        level_dims: channels of each level of the patch features; D is their sum.
    """

    weights: NDArray[np.float64]
    bias: float
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    logit_mean: float
    logit_spread: float
    score_mean: float
    score_spread: float
    level_dims: tuple[int, ...]

    def logit(self, pooled: NDArray[np.float64]) -> float:
        """Return the evidence for a known defect from (2 D,) pooled features; unbounded, above 0 rather a defect."""
        return float(self.weights @ standardised(pooled, self.mean, self.spread) + self.bias)

    def fused(self, score: float, pooled: NDArray[np.float64]) -> float:
        """Return the image score with the head's evidence, in standard deviations of good pictures' scores."""
        return (score - self.score_mean) / self.score_spread + self._evidence(pooled)

    def unfused(self, fused: float, pooled: NDArray[np.float64]) -> float:
        """Return the image score from which `fused` gave this value."""
        return (fused - self._evidence(pooled)) * self.score_spread + self.score_mean

    def tolerance(self, score_tolerance: float, relative: float) -> float:
        """Return how far a fused score moves when the image score moves by a tolerance and features by an error."""
        # Errors of many features, each independent of the others.
        moved = (
            relative
            * np.abs(self.weights)
            * np.minimum(np.abs(self.mean) / (self.spread + _LEAST), 2 * LIMIT / relative)
        )
        return score_tolerance / self.score_spread + WEIGHT * float(np.linalg.norm(moved)) / self.logit_spread

    def _evidence(self, pooled: NDArray[np.float64]) -> float:
        return WEIGHT * (self.logit(pooled) - self.logit_mean) / self.logit_spread


def pooled(
    features: NDArray[np.floating], level_dims: tuple[int, ...], judged: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Pool the patch features of one picture.

    Args:
        features: (h, w, D) patch features.
        level_dims: channels of each level, in the order of `features`; their sum is D.
        judged: (h, w) bool, the patches that count; None: all.

    Returns:
        (2 D,) mean over the positions of each level, then standard deviation, each level's piece of unit length, so
        that the contrast of the exposure does not matter.

    Raises:
        ValueError: the levels are not those of the features.
    """
    flat = features.reshape(-1, features.shape[-1]) if judged is None else features[judged]
    return unit_pieces(flat.mean(axis=0, dtype=np.float64), flat.std(axis=0, dtype=np.float64), level_dims)


def unit_pieces(
    mean: NDArray[np.floating], spread: NDArray[np.floating], level_dims: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return (2 D,) pooled features from (D,) mean and standard deviation over the positions, as `pooled` does."""
    if sum(level_dims) != len(mean):
        raise ValueError(f"levels of {level_dims} channels, but features of {len(mean)}")
    edges = np.cumsum(level_dims)[:-1]
    pieces = [piece for values in (mean, spread) for piece in np.split(np.asarray(values, np.float64), edges)]
    return np.concatenate([piece / max(float(np.linalg.norm(piece)), _LEAST) for piece in pieces])


def standardised(
    pooled: NDArray[np.float64], mean: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (…, 2 D) pooled features in standard deviations of good pictures, limited to ± `LIMIT`."""
    return np.clip((pooled - mean) / (spread + _LEAST), -LIMIT, LIMIT)
