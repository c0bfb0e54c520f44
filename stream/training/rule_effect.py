"""What a station's rules on spots change about the verdicts on a test set: misses and false rejects with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from stream.core.spots import Ruling
from stream.core.verdict import Verdict
from stream.training.ground_truth import GOOD
from stream.training.test_set import LabelledImage

#: Images of one kind that the terminal lists.
_LISTED = 10


class RuledImage(msgspec.Struct, frozen=True):
    """An image whose verdict rules have changed.

    Attributes:
        path: relative to the dataset.
        kind: its folder of `test/`.
        score: its image score.
        rule, detail: of the ruling, as the line's event would have them.
    """

    path: str
    kind: str
    score: float
    rule: str | None
    detail: str


class RuleEffect(msgspec.Struct, frozen=True):
    """The effect of the rules on the inspected images. All other figures of a report are those of the scores.

    Attributes:
        source: configuration and station of the rules.
        misses, false_rejects: number of images with the rules.
        miss_rate, false_reject_rate: shares of the defective and the good images; None without any.
        passed_good: good ones above the threshold that rules let pass: false rejects less.
        passed_defective: defective ones above it that rules let pass: misses more, unless they are within what the
            customer accepts. Both by score, the highest first.
        rejected_good, rejected_defective: those up to the threshold that have too many spots.
    """

    source: str
    misses: int
    false_rejects: int
    miss_rate: float | None
    false_reject_rate: float | None
    passed_good: list[RuledImage]
    passed_defective: list[RuledImage]
    rejected_good: list[RuledImage]
    rejected_defective: list[RuledImage]


def effect_of(
    source: str,
    dataset: Path,
    images: Sequence[LabelledImage],
    scores: NDArray[np.float64],
    rulings: Sequence[Ruling],
    threshold: float,
) -> RuleEffect:
    """Compare the rulings on n images with the verdicts by their scores (n,) alone.

    Those whose defect lies under masks only count neither as good nor as defective.
    """
    order = np.argsort(-scores, kind="stable").tolist()
    changed: dict[tuple[bool, bool], list[RuledImage]] = {
        (passed, good): [] for passed in (True, False) for good in (True, False)
    }
    misses = false_rejects = 0
    for row in order:
        if images[row].under_masks:
            continue
        image, ruling, good = images[row], rulings[row], images[row].kind == GOOD
        misses += not good and ruling.verdict is Verdict.GOOD
        false_rejects += good and ruling.verdict is not Verdict.GOOD
        rejected = not scores[row] <= threshold
        if rejected != (ruling.verdict is not Verdict.GOOD):
            path = image.path.relative_to(dataset).as_posix()
            changed[rejected, good].append(RuledImage(path, image.kind, float(scores[row]), ruling.rule, ruling.detail))
    count = sum(image.kind == GOOD for image in images)
    defective = sum(image.kind != GOOD and not image.under_masks for image in images)
    return RuleEffect(
        source=source,
        misses=misses,
        false_rejects=false_rejects,
        miss_rate=misses / defective if defective else None,
        false_reject_rate=false_rejects / count if count else None,
        passed_good=changed[True, True],
        passed_defective=changed[True, False],
        rejected_good=changed[False, True],
        rejected_defective=changed[False, False],
    )


def effect_lists(effect: RuleEffect) -> Iterator[RenderableType]:
    """Yield for the terminal the images whose verdict the rules change, those first that someone must look at."""
    for images, title in (
        (effect.passed_defective, "defective that rules let pass: is each of them within what is accepted?"),
        (effect.rejected_good, "good that have too many spots"),
        (effect.passed_good, "good that rules let pass"),
        (effect.rejected_defective, "defective that have too many spots"),
    ):
        if not images:
            continue
        yield Text(f"\n{len(images)} {title}", style="bold")
        table = Table("", "image", "score", "why", box=None)
        for rank, image in enumerate(images[:_LISTED], start=1):
            table.add_row(str(rank), Text(image.path), f"{image.score:.4g}", Text(image.detail))
        yield table
        if len(images) > _LISTED:
            yield Text(f"  … and {len(images) - _LISTED} more; --report lists them all")
