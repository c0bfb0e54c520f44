from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from support.pictures import good_picture, write_picture

from stream.core.errors import DiskError
from stream.core.verdict import Verdict
from stream.training.evaluate import evaluate
from stream.training.evaluation_page import page_html, write_page
from stream.training.evaluation_report import EvaluationReport
from stream.training.outcome_overlays import PagePicture
from stream.training.outcomes import ImageOutcome, Outcome


class Tags(HTMLParser):
    """The elements of a page, and whether each is closed."""

    VOID = frozenset({"meta", "link", "img", "br", "line", "circle", "rect", "polyline"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.started: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.started.append((tag, dict(attrs)))
        if tag not in self.VOID or tag == "rect":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.started.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report(small_bundle: Path, untouched: Path) -> EvaluationReport:
    return evaluate(small_bundle, untouched)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*</style>", "", html, flags=re.DOTALL)))


def test_the_page_shows_figures_charts_and_images_and_loads_nothing(
    small_bundle: Path, dataset: Path, tmp_path: Path
) -> None:
    write_picture(dataset / "test" / "good" / "dark.png", good_picture(1) // 8)
    page = tmp_path / "new" / "page.html"
    report = evaluate(small_bundle, dataset, page=page)
    html = page.read_text()
    tags = Tags(html).started
    assert len([tag for tag, _ in tags if tag == "svg"]) == 2
    pictures = [attributes for tag, attributes in tags if tag == "img"]
    assert len(pictures) == 12 + 10 + 1
    sources = [str(value) for _, attributes in tags for name, value in attributes.items() if name in ("src", "href")]
    assert all(source.startswith("data:") for source in sources)
    assert "://" not in html
    assert "@import" not in html
    assert "prefers-color-scheme: dark" in html
    text = text_of(html)
    for wanted in (f"{report.image_auroc:.4f}", "PG2", "PB2", "1 too dark", "good/dark.png", report.bundle_sha256):
        assert wanted in text
    assert list(page.parent.iterdir()) == [page]


def test_missed_and_falsely_rejected_images_come_first(report: EvaluationReport) -> None:
    images = {outcome: [ImageOutcome(f"test/x/{outcome}.png", "x", 1.0, Verdict.GOOD)] for outcome in Outcome}
    pictures = [PagePicture(outcome, 1, found[0], b"jpeg") for outcome, found in images.items()]
    html = page_html(msgspec.structs.replace(report, outcomes=images), pictures)
    assert re.findall(r'<section class="(\w+)">', html)[-6:] == [
        *("missed", "false_reject", "refused", "caught", "passed", "under_masks"),
    ]


def test_more_images_than_the_page_holds_are_counted(report: EvaluationReport) -> None:
    missed = [ImageOutcome(f"test/x/{number}.png", "x", 1.0, Verdict.GOOD) for number in range(300)]
    shown = msgspec.structs.replace(report, outcomes=report.outcomes | {Outcome.MISSED: missed})
    pictures = [PagePicture(Outcome.MISSED, rank, image, b"") for rank, image in enumerate(missed[:200], start=1)]
    assert "the first 200, the overlays have them all" in text_of(page_html(shown, pictures))


def test_names_are_text_whatever_is_in_them(report: EvaluationReport) -> None:
    evil = "<script>alert(1)</script>"
    types = {**report.types, evil: report.types["left"]}
    missed = [ImageOutcome(f'test/{evil}/"x".png', evil, 1.0, Verdict.GOOD)]
    shown = msgspec.structs.replace(
        report, types=types, warnings=[evil], outcomes=report.outcomes | {Outcome.MISSED: missed}
    )
    html = page_html(shown, [PagePicture(Outcome.MISSED, 1, missed[0], b"")])
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    Tags(html)


def test_without_defects_the_page_has_no_curve(small_bundle: Path, dataset: Path, tmp_path: Path) -> None:
    for kind in ("left", "right"):
        for path in (dataset / "test" / kind).iterdir():
            path.unlink()
        (dataset / "test" / kind).rmdir()
    evaluate(small_bundle, dataset, page=tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "Misses against false rejects" not in html
    assert len([tag for tag, _ in Tags(html).started if tag == "svg"]) == 1


def test_the_page_is_written_whole_or_not_at_all(report: EvaluationReport, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="cannot be written"):
        write_page(report, [], tmp_path / "file" / "page.html")
    assert (tmp_path / "file").read_text() == ""
