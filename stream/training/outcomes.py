"""What became of each test image, the worst first: missed, falsely rejected, refused, caught, passed."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.core.verdict import Cause
from stream.training.ground_truth import GOOD
from stream.training.test_set import LabelledSet


class Outcome(StrEnum):
    """What the line would do with an image, beside what it should do."""

    MISSED = "missed"
    FALSE_REJECT = "false_reject"
    REFUSED = "refused"
    CAUGHT = "caught"
    PASSED = "passed"


class ImageOutcome(msgspec.Struct, frozen=True):
    """One test image.

    Attributes:
        path: relative to the dataset.
        kind: its folder of `test/`.
        score: its image score; None if it was refused.
        cause, detail: why it was refused, as the line's event would have it; else None.
    """

    path: str
    kind: str
    score: float | None
    cause: Cause | None = None
    detail: str | None = None


Outcomes = dict[Outcome, list[ImageOutcome]]


def outcomes_of(
    dataset: Path, test_set: LabelledSet, scores: NDArray[np.float64], rejected: NDArray[np.bool_] | None
) -> Outcomes:
    """Return the images of each outcome, those first that deserve a look first.

    Missed: the lowest score, and caught likewise, which was nearly missed. Falsely rejected: the highest, and passed
    likewise. Refused: by path.

    Args:
        dataset: the paths become relative to it.
        test_set: its images and those that the line refuses.
        scores: (n,) of the images.
        rejected: (n,) their verdicts; None without a threshold: then there are only refused ones.
    """
    outcomes: Outcomes = {outcome: [] for outcome in Outcome}
    for refused in sorted(test_set.refused, key=lambda image: image.path):
        path = refused.path.relative_to(dataset).as_posix()
        outcomes[Outcome.REFUSED].append(ImageOutcome(path, refused.kind, None, refused.cause, refused.detail))
    if rejected is None:
        return outcomes
    for row in np.argsort(scores, kind="stable"):
        image = test_set.images[row]
        outcome = _outcome(image.kind, rejected=bool(rejected[row]))
        path = image.path.relative_to(dataset).as_posix()
        outcomes[outcome].append(ImageOutcome(path, image.kind, float(scores[row])))
    outcomes[Outcome.FALSE_REJECT].reverse()
    outcomes[Outcome.PASSED].reverse()
    return outcomes


def _outcome(kind: str, *, rejected: bool) -> Outcome:
    if kind == GOOD:
        return Outcome.FALSE_REJECT if rejected else Outcome.PASSED
    return Outcome.CAUGHT if rejected else Outcome.MISSED
