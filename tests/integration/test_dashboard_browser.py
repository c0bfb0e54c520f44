"""The dashboard in a real browser, against a real line."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect
from support.dashboards import PASSWORD, PATIENCE_MS, USERS, client_of, watched_line
from support.programs import needs_program
from support.running import Line, free_ports

from stream.core.verdict import Verdict

pytestmark = needs_program("chromium")

MakeLine = Callable[..., Line]


#: What reaches beyond the right edge, unless it is in a table's own box that scrolls.
CUT = """[...document.querySelectorAll('body *')]
    .filter((e) => e.getClientRects().length && !e.closest('.wide-table > *, .part-strip > *, canvas, svg'))
    .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
    .map((e) => `${e.tagName}.${e.className} ${Math.round(e.getBoundingClientRect().right)}`)"""


def started(make_line: MakeLine, configuration: dict[str, Any]) -> Line:
    line = make_line(configuration)
    line.start()
    client_of(line).close()
    return line


def pixels(page: Page, selector: str) -> list[int]:
    """A few pixels of a canvas."""
    return page.locator(selector).first.evaluate(
        "c => Array.from(c.getContext('2d').getImageData(c.width / 4, c.height / 2, c.width / 2, 1).data)"
    )


def seq_of(page: Page, station: str) -> int:
    return int(page.locator(f".station[data-station={station}]").get_attribute("data-seq") or -1)


def test_pictures_move_on_the_line_and_on_a_tablet_held_upright_nothing_is_cut(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, page: Page
):
    line = started(make_line, watched_line(parts_folder, small_bundle))
    page.goto(line.config.dashboard.url)
    page.wait_for_selector(".station[data-station=cap][data-seq]")
    seen: set[tuple[int, ...]] = set()
    begun_s, first = time.monotonic(), seq_of(page, "cap")
    while len(seen) < 5 and time.monotonic() - begun_s < PATIENCE_MS / 1e3:
        seen.add(tuple(pixels(page, ".station[data-station=cap] canvas")))
        page.wait_for_timeout(50)
    assert len(seen) >= 5, "the picture changes"
    assert all(len(set(picture)) > 20 for picture in seen), "and is a picture"
    assert seq_of(page, "cap") > first
    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator(".peer.up")).to_have_count(3)
    expect(page.locator(".thumb img").first).to_be_visible()
    for width_px, height_px in ((1280, 800), (800, 1280), (390, 844)):
        page.set_viewport_size({"width": width_px, "height": height_px})
        for view in ("#/line", "#/station/cap", "#/events", "#/alarms", "#/tune/cap"):
            page.evaluate("hash => { location.hash = hash }", view)
            page.wait_for_selector("main h2, main .filters")
            inside = "document.documentElement.scrollWidth <= innerWidth && document.body.scrollHeight <= innerHeight"
            assert page.evaluate(inside), f"{view} fits {width_px}×{height_px}"
            assert page.evaluate(CUT) == [], f"{view} is whole at {width_px}×{height_px}"


def test_a_station_says_whether_its_good_parts_drift_once_enough_of_them_have_come(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, page: Page
):
    configuration = watched_line(parts_folder, small_bundle)
    configuration["cameras"]["top"] |= {"rate_hz": 20}
    configuration["stations"]["cap"] |= {"drift": {"window": 50}}
    configuration["stations"]["label"] |= {"drift": {"window": 5000}}
    line = started(make_line, configuration)
    page.goto(line.config.dashboard.url)
    drift = page.locator(".station[data-station=label] .drift")
    expect(drift).to_have_text(re.compile(r"^Drift \d+ of 5000 good parts $"))
    line.wait_for(lambda: line.metric("sink", "patchline_drift_psi", station="cap", what="brightness"), "comparison")
    page.locator(".station[data-station=cap] .station-name").click()
    figures = r"^Drift (steady|drifting) .*brightness \d+\.\d\d"
    expect(page.locator(".station-view .drift")).to_have_text(re.compile(figures))


def test_an_output_that_is_away_says_why_without_being_touched_and_a_station_shows_its_whole_ledger(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, page: Page
):
    configuration = watched_line(parts_folder, small_bundle)
    nobody = {"kind": "modbus", "host": "127.0.0.1", "port": free_ports(1), "coil": 1}
    configuration["actuators"] = configuration["actuators"] | {"arm": nobody}
    line = started(make_line, configuration)
    page.goto(line.config.dashboard.url)
    expect(page.locator("[data-peer='actuators/gate']")).to_have_text("●gate")
    expect(page.locator("[data-peer='actuators/arm']")).to_contain_text("coil 1: no connection")
    page.goto(f"{line.config.dashboard.url}/#/station/cap")
    shown = page.locator(".station-view .numbers dt")
    expect(shown).to_have_text(["parts/s", "p50 ms", "p99 ms", "parts", "good", "defect", "uninspected", "pending"])
    expect(page.locator(".station-view [data-name=defect] dd")).not_to_have_text("–")


def test_a_defect_is_among_the_events_within_a_second_of_its_verdict_and_shows_where_it_is(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, page: Page
):
    configuration = watched_line(parts_folder, small_bundle)
    configuration["cameras"]["top"] |= {"rate_hz": 4}
    line = started(make_line, configuration)
    page.goto(f"{line.config.dashboard.url}/#/events")
    page.wait_for_selector(".event.is-defect")
    before = page.locator(".event").first.get_attribute("data-event")
    page.wait_for_function(
        "before => document.querySelector('.event').dataset.event !== before", arg=before, polling=10
    )
    seen_s = time.time()
    station, seq = page.locator(".event").first.locator("span").nth(1).inner_text().split(" #")
    (event,) = (each for each in line.events(station) if each.part.seq == int(seq))
    assert event.part.verdict is Verdict.DEFECT
    assert event.total_ms is not None
    assert seen_s - (event.captured_realtime_ns / 1e9 + event.total_ms / 1e3) < 1.0

    page.locator(".event.is-defect").first.click()
    detail = page.locator(".event-detail")
    expect(detail.locator(".verdict")).to_have_text("DEFECT")
    expect(detail.locator(".links a")).to_have_count(2)
    expect(detail.locator(".facts")).to_contain_text("Strongest spot")
    with_heat = pixels(page, ".event-detail canvas")
    page.keyboard.press("o")
    assert pixels(page, ".event-detail canvas") != with_heat, "the heat map can be taken away"
    chosen = page.locator(".event[aria-selected=true]")
    before = chosen.get_attribute("data-event")
    page.keyboard.press("ArrowDown")
    expect(chosen).not_to_have_attribute("data-event", str(before))

    detail.get_by_label("note").fill("a hair")
    detail.get_by_role("button", name="False alarm").click()
    expect(page.locator(".event-mark", has_text="False alarm")).to_have_count(1)


def test_new_events_do_not_push_away_what_somebody_reads_further_down(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, page: Page
):
    line = started(make_line, watched_line(parts_folder, small_bundle))
    page.goto(f"{line.config.dashboard.url}/#/events")
    page.wait_for_function("() => document.querySelectorAll('.event').length > 25")
    read, before_px = page.evaluate(
        """() => {
            const list = document.querySelector('.event-list');
            list.scrollTop = 200;
            const row = [...list.children].find((each) => each.offsetTop > list.scrollTop);
            return [row.dataset.event, row.getBoundingClientRect().top];
        }"""
    )
    newest = page.locator(".event").first.get_attribute("data-event")
    page.wait_for_function("newest => document.querySelector('.event').dataset.event !== newest", arg=newest)
    after_px = page.evaluate(
        "read => document.querySelector(`[data-event='${read}']`).getBoundingClientRect().top", arg=read
    )
    assert abs(after_px - before_px) <= 1


def test_an_alarm_is_acknowledged_on_the_screen(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, page: Page
):
    line = started(make_line, watched_line(parts_folder, small_bundle))
    page.goto(f"{line.config.dashboard.url}/#/alarms")
    card = page.locator(".alarm-card", has_text="cap")
    card.get_by_role("button", name="Acknowledge").click()
    expect(card).to_contain_text("acknowledged by local")
    expect(page.locator("#alarms .alarm.seen")).to_have_count(1)
    page.get_by_role("link", name="Audit").click()
    expect(page.locator(".history")).to_contain_text("acknowledge")


def test_a_person_logs_in_and_sees_only_what_the_role_allows(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, page: Page
):
    line = started(make_line, watched_line(parts_folder, small_bundle, users=USERS))
    page.goto(f"{line.config.dashboard.url}/#/alarms")
    page.fill("#login-name", "viewer")
    page.fill("#login-password", "wrong")
    page.press("#login-password", "Enter")
    expect(page.get_by_role("alert").filter(has_text="name or password is wrong")).to_be_visible()
    page.fill("#login-password", PASSWORD)
    page.press("#login-password", "Enter")
    expect(page.locator("#person")).to_contain_text("viewer")
    expect(page.locator(".alarm-card").first).to_contain_text("not acknowledged")
    expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)
    expect(page.get_by_role("link", name="Audit")).to_have_count(0)
    assert page.evaluate("document.cookie") == "", "scripts cannot read the session"

    page.get_by_role("button", name="Log out").click()
    page.fill("#login-name", "operator")
    page.fill("#login-password", PASSWORD)
    page.press("#login-password", "Enter")
    expect(page.get_by_role("button", name="Acknowledge").first).to_be_visible()


def test_after_the_dashboard_has_died_the_screen_says_so_and_goes_on_by_itself(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, page: Page
):
    line = started(make_line, watched_line(parts_folder, small_bundle, users=USERS))
    page.goto(line.config.dashboard.url)
    page.fill("#login-name", "viewer")
    page.fill("#login-password", PASSWORD)
    page.press("#login-password", "Enter")
    page.wait_for_selector(".station[data-station=cap][data-seq]")
    os.kill(line.child("dashboard"), signal.SIGKILL)
    expect(page.locator("body")).to_have_class("stale")
    expect(page.locator("#link")).to_have_text("reconnecting")
    with closing(client_of(line)):
        expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("body")).not_to_have_class("stale")
    before = seq_of(page, "cap")
    page.wait_for_function(
        "b => Number(document.querySelector('.station[data-station=cap]').dataset.seq) > b", arg=before
    )


def test_while_the_sink_is_silent_old_pictures_do_not_look_like_the_present(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, page: Page
):
    line = started(make_line, watched_line(parts_folder, small_bundle))
    page.goto(line.config.dashboard.url)
    page.wait_for_selector(".station[data-station=cap][data-seq]")
    sink = line.child("sink")
    os.kill(sink, signal.SIGSTOP)
    try:
        expect(page.locator("#link")).to_have_text("no data from the line")
        expect(page.locator("body")).to_have_class("stale")
    finally:
        os.kill(sink, signal.SIGCONT)
    expect(page.locator("#link")).to_have_text("live")
