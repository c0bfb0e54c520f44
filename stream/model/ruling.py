"""From a part's score and patch distances to its ruling: by the score, and by a station's rules where there are any."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.core.spots import Ruling
from stream.core.verdict import Verdict, verdict_of
from stream.model.bundle_info import BundleInfo
from stream.model.patchcore.rules import Rules, decide
from stream.model.patchcore.spots import spots_of


def ruling_on(
    score: float, distances: NDArray[np.floating], info: BundleInfo, rules: Rules, region_px: tuple[int, int]
) -> Ruling:
    """Return the ruling on a part by its score and patch distances (h, w), as `StationModel.judge`."""
    thresholds = info.thresholds
    assert thresholds is not None, "judged by calibrated bundles only"
    if decided_by_score(score, info, rules):
        return Ruling(verdict_of(score, thresholds.image))
    spots = spots_of(
        distances,
        thresholds.pixel,
        info.spec.input_px,
        region_px,
        with_strongest=verdict_of(score, thresholds.image) is not Verdict.GOOD,
        mm_per_px=rules.mm_per_px,
        zones=info.zones,
    )
    return decide(score, thresholds.image, spots, rules.rules)


def decided_by_score(score: float, info: BundleInfo, rules: Rules) -> bool:
    """Whether no rule may change the verdict of a part with this score."""
    assert info.thresholds is not None, "judged by calibrated bundles only"
    good = verdict_of(score, info.thresholds.image) is Verdict.GOOD
    return not rules.rules or (good and not rules.counting)
