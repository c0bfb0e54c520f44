"""Tuning stations in a real browser, against a real line: one for all tests, with a station for each."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect
from support.dashboards import PASSWORD, USERS, client_of, log_in, watched_line
from support.programs import needs_program
from support.running import Line, station

from stream.core.verdict import Verdict
from stream.store.records import Event

#: Jobs give way to the line, and here to browser and other tests too.
pytestmark = [needs_program("chromium"), pytest.mark.timeout(900)]

STATIONS = ("cap", "label", "base")
#: Of a line that loads another bundle, or learns one beside everything else.
WORK_MS = 240_000


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, parts_folder: Path, small_bundle: Path) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("tuned")
    configuration = watched_line(parts_folder, small_bundle, users=USERS)
    configuration["cameras"]["top"] |= {"rate_hz": 5}
    configuration["stations"] = {
        name: station(Path(shutil.copy(small_bundle, folder / f"{name}.safetensors"))) for name in STATIONS
    }
    started = Line(folder / "line", configuration)
    started.start()
    try:
        client_of(started).close()
        yield started
    finally:
        started.kill_everything()


@pytest.fixture(scope="module")
def engineer(line: Line) -> Iterator[httpx.Client]:
    with closing(client_of(line)) as client:
        assert log_in(client, "engineer").status_code == 200
        yield client


def enter(page: Page, line: Line, name: str, view: str) -> None:
    page.goto(f"{line.config.dashboard.url}/#/{view}")
    page.fill("#login-name", name)
    page.fill("#login-password", PASSWORD)
    page.press("#login-password", "Enter")
    expect(page.locator("#person")).to_contain_text(name)


def judged(line: Line, name: str, part: str, bundle: str, after: int = -1) -> Event:
    """The first part of this name that a bundle has judged, in time, later than number `after`."""

    def found() -> Event | None:
        events = (event for event in line.events(name) if event.part.seq > after and event.bundle_sha256 == bundle)
        judged = (event for event in events if event.part.verdict is not Verdict.UNINSPECTED)
        return next((event for event in judged if event.part.part_id == f"{part}.png"), None)

    return line.wait_for(found, f"{part} at {name}, judged by {bundle[:12]}")


def present(engineer: httpx.Client, name: str) -> dict[str, Any]:
    """What the dashboard knows of a station's bundle and threshold."""
    known: dict[str, Any] = engineer.get(f"/api/v1/stations/{name}/tuning").raise_for_status().json()
    return known


def marked(engineer: httpx.Client, event: Event, mark: str) -> None:
    engineer.post(f"/api/v1/events/{event.event_id}/mark", json={"mark": mark, "note": ""}).raise_for_status()


def put_live(page: Page, change: Locator) -> None:
    change.get_by_role("button", name="Put live…").click()
    page.get_by_role("dialog").get_by_role("button", name="Put live").click()
    expect(change.locator(".state")).to_have_text("live", timeout=WORK_MS)


def test_a_false_alarm_that_is_accepted_into_good_passes_from_then_on_until_that_is_undone(
    line: Line, engineer: httpx.Client, page: Page
):
    before = present(engineer, "cap")["bundle_sha256"]
    alarm = judged(line, "cap", "part3", before)
    assert alarm.part.verdict is Verdict.DEFECT
    enter(page, line, "engineer", f"event/cap/{alarm.part.seq}")
    page.get_by_role("button", name="False alarm").click()
    page.get_by_role("link", name="Accept into good…").click()
    expect(page.locator(".reviewed input:checked")).to_have_value(str(alarm.event_id))
    page.get_by_role("button", name="Accept 1 part into good").click()

    change = page.locator(".change").first
    expect(change.locator(".state")).to_have_text("offered", timeout=WORK_MS)
    expect(change.locator(f"tr[data-event='{alarm.event_id}']")).to_have_class("better")
    assert present(engineer, "cap")["bundle_sha256"] == before, "what is offered judges nothing"
    put_live(page, change)
    expect(page.locator(".reviewed li")).to_contain_text("accepted")
    after = present(engineer, "cap")["bundle_sha256"]
    assert after != before
    passed = judged(line, "cap", "part3", after)
    assert passed.part.verdict is Verdict.GOOD

    change.get_by_role("button", name="Undo").click()
    expect(change.locator(".state")).to_have_text("undone", timeout=WORK_MS)
    assert judged(line, "cap", "part3", before, after=passed.part.seq).part.verdict is Verdict.DEFECT
    change.get_by_text("Log", exact=True).click()
    expect(change.locator(".log li")).to_have_count(3)


def test_a_threshold_moved_with_the_slider_decides_from_then_on_and_what_it_would_miss_is_said_before(
    line: Line, engineer: httpx.Client, page: Page
):
    before = present(engineer, "label")["bundle_sha256"]
    defect = judged(line, "label", "part7", before)
    assert defect.part.verdict is Verdict.DEFECT
    marked(engineer, defect, "true_defect")
    enter(page, line, "engineer", "tune/label")
    slider = page.get_by_role("slider")
    expect(slider).to_be_enabled()
    passing = page.locator(".measures tr", has_text="Reviewed defects")
    expect(passing.locator("td")).to_have_text(["0 of 1", "0 of 1", ""])
    apply = page.get_by_role("button", name="Apply…")
    expect(apply).to_be_disabled()
    slider.press("End")
    expect(passing.locator("td")).to_have_text(["0 of 1", "1 of 1", "+1"])

    apply.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("0 of 1 → 1 of 1")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(apply).to_be_focused()
    assert present(engineer, "label")["bundle_sha256"] == before
    page.keyboard.press("Enter")
    dialog.get_by_label("Note").fill("to see it pass")
    page.keyboard.press("Enter")
    expect(page.locator(".threshold .status")).to_contain_text("The threshold is", timeout=WORK_MS)

    known = present(engineer, "label")
    assert (known["by_hand"], known["bundle_sha256"] != before) == (True, True)
    passed = judged(line, "label", "part7", known["bundle_sha256"])
    assert (passed.part.verdict, passed.part.threshold) == (Verdict.GOOD, known["threshold"])
    change = page.locator(".change")
    expect(change).to_contain_text("to see it pass")
    change.get_by_text("before and after").click()
    expect(change.locator(f"tr[data-event='{defect.event_id}']")).to_contain_text("missed")

    change.get_by_role("button", name="Undo").click()
    expect(change.locator(".state")).to_have_text("undone", timeout=WORK_MS)
    expect(passing.locator("td")).to_have_text(["0 of 1", "0 of 1", ""])
    assert judged(line, "label", "part7", before, after=passed.part.seq).part.verdict is Verdict.DEFECT


def test_strange_good_pictures_are_shown_and_those_that_are_ticked_left_out(
    line: Line, engineer: httpx.Client, page: Page
):
    before = present(engineer, "cap")["bundle_sha256"]
    enter(page, line, "engineer", "tune/cap")
    section = page.get_by_role("region", name="Strange good pictures")
    cards = section.locator(".strange-picture")
    expect(cards).to_have_count(12)
    expect(cards.first.locator("img")).to_have_js_property("naturalWidth", 320)
    leave = section.get_by_role("button")
    expect(leave.first).to_be_disabled()
    name = str(cards.first.locator("input").get_attribute("value"))
    expect(cards.first).to_contain_text(f"1. {name}")
    cards.first.locator("input").check()
    section.get_by_label("Note").fill("a scratch")
    section.get_by_role("button", name="Leave out 1 picture and calibrate again").click()

    change = page.locator(".change").first
    expect(change.locator(".state")).to_have_text("offered", timeout=WORK_MS)
    expect(change).to_contain_text("Good pictures left out")
    expect(change).to_contain_text("a scratch")
    assert present(engineer, "cap")["bundle_sha256"] == before
    put_live(page, change)
    expect(cards.first).not_to_contain_text(name)
    change.get_by_role("button", name="Undo").click()
    expect(change.locator(".state")).to_have_text("undone", timeout=WORK_MS)
    expect(cards.first).to_contain_text(name)


def test_ten_marked_defects_are_learned_from_and_the_offer_shows_what_they_change(
    line: Line, engineer: httpx.Client, page: Page
):
    before = present(engineer, "cap")["bundle_sha256"]

    def defects() -> list[Event] | None:
        events = [event for event in line.events("cap") if event.part.verdict is Verdict.DEFECT]
        found = [event for event in events if event.part.part_id == "part7.png"]
        return found[:10] if len(found) >= 10 else None

    enter(page, line, "engineer", "tune/cap")
    section = page.get_by_role("region", name="Learn from marks")
    learn = section.get_by_role("button", name="Learn from marks")
    expect(learn).to_be_disabled()
    expect(section).to_contain_text("more defects are needed")
    for event in line.wait_for(defects, "ten defects", timeout_s=90):
        marked(engineer, event, "true_defect")
    page.reload()
    expect(section).to_contain_text("10 marked defects")
    learn.click()

    change = page.locator(".change").first
    expect(change).to_contain_text("Learned from marks", timeout=WORK_MS)
    expect(change.locator(".state")).to_have_text("offered")
    expect(change).to_contain_text("good pictures calibrate")
    expect(change).to_contain_text("Try as shadow first")
    expect(change).to_contain_text("reviewed parts: before and after")
    put_live(page, change)
    expect(section).to_contain_text("The live bundle has learned from 10 marked defects")
    change.get_by_role("button", name="Undo").click()
    expect(change.locator(".state")).to_have_text("undone", timeout=WORK_MS)
    assert present(engineer, "cap")["bundle_sha256"] == before


def test_a_station_taught_from_the_browser_judges_with_what_it_has_learned(
    line: Line, engineer: httpx.Client, page: Page
):
    before = present(engineer, "base")["bundle_sha256"]
    enter(page, line, "engineer", "tune/base")
    section = page.get_by_role("region", name="Teach again")
    teach, ask = section.get_by_role("button", name="Teach…"), page.get_by_role("dialog")

    section.get_by_label("Parts", exact=True).fill("2000")
    teach.click()
    expect(ask).to_contain_text("only good parts")
    ask.get_by_role("button", name="Teach").click()
    expect(section).to_contain_text(re.compile(r"[1-9]\d* of 2000"), timeout=WORK_MS)
    expect(teach).to_be_disabled()
    section.get_by_role("button", name="Stop").click()
    expect(section.get_by_role("status")).to_have_text("stopped")
    expect(page.locator(".change")).to_have_count(0)

    # The belt begins again after ten: more would be copies, which say nothing of parts never seen.
    section.get_by_label("Parts", exact=True).fill("10")
    section.get_by_label("Good parts rejected").fill("20")
    teach.click()
    ask.get_by_role("button", name="Teach").click()
    change = page.locator(".change")
    expect(change.locator(".state")).to_have_text("offered", timeout=WORK_MS)
    put_live(page, change)
    after = present(engineer, "base")["bundle_sha256"]
    assert after != before
    assert judged(line, "base", "part0", after).part.verdict is Verdict.GOOD


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_who_is_no_engineer_sees_the_numbers_and_nothing_that_changes_them(line: Line, page: Page, role: str):
    enter(page, line, role, "line")
    page.get_by_role("link", name="Tune").click()
    page.select_option("#tune-station", "label")
    expect(page.get_by_role("slider")).to_be_enabled()
    expect(page.locator(".threshold .legend")).to_be_visible()
    expect(page.locator("main button")).to_have_text(["Back to the present"])
    expect(page.locator("main input")).to_have_count(1)


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_who_is_no_engineer_is_refused_every_request_that_tunes(line: Line, engineer: httpx.Client, role: str):
    paths = engineer.get("/api/v1/openapi.json").json()["paths"]
    tuning = [path for path, methods in paths.items() if "tuning" in methods.get("post", {}).get("tags", [])]
    assert len(tuning) == 7, "accept, learn from marks, leave out, threshold, teach, a step of a change, a job's end"
    named = {"station": "cap", "number": "1", "step": "live"}
    with closing(client_of(line)) as client:
        assert log_in(client, role).status_code == 200
        for path in tuning:
            body = {"event_ids": [1], "names": ["good.png"], "threshold": 1.0, "parts": 2, "note": ""}
            answer = client.post(path.format(**named), json=body)
            assert answer.status_code == 403, f"{path}: {answer.text}"
