"""The figures of an evaluation, as JSON and for the terminal."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from stream.core.files import write_atomically
from stream.model.bundle import Thresholds


class TypeReport(msgspec.Struct, frozen=True):
    """One folder of `test/`; `miss_rate` and `image_auroc` (against the good ones) are None for `good`."""

    pictures: int
    mean_score: float
    false_reject_rate: float | None
    miss_rate: float | None
    image_auroc: float | None


class EvaluationCounts(msgspec.Struct, frozen=True):
    """Images that were inspected; `masked` have a mask, `in_bank` are in the memory bank."""

    good: int
    defective: int
    masked: int
    in_bank: int
    calibration: int


class EvaluationReport(msgspec.Struct, frozen=True):
    """The figures of an evaluation; None where the images or the bundle do not allow one.

    Attributes:
        image_auroc: area under the ROC curve of the image scores.
        pixel_auroc: of all map pixels of the good and the masked images.
        aupro: area under the per-region-overlap curve up to 30 % false-positive pixels, of the same.
        image_f1: the best of all thresholds.
        image_f1_at_threshold: at the bundle's threshold.
        false_reject_rate: share of good images above the bundle's threshold.
        false_reject_interval: where calibration predicts that rate, see `false_reject_interval`; None
            for a threshold set by hand.
        miss_rate: share of defective images not above the bundle's threshold.
        ms_per_image: median time to preprocess and inspect one image, one at a time, without reading it.
        counts, types: number of images, and the same figures by folder of `test/`.
        unreadable: images skipped because they or their masks are damaged, relative to the dataset.
        warnings: reasons to trust the figures less, one line each.
        thresholds: the bundle's.
        versions: of the libraries that computed this.
    """

    image_auroc: float | None
    pixel_auroc: float | None
    aupro: float | None
    image_f1: float | None
    image_f1_at_threshold: float | None
    false_reject_rate: float | None
    false_reject_interval: tuple[float, float] | None
    miss_rate: float | None
    ms_per_image: float
    counts: EvaluationCounts
    types: dict[str, TypeReport]
    unreadable: list[str]
    warnings: list[str]
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
    """Return a report for the terminal."""
    figures = Table("figure", "value", title=Text(report.dataset))
    low, high = report.false_reject_interval or (None, None)
    for name, value in (
        ("image AUROC", _figure(report.image_auroc)),
        ("pixel AUROC", _figure(report.pixel_auroc)),
        ("AUPRO, 30 %", _figure(report.aupro)),
        ("best image F1", _figure(report.image_f1)),
        ("image F1 at threshold", _figure(report.image_f1_at_threshold)),
        ("false-reject rate", _percent(report.false_reject_rate)),
        ("  predicted, 95 %", f"{_percent(low)} to {_percent(high)}"),
        ("miss rate", _percent(report.miss_rate)),
        ("time per image", f"{report.ms_per_image:.1f} ms ({report.device})"),
    ):
        figures.add_row(name, value)
    types = Table("type", "images", "mean score", "rejected", "AUROC")
    for name, kind in report.types.items():
        rejected = kind.false_reject_rate if kind.miss_rate is None else 1 - kind.miss_rate
        types.add_row(
            Text(name),
            str(kind.pictures),
            f"{kind.mean_score:.4g}",
            _percent(rejected),
            _figure(kind.image_auroc),
        )
    notes = [f"warning: {warning}" for warning in report.warnings]
    notes += [f"skipped: {name}" for name in report.unreadable]
    return Group(figures, types, *map(Text, notes))


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"
