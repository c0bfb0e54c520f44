"""What a threshold would do to the line, from the calibration and from the marks on its events."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_POINTS = 200
#: How far the thresholds on offer reach beyond the known scores, as a share of the outermost one.
_MARGIN = 0.15

Scores = NDArray[np.float64]


class KnownScores(NamedTuple):
    """The known scores of a station, (n,) each, by the bundle whose threshold is to be moved.

    Attributes:
        calibration: of held-out good images.
        false_alarms: of parts marked so.
        true_defects: of parts marked so.
        parts_per_day: at the present rate; None while no parts come.
        defects_per_day: parts called DEFECT, at the present rate.
    """

    calibration: Scores
    false_alarms: Scores
    true_defects: Scores
    parts_per_day: float | None
    defects_per_day: float | None


class Curve(NamedTuple):
    """The expected effect of each of (p,) thresholds, ascending.

    Attributes:
        threshold: on offer.
        false_reject_share: upper bound of the expected share of good parts that would be rejected.
        false_rejects_per_day: the same in parts; None without a rate.
        misses_per_day: defective parts more than now that would pass; None without a rate or a marked defect that is
            rejected now.
        false_alarms_passing: marked false alarms that would be GOOD.
        true_defects_passing: marked defects that would be GOOD.
    """

    threshold: Scores
    false_reject_share: Scores
    false_rejects_per_day: Scores | None
    misses_per_day: Scores | None
    false_alarms_passing: NDArray[np.int64]
    true_defects_passing: NDArray[np.int64]


def thresholds_around(known: KnownScores, present: float) -> Scores:
    """Return the thresholds on offer, ascending, the present one among them."""
    scores = np.concatenate([known.calibration, known.false_alarms, known.true_defects, [present]])
    # Above the false alarms and the highest good score nothing is gained; marked defects usually score higher. A
    # present threshold far above all of them would leave no point between them.
    highest = np.concatenate([known.calibration, known.false_alarms, np.sort(known.true_defects)[:1]])
    least, most = scores.min(), highest.max()
    spread = np.linspace(least - _MARGIN * abs(least), most + _MARGIN * abs(most), _POINTS - 1)
    # Scores that are distances have no negative threshold.
    return np.unique(np.append(spread if least < 0 else spread[spread > 0], present))


def curve(thresholds: Scores, known: KnownScores, present: float) -> Curve:
    """Return the expected effect of each threshold.

    If `above` of the n calibration scores exceed a threshold, a good part exceeds it with probability
    (above + 1) / (n + 1) at most, as in split conformal prediction (see `patchcore.calibrate`).
    Misses are counted among the parts that are called DEFECT at the `present` threshold, which must have been marked
    as they come: what passes already is unknown, and a marked part that passes says nothing about those that do not.
    """
    count = len(known.calibration)
    share = (_above(known.calibration, thresholds) + 1) / (count + 1)
    passing = len(known.true_defects) - _above(known.true_defects, thresholds)
    defects = known.true_defects[known.true_defects > present]
    called = len(defects) + np.count_nonzero(known.false_alarms > present)
    misses = None
    if known.defects_per_day is not None and len(defects):
        misses = known.defects_per_day * (len(defects) - _above(defects, thresholds)) / called
    return Curve(
        threshold=thresholds,
        false_reject_share=share,
        false_rejects_per_day=None if known.parts_per_day is None else known.parts_per_day * share,
        misses_per_day=misses,
        false_alarms_passing=len(known.false_alarms) - _above(known.false_alarms, thresholds),
        true_defects_passing=passing,
    )


def _above(scores: Scores, thresholds: Scores) -> NDArray[np.int64]:
    """Return how many scores exceed each threshold."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="right")
