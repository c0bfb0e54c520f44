"""The choice between options of a fit, from measured evidence: values in, choice out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, log2

import numpy as np
from numpy.typing import NDArray

#: Share of the synthetic defects that a slower candidate must find more, for each doubling of the time.
LEAST_GAIN = 0.02
#: Largest probability that a gain is chance, one-sided sign test over the same defects.
_CHANCE = 0.05
#: A candidate may rank defects over good pictures this much worse and still be better.
_AUROC_NOISE = 0.005
#: Share of the defects of a size that must be found for the size to count as visible.
VISIBLE_SHARE = 0.5


@dataclass(frozen=True)
class Candidate:
    """Options of a fit to try: (width, height) of the network input, names of levels, coreset."""

    input_px: tuple[int, int]
    levels: tuple[str, ...]
    coreset: float


@dataclass(frozen=True)
class Trial:
    """What was measured of a candidate.

    Attributes:
        candidate: the options.
        milliseconds: of one picture on this machine, one at a time: resizing, backbone, search and score.
        found: of each synthetic defect, whether its picture's score exceeded the threshold; the same defects in
            the same order for every candidate.
        auroc: of the pictures with defects against the good ones.
        smallest_px: the smallest visible spot, in px of the picture; None: none of those tried.
    """

    candidate: Candidate
    milliseconds: float
    found: NDArray[np.bool_]
    auroc: float
    smallest_px: float | None

    @property
    def share(self) -> float:
        """Share of the synthetic defects that were found."""
        return float(self.found.mean())


def helps(slower: Trial, faster: Trial) -> bool:
    """Whether a candidate finds more of the same defects than a faster one, beyond chance and worth its time."""
    doublings = max(1.0, log2(slower.milliseconds / faster.milliseconds))
    won = int((slower.found & ~faster.found).sum())
    lost = int((faster.found & ~slower.found).sum())
    return (
        slower.share - faster.share >= LEAST_GAIN * doublings
        and slower.auroc >= faster.auroc - _AUROC_NOISE
        and _sign_test(won, lost) <= _CHANCE
    )


def recommended(trials: Sequence[Trial], budget_ms: float | None = None) -> Trial | None:
    """Return the fastest candidate than which none slower helps within the budget; None: none is within it."""
    within = [trial for trial in trials if budget_ms is None or trial.milliseconds <= budget_ms]
    best: Trial | None = None
    for trial in sorted(within, key=lambda trial: trial.milliseconds):
        if best is None or helps(trial, best):
            best = trial
    return best


def smallest_visible(sizes_px: Sequence[float], found: Sequence[bool]) -> float | None:
    """Return the smallest size of which, and of all larger ones, at least half were found; None: there is none.

    Args:
        sizes_px: of each defect.
        found: whether it was found.
    """
    smallest = None
    for size_px in sorted(set(sizes_px), reverse=True):
        hits = [hit for size, hit in zip(sizes_px, found, strict=True) if size == size_px]
        if sum(hits) < VISIBLE_SHARE * len(hits):
            break
        smallest = size_px
    return smallest


def _sign_test(won: int, lost: int) -> float:
    """Return the probability of at least `won` of won + lost coin flips."""
    flips = won + lost
    return float(sum(comb(flips, heads) for heads in range(won, flips + 1)) / 2**flips)
