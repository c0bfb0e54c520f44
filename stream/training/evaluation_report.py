"""The figures of an evaluation, as JSON and for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stream.core.files import write_atomically
from stream.core.verdict import Verdict
from stream.model.bundle_info import Thresholds
from stream.training.calibration_draws import ExpectedMisses
from stream.training.outcomes import ImageOutcome, Outcome, Outcomes
from stream.training.rule_effect import RuleEffect, effect_lists

#: Images of one outcome that the terminal lists.
_LISTED = 10


class TypeReport(msgspec.Struct, frozen=True):
    """One folder of `test/`.

    Attributes:
        pictures: its readable images.
        refused: those of them that the line refuses.
        under_masks: those whose defect lies under the bundle's masks only; all that follows is of the others.
        mean_score: of the image scores.
        false_reject_rate: None but for `good`.
        miss_rate: None for `good`.
        image_auroc: against the good images; None for `good`.
    """

    pictures: int
    refused: int
    under_masks: int
    mean_score: float | None
    false_reject_rate: float | None
    miss_rate: float | None
    image_auroc: float | None


class EvaluationCounts(msgspec.Struct, frozen=True):
    """Numbers of images.

    Attributes:
        good, defective: inspected ones.
        refused_good, refused_defective: those that a line does not inspect, but rejects.
        under_masks: inspected ones whose defect lies under the bundle's masks only, neither good nor defective.
        marked: defective ones with ground truth that marks something which is judged.
        in_bank: inspected ones that the memory bank was made of.
        calibration: those that calibrated the bundle.
    """

    good: int
    defective: int
    refused_good: int
    refused_defective: int
    under_masks: int
    marked: int
    in_bank: int
    calibration: int

    @property
    def refused(self) -> int:
        """Number of images that a line does not inspect."""
        return self.refused_good + self.refused_defective


class DrawnCalibrations(msgspec.Struct, frozen=True):
    """The misses to expect over random draws of the calibration, see `calibration_draws`.

    Attributes:
        pool: good images that the bank does not remember: those of the test, and of a split calibration.
        drawn: images of each draw.
        rates: result for each false-reject rate.
    """

    pool: int
    drawn: int
    rates: list[ExpectedMisses]


class EvaluationReport(msgspec.Struct, frozen=True):
    """The figures of an evaluation; None where the images or the bundle do not allow one.

    An image whose defect lies under the bundle's masks only has an outcome of its own, and is in no figure. Pixels that
    are not judged are in none either.

    Images that a line refuses (`bad_frame`, `wrong_geometry`, `not_found`) have no score. They are in `outcomes`,
    `refused_reasons` and the counts, in no other figure. A line rejects them: its share of good parts rejected is
    (false rejects + refused_good) / (good + refused_good).

    Attributes:
        image_auroc: area under the ROC curve of the image scores.
        pg2: share of the good images that can pass if at most 2 % of the defective ones may, see `presorted_good`.
        pb2: share of the defective images caught if at most 2 % of the good ones may be rejected.
        pixel_auroc: of the judged pixels of the good images and of those with ground truth.
        aupro: area under the per-region-overlap curve up to 30 % false-positive pixels, of the same.
        image_f1: the best of all thresholds.
        image_f1_at_threshold: at the bundle's threshold.
        false_reject_rate: share of good images above the bundle's threshold.
        false_reject_interval: where calibration predicts that rate, see `false_reject_interval`; None
            for a threshold set by hand.
        miss_rate: share of defective images not above the bundle's threshold.
        expected_misses: at 1, 2 and 5 % false rejects, whichever good images calibrate.
        ms_per_image: median time to preprocess and inspect one image, one at a time, without reading it.
        counts, types: number of images, and the same figures by folder of `test/`.
        refused_reasons: number of refused images by reason.
        outcomes: every image, by what became of it, worst first, with rules where they were given; without thresholds
            only the refused ones.
        unreadable: images skipped because they are damaged, relative to the dataset.
        warnings: reasons to trust the figures less, one line each.
        rules: what a station's rules change; all else but `outcomes` is by the scores alone. None: none were given.
        thresholds: the bundle's.
        versions: of the libraries that computed this.
    """

    image_auroc: float | None
    pg2: float | None
    pb2: float | None
    pixel_auroc: float | None
    aupro: float | None
    image_f1: float | None
    image_f1_at_threshold: float | None
    false_reject_rate: float | None
    false_reject_interval: tuple[float, float] | None
    miss_rate: float | None
    expected_misses: DrawnCalibrations | None
    ms_per_image: float
    counts: EvaluationCounts
    types: dict[str, TypeReport]
    refused_reasons: dict[str, int]
    outcomes: Outcomes
    unreadable: list[str]
    warnings: list[str]
    rules: RuleEffect | None
    thresholds: Thresholds | None
    dataset: str
    bundle: str
    bundle_sha256: str
    device: str
    versions: dict[str, str]


def write_report(report: EvaluationReport, path: Path) -> None:
    """Write a report as JSON, whole or not at all. Raises DiskError."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def report_table(report: EvaluationReport) -> Group:
    """Return a report for the terminal: figures, types, the first images of each bad outcome, warnings."""
    parts: list[RenderableType] = [Text(report.dataset, style="bold"), _figures(report), _types(report)]
    if report.expected_misses is not None:
        parts += _expected(report.expected_misses)
    parts += _worst(report)
    if report.rules is not None:
        parts += effect_lists(report.rules)
    parts += [Text(f"warning: {warning}", style="yellow") for warning in report.warnings]
    parts += [Text(f"skipped: {name}") for name in report.unreadable]
    return Group(*parts)


def _figures(report: EvaluationReport) -> Table:
    with_rules = report.rules is not None
    figures = Table("figure", *(("by score", "with rules") if with_rules else ("value",)))
    low, high = report.false_reject_interval or (None, None)
    for name, value in (
        ("misses", _share_of(report, Outcome.MISSED)),
        ("false rejects", _share_of(report, Outcome.FALSE_REJECT)),
        ("  predicted, 95 %", f"{percent(low)} to {percent(high)}"),
        ("refused, not inspected", _refused(report)),
        *_under_masks(report),
        ("image AUROC", figure(report.image_auroc)),
        ("PG2: good sorted out, 2 % missed", percent(report.pg2)),
        ("PB2: caught, 2 % falsely rejected", percent(report.pb2)),
        ("pixel AUROC", figure(report.pixel_auroc)),
        ("AUPRO, 30 %", figure(report.aupro)),
        ("image F1, at the best threshold", figure(report.image_f1)),
        ("image F1, at the bundle's", figure(report.image_f1_at_threshold)),
        ("time per image", f"{report.ms_per_image:.1f} ms ({report.device})"),
    ):
        figures.add_row(name, value, *([_with_rules(report.rules, name, report.counts)] if with_rules else []))
    return figures


def _with_rules(rules: RuleEffect | None, name: str, counts: EvaluationCounts) -> str:
    """Return the figure of this name with the rules; empty where they do not change it."""
    if rules is None:
        return ""
    if name == "misses":
        return f"{percent(rules.miss_rate)} ({rules.misses} of {counts.defective})"
    if name == "false rejects":
        return f"{percent(rules.false_reject_rate)} ({rules.false_rejects} of {counts.good})"
    return ""


def _types(report: EvaluationReport) -> Table:
    types = Table("type", "images", "refused", "mean score", "rejected", "AUROC")
    for name, kind in report.types.items():
        rejected = kind.false_reject_rate if kind.miss_rate is None else 1 - kind.miss_rate
        types.add_row(
            Text(name),
            str(kind.pictures),
            str(kind.refused or "–"),
            "–" if kind.mean_score is None else f"{kind.mean_score:.4g}",
            percent(rejected),
            figure(kind.image_auroc),
        )
    return types


def _expected(expected: DrawnCalibrations) -> Iterator[RenderableType]:
    yield Text(f"misses to expect when {expected.drawn} of the {expected.pool} good images calibrate")
    table = Table("false rejects wanted", "realised", "misses", "in 80 % of draws")
    for one in expected.rates:
        spread = f"{percent(one.misses_p10, 0)} to {percent(one.misses_p90, 0)}"
        table.add_row(percent(one.rate, 0), percent(one.false_rejects, 1), percent(one.misses, 1), spread)
    yield table


def _share_of(report: EvaluationReport, outcome: Outcome) -> str:
    missed = outcome == Outcome.MISSED
    rate = report.miss_rate if missed else report.false_reject_rate
    total = report.counts.defective if missed else report.counts.good
    return "–" if rate is None else f"{percent(rate)} ({round(rate * total)} of {total})"


def _under_masks(report: EvaluationReport) -> Iterator[tuple[str, str]]:
    """Yield how many defects lie under masks only, if any, and how many of their images are rejected all the same."""
    count = report.counts.under_masks
    if count:
        rejected = sum(image.verdict is not Verdict.GOOD for image in report.outcomes[Outcome.UNDER_MASKS])
        yield "defect under masks only", f"{count}, {rejected} rejected all the same" if rejected else str(count)


def _refused(report: EvaluationReport) -> str:
    counts = report.counts
    if not counts.refused:
        return "none"
    reasons = ", ".join(f"{count} {reason}" for reason, count in report.refused_reasons.items())
    return f"{counts.refused_good} good, {counts.refused_defective} defective ({reasons})"


def _worst(report: EvaluationReport) -> Iterator[RenderableType]:
    """List the first images of each outcome that someone must look at."""
    threshold = "" if report.thresholds is None else f"; threshold {report.thresholds.image:.4g}"
    titles = {
        Outcome.MISSED: f"missed, the lowest score first{threshold}",
        Outcome.FALSE_REJECT: f"falsely rejected, the highest score first{threshold}",
        Outcome.REFUSED: "refused, which a line rejects without inspecting them",
    }
    for outcome, title in titles.items():
        images = report.outcomes[outcome]
        if not images:
            continue
        table = Table("", "image", "reason" if outcome == Outcome.REFUSED else "score", box=None)
        for rank, image in enumerate(images[:_LISTED], start=1):
            table.add_row(str(rank), Text(image.path), Text(outcome_text(image)))
        yield Text(f"\n{len(images)} {title}", style="bold")
        yield table
        if len(images) > _LISTED:
            yield Text(f"  … and {len(images) - _LISTED} more; --report lists them all")


def outcome_text(image: ImageOutcome) -> str:
    """Return an image's score and what decided beside it: the reason of a refusal, or the rule."""
    if image.score is None:
        return image.detail or str(image.cause)
    return f"{image.score:.4g}" + (f", {image.detail}" if image.detail else "")


def figure(value: float | None) -> str:
    """Return a figure in [0, 1] as text."""
    return "–" if value is None else f"{value:.4f}"


def percent(value: float | None, digits: int = 2) -> str:
    """Return a share as text."""
    return "–" if value is None else f"{value:.{digits}%}"
