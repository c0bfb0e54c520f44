"""Thresholds from good images alone: conformal prediction.

With n held-out good scores and the k-th smallest as threshold, k = ⌈(n+1)(1−α)⌉, a good image of
the same process exceeds it with probability at most α, whatever the distribution of the scores
(Vovk et al., Algorithmic Learning in a Random World; Angelopoulos & Bates, arXiv 2107.07511, section 1).

Cross-conformal scores use every image twice: in the bank, and, scored without its fold, to calibrate. The rate to
expect is again α; the bound that holds whatever the distribution is 2α, up to a term that vanishes with the size of
the folds (Barber et al., Predictive inference with the jackknife+, arXiv 1905.02928, theorems 1 and 4).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

#: The bound of cross-conformal calibration, in multiples of the rate to expect.
CROSS_FACTOR = 2


def images_needed(false_reject_rate: float) -> int:
    """Return how many good images calibrate for the rate: the least n with ⌈(n+1)(1−α)⌉ ≤ n."""
    return math.ceil(1 / false_reject_rate - 1e-9) - 1


def conformal_threshold(scores: NDArray[np.floating], false_reject_rate: float) -> float:
    """Return the score above which an image is called defective.

    Args:
        scores: (n,) of held-out good images, never of images in the bank.
        false_reject_rate: wanted α, in (0, 1).

    Returns:
        The conformal quantile; with fewer images than `images_needed` the largest score, whose
        guaranteed rate is 1/(n+1).
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    count = len(ordered)
    rank = math.ceil((count + 1) * (1 - false_reject_rate) - 1e-9)
    return float(ordered[min(max(rank, 1), count) - 1])


def guaranteed_rate(count: int, false_reject_rate: float) -> float:
    """Return the rate that `count` held-out images guarantee: the wanted one, or 1/(n+1) if they are too few."""
    return max(false_reject_rate, 1 / (count + 1))
