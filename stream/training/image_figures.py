"""Figures of a detector from the image scores of good and defective images: rates, curve, F1, PG and PB.

Throughout, a score above the threshold is a reject and one equal to it passes, as in `core.verdict.verdict_of`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]

#: Share of the other class that may be wrong in PG2 and PB2.
PRESORTED = 0.02


class MissCurve(NamedTuple):
    """Misses against false rejects, (k,) shares: one point for each threshold that gives another pair of them.

    Attributes:
        false_rejects: share of the good images, falling from 1 to 0.
        misses: share of the defective images, rising from 0 to 1.
    """

    false_rejects: Scores
    misses: Scores


def presorted_good(good: Scores, defective: Scores, missed: float = PRESORTED) -> float | None:
    """Return PG: the share of good images that can pass while at most `missed` of the defective ones pass too.

    PG2, with 2 %, and PB2 are the industry's figures of Baitieva et al., "Beyond Academic Benchmarks: Critical Analysis
    and Best Practices for Visual Industrial Anomaly Detection", CVPR Workshops 2025 (arXiv 2503.23451): how much a
    sorter takes off those who inspect by eye. Their code interpolates the threshold between two scores; here whole
    images count, ⌊missed · m⌋ of them, so with fewer than 50 defective images none may pass.

    Args:
        good: (n,) image scores.
        defective: (m,) image scores.
        missed: in [0, 1).

    Returns:
        In [0, 1]; None without images of both classes.
    """
    if not len(good) or not len(defective):
        return None
    first_that_must_not_pass = np.sort(defective)[_allowed(missed, len(defective))]
    return float(np.mean(good < first_that_must_not_pass))


def presorted_bad(good: Scores, defective: Scores, rejected: float = PRESORTED) -> float | None:
    """Return PB: the share of defective images that is caught while at most `rejected` of the good ones are rejected.

    PB2 with 2 %; source, arguments and result as for `presorted_good`.
    """
    if not len(good) or not len(defective):
        return None
    first_that_must_pass = np.sort(good)[::-1][_allowed(rejected, len(good))]
    return float(np.mean(defective > first_that_must_pass))


def _allowed(share: float, count: int) -> int:
    return min(math.floor(share * count + 1e-9), count - 1)


def miss_curve(good: Scores, defective: Scores) -> MissCurve:
    """Return misses and false rejects of every threshold; (n,) and (m,) image scores, at least one of each."""
    thresholds = np.concatenate(([-np.inf], np.unique(np.concatenate((good, defective)))))
    rejected = 1 - np.searchsorted(np.sort(good), thresholds, side="right") / len(good)
    missed = np.searchsorted(np.sort(defective), thresholds, side="right") / len(defective)
    return MissCurve(rejected, missed)


def best_f1(defective: NDArray[np.bool_], scores: Scores) -> float | None:
    """Return the best F1 of all thresholds; (n,) each; None if all images are of one class."""
    from sklearn.metrics import precision_recall_curve

    if not defective.any() or defective.all():
        return None
    precision, recall, _ = precision_recall_curve(defective, scores)
    # Without a true positive both are 0, and so is F1.
    return float((2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)).max())


def f1_at(defective: NDArray[np.bool_], rejected: NDArray[np.bool_]) -> float | None:
    """Return the F1 of verdicts; (n,) each; None if all images are of one class."""
    from sklearn.metrics import f1_score

    if not defective.any() or defective.all():
        return None
    return float(f1_score(defective, rejected, zero_division=0))


def false_reject_interval(calibration_count: int, test_count: int, rate: float) -> tuple[float, float]:
    """Return the 95 % interval of the false-reject rate that new good images would show.

    With the k-th smallest of n calibration scores as threshold, k = ⌈(n+1)(1−α)⌉ but at most n, the
    number of false rejects among m exchangeable images is BetaBinomial(m, n+1−k, k), whatever the
    distribution of the scores (Angelopoulos & Bates, arXiv 2107.07511, section 3.3; Vovk, ACML 2012).
    Equal scores can only make false rejects rarer. For out-of-fold scores, which several banks gave, it is approximate.

    Args:
        calibration_count: n ≥ 1.
        test_count: m ≥ 1.
        rate: wanted α, in (0, 1).

    Returns:
        The 2.5 % and 97.5 % quantiles as shares of m.
    """
    from scipy.stats import betabinom

    rank = math.ceil((calibration_count + 1) * (1 - rate) - 1e-9)
    k = min(max(rank, 1), calibration_count)
    low, high = betabinom.ppf([0.025, 0.975], test_count, calibration_count + 1 - k, k) / test_count
    return float(low), float(high)
