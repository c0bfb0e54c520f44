"""What good images give that a bank has not seen: scores, thresholds from these, and a self-test for workers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.model.bundle import CalibrationScores, SelfTest
from stream.model.bundle_info import Thresholds
from stream.model.patchcore.calibrate import CROSS_FACTOR, conformal_threshold, guaranteed_rate, images_needed
from stream.model.patchcore.inspector import Extractor, Inspection, inspect, nearest_patches, score_patches
from stream.model.patchcore.scoring import Scoring
from stream.model.patchcore.search import MemoryBank
from stream.training.dataset import Inputs, batches
from stream.training.out_of_fold import collected
from stream.training.progress import Track, silent

#: Number of held-out images among which the self-test is chosen, and of disturbances of each one's features.
_CANDIDATES, _DISTURBANCES = 8, 3
#: Relative size of a disturbance; above the rounding of half precision.
_DISTURBANCE = 2e-3
Rows = NDArray[np.int64]


def held_out_scores(
    extractor: Extractor,
    search: MemoryBank,
    inputs: Inputs,
    rows: Rows,
    scoring: Scoring,
    *,
    stage: str = "calibrate",
    track: Track = silent,
) -> CalibrationScores:
    """Return the scores (n,) of the network inputs at `rows`, which the bank has not seen."""
    inspections: list[Inspection] = []
    for done, batch in batches(inputs, rows):
        inspections += inspect(extractor, search, batch, scoring)
        track(stage, done, len(rows))
    return collected(inspections, (inputs.shape[2], inputs.shape[1]))


def choose_self_test(
    extractor: Extractor, search: MemoryBank, inputs: Inputs, rows: Rows, scoring: Scoring, *, seed: int
) -> SelfTest:
    """Choose, among the first at `rows`, the upside-down network input whose score depends least on rounding.

    Upside down, since the bank may hold patches of the picture itself, at distance 0.

    A worker with another score then computes something else. The score jumps where two patches are almost equally
    far from the bank and rounding decides which one counts.
    """
    random = np.random.default_rng(seed)
    candidates: list[tuple[float, int, float]] = []
    for row in rows[:_CANDIDATES]:
        (features,) = extractor(np.ascontiguousarray(inputs[np.array([row])][:, ::-1]))
        disturbed = [
            (features * random.normal(1, _DISTURBANCE, features.shape)).astype(np.float32) for _ in range(_DISTURBANCES)
        ]
        score, *others = (
            score_patches(search, patches, nearest_patches(search, patches), scoring).score
            for patches in (features, *disturbed)
        )
        # In units of what a worker may deviate.
        moved = max(abs(other - score) for other in others) / max(scoring.tolerance(score, _DISTURBANCE), 1e-12)
        candidates.append((moved, int(row), score))
    _, row, score = min(candidates)
    return SelfTest(np.ascontiguousarray(inputs[np.array([row])][0][::-1]), score)


def calibrated(calibration: CalibrationScores, false_reject_rate: float, *, cross: bool) -> Thresholds:
    """Return conformal thresholds; `cross`: of scores out of fold, else of pictures that are not in the bank."""
    expected = guaranteed_rate(len(calibration.scores), false_reject_rate)
    return Thresholds(
        image=conformal_threshold(calibration.scores, false_reject_rate),
        pixel=conformal_threshold(calibration.peaks, false_reject_rate),
        false_reject_rate=false_reject_rate,
        expected_rate=expected,
        guaranteed_rate=min(1.0, CROSS_FACTOR * expected) if cross else expected,
    )


def implied_rate(scores: NDArray[np.floating], threshold: float) -> float:
    """Return the least rate whose conformal threshold of these (n,) scores is not above `threshold`: (m + 1) / (n + 1).

    m of the scores exceed it. For a conformal threshold this is its own rate with that number of images.
    """
    return (1 + int(np.count_nonzero(scores > threshold))) / (len(scores) + 1)


def by_hand(image: float, pixel: float, scores: NDArray[np.float64], *, cross: bool) -> Thresholds:
    """Return thresholds whose image threshold a user chose, with the rates that it implies."""
    rate = implied_rate(scores, image)
    return Thresholds(
        image=image,
        pixel=pixel,
        false_reject_rate=rate,
        expected_rate=rate,
        guaranteed_rate=min(1.0, CROSS_FACTOR * rate) if cross else rate,
        by_hand=True,
    )


def promise(thresholds: Thresholds, count: int, *, cross: bool) -> tuple[str, list[str]]:
    """Return in words how many good parts will be rejected, and a warning if `count` images are too few."""
    expected, worst = thresholds.expected_rate, thresholds.guaranteed_rate
    text = f"expect {_share(expected)} good parts to be rejected ({expected:.2%})"
    if cross:
        text += (
            f"; at worst {_share(worst)} ({worst:.2%}), whatever good parts look like, as every image both is "
            "remembered and calibrates"
        )
    else:
        text += ", guaranteed on average, whatever good parts look like"
    wanted = thresholds.false_reject_rate
    needed = images_needed(wanted)
    if count >= needed:
        return text, []
    return text, [
        f"{count} good images can promise {_share(expected)} ({expected:.2%}), not the wanted {wanted:.2%}: "
        f"that takes {needed} to calibrate, {needed - count} more"
        + ("" if cross else "; all images calibrate with `fit --calibration cross`")
    ]


def _share(rate: float) -> str:
    """Return a rate as a line engineer says it: `1 in 100`."""
    return f"1 in {round(1 / rate)}" if rate <= 1 / 3 else f"{100 * rate:.0f} in 100"
