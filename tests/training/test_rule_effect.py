"""An evaluation with rules says what they change, and which images they let pass."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from support.running import complaint, patchline

from stream.core.spots import Ruling
from stream.core.verdict import Verdict
from stream.line.rules import ruled_station
from stream.training.evaluate import evaluate
from stream.training.evaluation_report import report_table
from stream.training.outcomes import Outcome
from stream.training.rule_effect import effect_of
from stream.training.test_set import LabelledImage

DATA = Path("data")


def image(kind: str, name: str) -> LabelledImage:
    return LabelledImage(kind, DATA / "test" / kind / name, np.zeros((1, 1, 3), np.uint8), (1, 1), None, False, 0.0)


def test_misses_and_false_rejects_are_counted_with_the_rules_and_every_changed_image_is_named():
    images = [image("good", "a"), image("good", "b"), image("cut", "c"), image("cut", "d"), image("cut", "e")]
    passed = Ruling(Verdict.GOOD, "within specification: short (1 spot)", within_spec=True, rule="short")
    rulings = [passed, Ruling(Verdict.DEFECT, "9 spots", rule="many"), passed, Ruling(Verdict.DEFECT), passed]
    effect = effect_of("line.yaml:cap", DATA, images, np.array([8.0, 2.0, 7.0, 9.0, 8.5]), rulings, 5.0)
    assert (effect.misses, effect.false_rejects) == (2, 1)
    assert (effect.miss_rate, effect.false_reject_rate) == (pytest.approx(2 / 3), 0.5)
    assert [one.path for one in effect.passed_good] == ["test/good/a"]
    assert [one.path for one in effect.passed_defective] == ["test/cut/e", "test/cut/c"], "the highest score first"
    assert [(one.path, one.rule) for one in effect.rejected_good] == [("test/good/b", "many")]
    assert effect.rejected_defective == []


def line_with(folder: Path, bundle: Path, *rules: str) -> Path:
    path = folder / "line.yaml"
    path.write_text(
        "line: a\ncameras: {top: {kind: folder, path: parts}}\nstations:\n"
        f"  cap: {{camera: top, bundle: {bundle}, rules: [{', '.join(rules)}]}}\n"
        f"  lid: {{camera: top, bundle: {bundle}}}\n"
    )
    return path


def test_rules_that_let_everything_pass_cost_every_defect_and_the_terminal_lists_them(
    small_bundle: Path, untouched: Path, tmp_path: Path
):
    config = line_with(tmp_path, small_bundle, "{name: anything, within_spec: {area_px: 100000}}")
    report = evaluate(small_bundle, untouched, rules=ruled_station(str(config)), page=tmp_path / "page.html")
    assert report.rules is not None
    assert report.miss_rate == 0, "by the score, as without rules"
    assert (report.rules.miss_rate, report.rules.misses, len(report.rules.passed_defective)) == (1.0, 10, 10)
    assert report.rules.source == f"{config}:cap"
    missed = report.outcomes[Outcome.MISSED]
    assert {(image.verdict, image.within_spec, image.rule) for image in missed} == {(Verdict.GOOD, True, "anything")}
    html = (tmp_path / "page.html").read_text()
    assert f"verdicts by the rules of {config}:cap" in html
    assert re.search(r"<b>100.0%</b>\s*<small>10 of 10 defective; by the score 0.0%", html)
    assert html.count("within specification: anything (") == 10
    printed = io.StringIO()
    Console(width=200, file=printed).print(report_table(report))
    text = printed.getvalue()
    assert "by score" in text
    assert "100.00% (10 of 10)" in text
    assert "10 defective that rules let pass" in text
    assert "test/left/200.png" in text


def test_rules_that_let_nothing_pass_change_nothing(small_bundle: Path, untouched: Path, tmp_path: Path):
    config = line_with(tmp_path, small_bundle, "{name: nothing, within_spec: {area_px: 1}}")
    report = evaluate(small_bundle, untouched, rules=ruled_station(f"{config}:cap"))
    assert report.rules is not None
    assert report.rules.miss_rate == report.miss_rate
    assert report.rules.false_reject_rate == report.false_reject_rate
    assert report.rules.passed_defective == report.rules.passed_good == []


def test_rules_that_cannot_be_tried_are_refused_in_one_line(small_bundle: Path, untouched: Path, tmp_path: Path):
    config = line_with(tmp_path, small_bundle, "{name: short, within_spec: {length_mm: 1}}")
    for rules, expected in (
        (f"{config}:lid", f"--rules: stations.lid of {config} has no rules; stations with rules: cap"),
        (f"{config}:rim", f"--rules: {config} has no station 'rim'; stations: cap, lid; with rules: cap"),
        (f"{tmp_path}/none.yaml", "no such file"),
        (str(config), "stations.cap.rules: rule 'short': length_mm needs a ruler"),
    ):
        assert expected in complaint(patchline("evaluate", small_bundle, untouched, "--rules", rules))
