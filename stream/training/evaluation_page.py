"""An evaluation as one HTML file that needs no network: figures, charts, and the images, worst first."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stream.core.files import write_atomically
from stream.training.evaluation_charts import miss_curve_chart, score_chart
from stream.training.evaluation_report import EvaluationReport, figure, outcome_text, percent
from stream.training.image_figures import miss_curve
from stream.training.outcome_overlays import PagePicture
from stream.training.outcomes import ImageOutcome, Outcome

#: Heading of each outcome's images, and what their order means.
_SECTIONS = {
    Outcome.MISSED: ("Missed", "defective parts that pass; the lowest score first"),
    Outcome.FALSE_REJECT: ("Falsely rejected", "good parts called DEFECT; the highest score first"),
    Outcome.REFUSED: ("Refused", "a line rejects them without inspecting them: UNINSPECTED, with this reason"),
    Outcome.CAUGHT: ("Caught", "defective parts called DEFECT; those first that were nearly missed"),
    Outcome.PASSED: ("Passed", "good parts called GOOD; those first that were nearly rejected"),
    Outcome.UNDER_MASKS: ("Under masks", "all of their defect lies where nothing is judged; the highest score first"),
}


def write_page(report: EvaluationReport, pictures: Sequence[PagePicture], path: Path) -> None:
    """Write the page of an evaluation with thresholds, whole or not at all. Raises DiskError."""
    write_atomically(path, page_html(report, pictures).encode())


def page_html(report: EvaluationReport, pictures: Sequence[PagePicture]) -> str:
    """Return the page of an evaluation with thresholds; `pictures` in the order in which they are shown."""
    assert report.thresholds is not None
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "figure": figure}
    sections = [
        {
            "outcome": str(outcome),
            "heading": heading,
            "order": order,
            "count": len(report.outcomes[outcome]),
            "pictures": [
                {
                    "rank": picture.rank,
                    "path": picture.image.path,
                    "caption": _caption(picture.image),
                    "jpeg": base64.b64encode(picture.jpeg).decode(),
                }
                for picture in pictures
                if picture.outcome == outcome
            ],
        }
        for outcome, (heading, order) in _SECTIONS.items()
    ]
    curve, histograms = _charts(report)
    return environment.get_template("evaluation_page.html").render(
        report=report,
        missed=len(report.outcomes[Outcome.MISSED]),
        falsely_rejected=len(report.outcomes[Outcome.FALSE_REJECT]),
        sections=sections,
        curve=curve,
        histograms=histograms,
        bundle_name=Path(report.bundle).name,
    )


def _caption(image: ImageOutcome) -> str:
    """Return what is said below an image: its score, and what its verdict is by where that is not the score."""
    text = outcome_text(image)
    return text if image.score is None else f"score {text}"


def _charts(report: EvaluationReport) -> tuple[Markup | None, Markup | None]:
    """Return the curve and the histograms; no curve without images of both classes."""
    good, defective = (
        np.array([image.score for outcome in outcomes for image in report.outcomes[outcome]], dtype=np.float64)
        for outcomes in ((Outcome.FALSE_REJECT, Outcome.PASSED), (Outcome.MISSED, Outcome.CAUGHT))
    )
    curve = None
    if report.false_reject_rate is not None and report.miss_rate is not None:
        now = report.false_reject_rate, report.miss_rate
        expected = report.expected_misses.rates if report.expected_misses is not None else []
        curve = Markup(miss_curve_chart(miss_curve(good, defective), now, expected))  # noqa: S704 - numbers only
    assert report.thresholds is not None
    return curve, Markup(score_chart(good, defective, report.thresholds.image))  # noqa: S704 - numbers only
