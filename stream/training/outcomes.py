"""What became of each test image, the worst first: missed, falsely rejected, refused, caught, passed, under masks."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.core.spots import Ruling
from stream.core.verdict import Cause, Verdict
from stream.training.ground_truth import GOOD
from stream.training.test_set import LabelledImage, LabelledSet


class Outcome(StrEnum):
    """What the line would do with an image, beside what it should do."""

    MISSED = "missed"
    FALSE_REJECT = "false_reject"
    REFUSED = "refused"
    CAUGHT = "caught"
    PASSED = "passed"
    UNDER_MASKS = "under_masks"


class ImageOutcome(msgspec.Struct, frozen=True):
    """One test image.

    Attributes:
        path: relative to the dataset.
        kind: its folder of `test/`.
        score: its image score; None if it was refused.
        verdict: as the line would give it, by the rules where a station's are tried.
        cause: why it was refused; else None.
        detail: as the line's event would have it; None: nothing.
        within_spec: GOOD only because rules let every spot pass.
        rule: the one that decided; None: the score did.
    """

    path: str
    kind: str
    score: float | None
    verdict: Verdict
    cause: Cause | None = None
    detail: str | None = None
    within_spec: bool = False
    rule: str | None = None


Outcomes = dict[Outcome, list[ImageOutcome]]


def outcomes_of(
    dataset: Path, test_set: LabelledSet, scores: NDArray[np.float64], rulings: Sequence[Ruling] | None
) -> Outcomes:
    """Return the images of each outcome, those first that deserve a look first.

    Missed: the lowest score, and caught likewise, which was nearly missed. Falsely rejected: the highest, and passed
    likewise. Refused: by path. Under masks, where all of the defect lies: the highest, which something else explains.

    Args:
        dataset: the paths become relative to it.
        test_set: its images and those that the line refuses.
        scores: (n,) of the images.
        rulings: on each, as the line would give them; None without a threshold: then there are only refused ones.
    """
    outcomes: Outcomes = {outcome: [] for outcome in Outcome}
    for refused in sorted(test_set.refused, key=lambda image: image.path):
        path = refused.path.relative_to(dataset).as_posix()
        outcomes[Outcome.REFUSED].append(
            ImageOutcome(path, refused.kind, None, Verdict.UNINSPECTED, refused.cause, refused.detail)
        )
    if rulings is None:
        return outcomes
    for row in np.argsort(scores, kind="stable"):
        image, ruling = test_set.images[row], rulings[row]
        path = image.path.relative_to(dataset).as_posix()
        outcomes[_outcome(image, rejected=ruling.verdict is not Verdict.GOOD)].append(
            ImageOutcome(
                path,
                image.kind,
                float(scores[row]),
                ruling.verdict,
                detail=ruling.detail or None,
                within_spec=ruling.within_spec,
                rule=ruling.rule,
            )
        )
    for outcome in (Outcome.FALSE_REJECT, Outcome.PASSED, Outcome.UNDER_MASKS):
        outcomes[outcome].reverse()
    return outcomes


def _outcome(image: LabelledImage, *, rejected: bool) -> Outcome:
    if image.under_masks:
        return Outcome.UNDER_MASKS
    if image.kind == GOOD:
        return Outcome.FALSE_REJECT if rejected else Outcome.PASSED
    return Outcome.CAUGHT if rejected else Outcome.MISSED
