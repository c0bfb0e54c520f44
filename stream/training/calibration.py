"""What held-out good images give: calibration scores, thresholds from these, and a self-test for workers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.model.bundle import SelfTest, Thresholds
from stream.model.patchcore.calibrate import conformal_threshold, guaranteed_rate, images_needed
from stream.model.patchcore.inspector import Extractor, inspect, nearest_patches, score_patches
from stream.model.patchcore.score import anomaly_map, sigma_px
from stream.model.patchcore.search import MemoryBank
from stream.training.dataset import Inputs, batches
from stream.training.progress import Track, silent

#: Number of held-out images among which the self-test is chosen, and of disturbances of each one's features.
_CANDIDATES, _DISTURBANCES = 8, 3
#: Relative size of a disturbance; above the rounding of half precision.
_DISTURBANCE = 2e-3
Rows = NDArray[np.int64]


def calibration_scores(
    extractor: Extractor,
    search: MemoryBank,
    inputs: Inputs,
    rows: Rows,
    *,
    reweight_neighbours: int,
    stage: str = "calibrate",
    track: Track = silent,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return image scores (n,) and largest anomaly map pixels (n,) of the network inputs at `rows`."""
    scores, peaks = [], []
    size_px = inputs.shape[1]
    for done, batch in batches(inputs, rows):
        for score, distances in inspect(extractor, search, batch, reweight_neighbours=reweight_neighbours):
            scores.append(score)
            peaks.append(anomaly_map(distances, (size_px, size_px), sigma_px(size_px)).max())
        track(stage, done, len(rows))
    return np.array(scores, dtype=np.float64), np.array(peaks, dtype=np.float32)


def choose_self_test(
    extractor: Extractor, search: MemoryBank, inputs: Inputs, rows: Rows, *, reweight_neighbours: int, seed: int
) -> SelfTest:
    """Choose, among the first at `rows`, the network input whose score depends least on rounding.

    A worker with another score then computes something else. The score jumps where two patches are almost equally
    far from the bank and rounding decides which one counts.
    """
    random = np.random.default_rng(seed)
    candidates: list[tuple[float, int, float]] = []
    for row in rows[:_CANDIDATES]:
        (features,) = extractor(inputs[np.array([row])])
        disturbed = [
            (features * random.normal(1, _DISTURBANCE, features.shape)).astype(np.float32) for _ in range(_DISTURBANCES)
        ]
        score, *others = (
            score_patches(
                search, patches, nearest_patches(search, patches), reweight_neighbours=reweight_neighbours
            ).score
            for patches in (features, *disturbed)
        )
        candidates.append((max(abs(other - score) for other in others) / max(score, 1e-12), int(row), score))
    _, row, score = min(candidates)
    return SelfTest(inputs[np.array([row])][0], score)


def calibrated(
    scores: NDArray[np.float64], peaks: NDArray[np.float32], false_reject_rate: float
) -> tuple[Thresholds, list[str]]:
    """Return conformal thresholds, and a warning if there are too few images for the wanted rate."""
    needed = images_needed(false_reject_rate)
    guaranteed = guaranteed_rate(len(scores), false_reject_rate)
    warnings = []
    if len(scores) < needed:
        warnings.append(
            f"{len(scores)} held-out images guarantee a false-reject rate of {guaranteed:.2%}; "
            f"{false_reject_rate:.2%} needs {needed}: give more images or a larger --holdout"
        )
    thresholds = Thresholds(
        image=conformal_threshold(scores, false_reject_rate),
        pixel=conformal_threshold(peaks, false_reject_rate),
        false_reject_rate=false_reject_rate,
        guaranteed_rate=guaranteed,
    )
    return thresholds, warnings


def implied_rate(scores: NDArray[np.floating], threshold: float) -> float:
    """Return the least rate whose conformal threshold of these (n,) scores is not above `threshold`: (m + 1) / (n + 1).

    m of the scores exceed it. For a conformal threshold this is its own rate with that number of images.
    """
    return (1 + int(np.count_nonzero(scores > threshold))) / (len(scores) + 1)


def by_hand(image: float, pixel: float, scores: NDArray[np.float64]) -> Thresholds:
    """Return thresholds whose image threshold a user chose, with the rate that it implies."""
    rate = implied_rate(scores, image)
    return Thresholds(image=image, pixel=pixel, false_reject_rate=rate, guaranteed_rate=rate, by_hand=True)
