"""The misses to expect at a false-reject rate, whichever good images happen to calibrate.

One calibration is one draw of a lottery: with 100 good images, those that set the threshold for 1 % are the two that
score highest. So the draw is repeated, and the mean and the spread of the misses are reported.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.model.patchcore.calibrate import conformal_threshold


class ExpectedMisses(msgspec.Struct, frozen=True):
    """What a false-reject rate costs in misses, over random draws of the calibration; all values are shares.

    Attributes:
        rate: wanted false-reject rate.
        misses: mean share of the defective images that are missed.
        misses_p10, misses_p90: its 10 % and 90 % quantiles over the draws.
        false_rejects: mean share of the good images outside the draw that are rejected. More than `rate` where a draw
            is too small to guarantee it, see `patchcore.calibrate.images_needed`.
    """

    rate: float
    misses: float
    misses_p10: float
    misses_p90: float
    false_rejects: float


def expected_misses(
    good_scores: NDArray[np.floating],
    defect_scores: NDArray[np.floating],
    rates: Sequence[float],
    *,
    calibration_count: int,
    draws: int = 200,
    seed: int = 0,
) -> list[ExpectedMisses]:
    """Return for each rate the misses to expect, with their spread over random draws of the calibration.

    Each draw takes `calibration_count` of the good scores at random, without repetition. Their conformal threshold
    gives the misses among the defective scores and the false rejects among the good scores that were not drawn. All
    rates see the same draws. The two ends of the spread are those of the draw alone: the good and the defective images
    are themselves a sample.

    Args:
        good_scores: (n,) image scores of good images, each from a bank that does not remember the image.
        defect_scores: (m,) image scores of defective images, m ≥ 1.
        rates: wanted false-reject rates, each in (0, 1).
        calibration_count: size of a draw, from 1 to n − 1.
        draws: number of draws, at least 1.
        seed: the same seed, scores and counts give the same result.

    Raises:
        ValueError: an argument outside these limits, or a score that is NaN.
    """
    good = np.asarray(good_scores, dtype=np.float64)
    defective = np.sort(np.asarray(defect_scores, dtype=np.float64))
    if not 1 <= calibration_count < len(good):
        raise ValueError(f"calibration_count is {calibration_count}; {len(good)} good scores allow 1 to n - 1")
    if not len(defective):
        raise ValueError("no defective score, so nothing can be missed")
    if draws < 1 or not all(0 < rate < 1 for rate in rates):
        raise ValueError(f"draws must be at least 1 and rates in (0, 1), got {draws} and {list(rates)}")
    if np.isnan(good).any() or np.isnan(defective).any():
        raise ValueError("a score is NaN")
    random = np.random.default_rng(seed)
    misses, false_rejects = np.empty((2, draws, len(rates)))
    for draw in range(draws):
        mixed = random.permutation(good)
        drawn, others = mixed[:calibration_count], np.sort(mixed[calibration_count:])
        thresholds = [conformal_threshold(drawn, rate) for rate in rates]
        # A score equal to the threshold passes, as in `core.verdict.verdict_of`.
        misses[draw] = np.searchsorted(defective, thresholds, side="right") / len(defective)
        false_rejects[draw] = 1 - np.searchsorted(others, thresholds, side="right") / len(others)
    low, high = np.quantile(misses, (0.1, 0.9), axis=0)
    return [
        ExpectedMisses(
            rate=rate,
            misses=float(misses[:, column].mean()),
            misses_p10=float(low[column]),
            misses_p90=float(high[column]),
            false_rejects=float(false_rejects[:, column].mean()),
        )
        for column, rate in enumerate(rates)
    ]
