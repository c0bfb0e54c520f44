from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from stream.core.errors import DiskError
from stream.core.verdict import Cause, Verdict
from stream.model.bundle import load_bundle
from stream.training.calibration_draws import ExpectedMisses
from stream.training.evaluate import evaluate
from stream.training.evaluation_report import DrawnCalibrations, EvaluationReport, report_table, write_report
from stream.training.outcomes import ImageOutcome, Outcome


@pytest.fixture(scope="module")
def report(small_bundle: Path, untouched: Path) -> EvaluationReport:
    return evaluate(small_bundle, untouched)


def printed(report: EvaluationReport) -> str:
    text = io.StringIO()
    Console(file=text, width=120).print(report_table(report))
    return text.getvalue()


def with_outcomes(report: EvaluationReport, **images: list[ImageOutcome]) -> EvaluationReport:
    outcomes = report.outcomes | {Outcome(name): found for name, found in images.items()}
    return msgspec.structs.replace(report, outcomes=outcomes)


def test_the_report_is_json_that_reads_back(report: EvaluationReport, small_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    write_report(report, path)
    write_report(report, path)
    assert msgspec.json.decode(path.read_bytes(), type=EvaluationReport) == report
    assert list(path.parent.iterdir()) == [path]
    raw = json.loads(path.read_text())
    assert raw["bundle_sha256"] == load_bundle(small_bundle).sha256
    assert raw["types"]["left"]["pictures"] == 5
    assert raw["false_reject_interval"] == list(report.false_reject_interval or ())
    assert raw["thresholds"]["image"] > 0
    assert raw["device"] in {"cuda", "openvino", "torch-cpu"}
    assert "numpy" in raw["versions"]
    assert sum(len(images) for images in raw["outcomes"].values()) == 22
    assert raw["outcomes"]["caught"][0].keys() == {
        *("path", "kind", "score", "verdict", "cause", "detail", "within_spec", "rule"),
    }
    with pytest.raises(DiskError, match="cannot be written"):
        write_report(report, path / "below-a-file.json")


def test_the_table_names_what_matters(report: EvaluationReport) -> None:
    types = {**report.types, "[red]dent": report.types["left"]}
    shown = msgspec.structs.replace(
        report, types=types, pixel_auroc=None, false_reject_interval=None, unreadable=["test/left/x.png"]
    )
    text = printed(shown)
    for wanted in ("image AUROC", "PG2", "PB2", "[red]dent", "– to –", "skipped: test/left/x.png", report.device):
        assert wanted in text


def test_the_first_ten_missed_and_falsely_rejected_images_are_listed(report: EvaluationReport) -> None:
    missed = [ImageOutcome(f"test/left/m{number}.png", "left", float(number), Verdict.GOOD) for number in range(13)]
    text = printed(
        with_outcomes(
            report, missed=missed, false_reject=[ImageOutcome("test/good/f.png", "good", 7.5, Verdict.DEFECT)]
        )
    )
    assert "13 missed, the lowest score first" in text
    assert "test/left/m9.png" in text
    assert "test/left/m10.png" not in text
    assert "… and 3 more" in text
    assert "1 falsely rejected, the highest score first" in text
    assert "test/good/f.png" in text


def test_without_a_threshold_nothing_is_counted_as_missed(report: EvaluationReport) -> None:
    shown = msgspec.structs.replace(report, miss_rate=None, false_reject_rate=None, thresholds=None)
    rows = [line for line in printed(with_outcomes(shown, missed=[], false_reject=[])).splitlines() if "│" in line]
    assert next(line for line in rows if "misses" in line).split("│")[2].strip() == "–"


def test_a_bundle_that_makes_no_error_has_no_list(report: EvaluationReport) -> None:
    text = printed(with_outcomes(report, missed=[], false_reject=[], refused=[]))
    assert "lowest score first" not in text
    assert "highest score first" not in text


def test_refused_images_are_counted_by_reason_and_listed_apart(report: EvaluationReport) -> None:
    refused = [
        ImageOutcome(
            "test/good/d.png", "good", None, Verdict.UNINSPECTED, Cause.BAD_FRAME, "too dark: mean brightness 3"
        )
    ]
    counts = msgspec.structs.replace(report.counts, refused_good=1, refused_defective=2)
    reasons = {"too dark": 1, "wrong_geometry": 2}
    shown = with_outcomes(report, refused=refused)
    text = printed(msgspec.structs.replace(shown, counts=counts, refused_reasons=reasons))
    assert "1 good, 2 defective (1 too dark, 2 wrong_geometry)" in text
    assert "too dark: mean brightness 3" in text


def test_expected_misses_are_shown_with_their_spread_and_the_rate_that_was_realised(report: EvaluationReport) -> None:
    one = ExpectedMisses(rate=0.02, misses=0.328, misses_p10=0.23, misses_p90=0.51, false_rejects=0.031)
    text = printed(msgspec.structs.replace(report, expected_misses=DrawnCalibrations(388, 100, [one])))
    assert "100 of the 388 good images" in text
    for wanted in ("2%", "3.1%", "32.8%", "23% to 51%"):
        assert wanted in text
