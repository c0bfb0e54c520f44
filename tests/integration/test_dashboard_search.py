"""Searching the events of a dashboard that runs alone, on a store with a free-running station in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect
from support.dashboards import client_of, watched_line
from support.programs import needs_program
from support.running import Line

from stream.core.parts import PartResult
from stream.core.verdict import Cause, Verdict
from stream.store.event_reader import FILE_NAME
from stream.store.event_store import EventStore
from stream.store.records import Event

NOW_NS = 1_795_555_350_000_000_000


def recorded() -> Iterator[Event]:
    """An old defect and timeout of `label`, then 200 passed-over parts of `cap` with one defect among them."""
    scored = {"verdict": Verdict.DEFECT, "score": 9.0, "threshold": 4.0, "pixel_threshold": 4.0}
    late = {"verdict": Verdict.UNINSPECTED, "cause": Cause.TIMEOUT}
    passed_over = {"verdict": Verdict.UNINSPECTED, "cause": Cause.SKIPPED}
    yield Event(PartResult(station="label", seq=7, part_id="A-7", **scored), "reject", NOW_NS)
    yield Event(PartResult(station="label", seq=8, part_id="A-8", **late), "reject", NOW_NS + 1)
    for seq in range(200):
        moment_ns = NOW_NS + 1000 + seq
        if seq == 100:
            yield Event(PartResult(station="cap", seq=seq, **scored), "reject", moment_ns)
        else:
            yield Event(PartResult(station="cap", seq=seq, **passed_over), "ignore", moment_ns)


@pytest.fixture
def dashboard(
    make_line: Callable[..., Line], parts_folder: Path, small_bundle: Path
) -> Iterator[tuple[Line, httpx.Client]]:
    """The dashboard of a line that does not run, and a client of it."""
    line = make_line(watched_line(parts_folder, small_bundle))
    with EventStore.open(line.config.store.path / FILE_NAME) as store:
        store.record(list(recorded()), [], {})
    line.start("dashboard", str(line.path))
    with closing(client_of(line)) as client:
        yield line, client


def test_events_are_found_by_number_and_id_and_without_what_was_passed_over(dashboard: tuple[Line, httpx.Client]):
    _, client = dashboard

    def found(**asked: Any) -> list[tuple[str, int]]:
        answer = client.get("/api/v1/events", params=asked)
        assert answer.status_code == 200, answer.text
        return [(event["station"], event["seq"]) for event in answer.json()["events"]]

    assert found(part_id="A-8") == [("label", 8)]
    assert found(part_id="A-8", verdict="DEFECT") == []
    assert found(part_id="A") == [], "an id is the whole id"
    assert found(seq=7) == [("cap", 7), ("label", 7)]
    assert found(seq=7, station="label") == [("label", 7)]
    assert len(found(verdict="UNINSPECTED", limit=500)) == 200
    assert found(skipped=False) == [("cap", 100), ("label", 8), ("label", 7)]
    assert found(skipped=False, verdict="UNINSPECTED") == [("label", 8)]
    assert len(found(skipped=False, cause="skipped", limit=500)) == 199, "unless it is asked for"
    pages = client.get("/api/v1/events", params={"skipped": False, "limit": 2}).json()
    assert found(skipped=False, before=pages["older"]) == [("label", 7)]


@needs_program("chromium")
def test_the_list_begins_without_what_was_passed_over_and_is_searched_by_number_and_id(
    dashboard: tuple[Line, httpx.Client], page: Page
):
    line, _ = dashboard
    page.goto(f"{line.config.dashboard.url}/#/events")
    listed = page.locator(".event")
    expect(listed).to_have_count(3)
    page.get_by_label("Verdict").select_option(label="all but GOOD")
    expect(listed).to_have_count(60)
    page.get_by_label("Part", exact=True).fill("7")
    page.keyboard.press("Enter")
    expect(listed).to_have_count(2)
    page.get_by_label("Part", exact=True).fill("")
    page.get_by_label("Part id").fill(" A-8 ")
    page.keyboard.press("Enter")
    expect(listed).to_have_count(1)
    expect(page.locator(".event-detail .station-name")).to_have_text("label")
    expect(page.locator(".event-detail .seq")).to_have_text("#8")

    page.goto(f"{line.config.dashboard.url}/#/event/cap/41")
    expect(listed).to_have_count(1)
    expect(page.get_by_label("Part", exact=True)).to_have_value("41")
    expect(page.locator(".event-detail .verdict")).to_have_text("skipped")
