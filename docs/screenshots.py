"""Take a picture of every view of a running line's dashboard, as a screen and as a tablet held upright show it.

    python docs/screenshots.py URL FOLDER [--review GOOD] [--size 1920x1080] [--user NAME --password PASSWORD]

`--review` first gives the views something to show: it marks the newest DEFECT parts, false alarms those whose picture
is in the folder GOOD, offers a threshold and accepts the false alarms, and puts nothing live. The documentation's JPEGs
are made with the demo, when its first pass is over:

    patchline demo --dir demo
    python docs/screenshots.py http://127.0.0.1:8080 docs --review demo/elpv/test/good --docs

It needs Playwright, Pillow and the program chromium.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import ConsoleMessage, Page, sync_playwright

ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
SIZES = ["1280x800", "800x1280"]
#: What --docs writes: name, of which view, in which size.
DOCS = {
    "dashboard": ("line", "1280x800"),
    "dashboard-tall": ("line", "800x1280"),
    "dashboard-station": ("station", "1280x800"),
    "dashboard-events": ("events", "1280x800"),
    "dashboard-tune": ("tune", "1280x800"),
    "dashboard-alarms": ("alarms", "1280x800"),
}
#: Parts that --review marks, at most, of each kind; and how much higher the threshold is that it offers.
MARKED = 8
HIGHER = 1.03
ATTEMPTS = 60


def overflows(page: Page) -> list[str]:
    """Return what is cut at the right edge, or wider than its place."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll('body *')]
            .filter((e) => e.getClientRects().length && getComputedStyle(e).position !== 'absolute')
            .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 || e.scrollWidth > e.clientWidth + 1 &&
                e.clientWidth && !e.matches('input, select, canvas') && getComputedStyle(e).display !== 'inline')
            .map((e) => `${e.tagName}.${e.className} ${e.scrollWidth} > ${e.clientWidth}`)"""
    )
    return found


def with_a_defect(page: Page) -> bytes:
    """Return a picture of the page with a defect in its newest part, where it shows one and there is one soon."""
    shown = page.locator(".line-view .station, .station-view .station").first
    for _ in range(ATTEMPTS):
        picture = page.screenshot()
        if not shown.count() or "is-defect" in (shown.get_attribute("class") or ""):
            break
        shown.and_(page.locator(".is-defect")).wait_for()
    return picture


def api(page: Page, method: str, path: str, body: Any = None) -> Any:
    """Ask the dashboard as the person who is logged in; raises RuntimeError with its answer when it refuses."""
    answer = page.request.fetch(f"/api/v1/{path}", method=method, data=body, headers={"sec-fetch-site": "same-origin"})
    if not answer.ok:
        raise RuntimeError(f"{path}: {answer.status} {answer.text()}")
    return answer.json()


def review(page: Page, station: str, good: Path) -> None:
    """Mark events of a station, and offer one threshold and one acceptance."""
    harmless = {picture.name for picture in good.iterdir()}
    page_of_events = api(page, "GET", f"events?station={station}&verdict=DEFECT&limit=200")
    alarms = [event for event in page_of_events["events"] if event["part_id"] in harmless]
    defects = [event for event in page_of_events["events"] if event["part_id"] not in harmless]
    notes = {"false_alarm": "dark edge, cell is whole", "true_defect": ""}
    for mark, events in (("false_alarm", alarms), ("true_defect", defects)):
        for event in events[:MARKED]:
            api(page, "POST", f"events/{event['event_id']}/mark", {"mark": mark, "note": notes[mark]})
    threshold = api(page, "GET", f"stations/{station}/tuning")["threshold"] * HIGHER
    api(page, "POST", f"stations/{station}/threshold", {"threshold": threshold, "note": "fewer false alarms at night"})
    if not alarms:
        print("no false alarm among the newest events: nothing to accept")
        return
    asked = {"event_ids": [event["event_id"] for event in alarms[:MARKED]], "note": "dark edges are normal here"}
    job = api(page, "POST", f"stations/{station}/accept", asked)
    while job["state"] == "running":
        time.sleep(0.5)
        job = next(each for each in api(page, "GET", "jobs") if each["id"] == job["id"])
    print(f"accept: {job['state']} {job['error']}")


def views(page: Page, station: str) -> dict[str, Callable[[], None]]:
    """Every view, and how to get there."""

    def at(anchor: str, view: str) -> Callable[[], None]:
        def go() -> None:
            page.evaluate(f"location.hash = {json.dumps(anchor)}")
            page.wait_for_selector(f".{view}-view")

        return go

    def scrolled(selector: str) -> Callable[[], None]:
        return lambda: page.locator(selector).evaluate("(e) => e.scrollIntoView({block: 'start'})")

    def first_marked() -> None:
        at("#/events", "events")()
        page.wait_for_selector(".event")
        marked = page.locator(".event", has_text="False alarm").or_(page.locator(".event", has_text="True defect"))
        if marked.count():
            marked.first.click()

    return {
        "line": at("#/line", "line"),
        "station": at(f"#/station/{station}", "station"),
        "events": first_marked,
        "alarms": at("#/alarms", "alarms"),
        "audit": at("#/audit", "alarms"),
        "tune": at(f"#/tune/{station}", "tune"),
        "tune-strangest": scrolled(".strangest"),
        "tune-teach": scrolled("[aria-labelledby=tune-teach]"),
        "tune-changes": scrolled(".changes"),
    }


def enter(page: Page, options: argparse.Namespace, save: Callable[[str], None]) -> None:
    """Open the dashboard, and log in if it asks for that."""
    page.goto("/")
    if options.user:
        page.wait_for_selector("form.login")
        save("login")
        page.fill("#login-name", options.user)
        page.fill("#login-password", options.password)
        page.press("#login-password", "Enter")
    page.wait_for_selector(".line-view .station[data-seq]")


def take(page: Page, options: argparse.Namespace, size: str) -> None:
    """Write VIEW-SIZE.png for every view, or the documentation's JPEG files of this size."""

    def complain(message: ConsoleMessage) -> None:
        print("console:", message.text)

    def save(view: str) -> None:
        page.wait_for_timeout(1800)  # charts fill once a second
        if not options.docs:
            page.screenshot(path=options.folder / f"{view}-{size}.png")
        for name, wanted in DOCS.items():
            if options.docs and wanted == (view, size):
                picture = Image.open(io.BytesIO(with_a_defect(page))).convert("RGB")
                picture.save(options.folder / f"{name}.jpg", quality=80, optimize=True)
        for problem in overflows(page):
            print(f"{view}-{size}: {problem}")

    page.on("console", complain)
    page.on("response", lambda answer: answer.ok or print("refused:", answer.status, answer.url))
    page.on("pageerror", lambda error: print("error:", error))
    enter(page, options, save)
    station = page.locator(".station").first.get_attribute("data-station") or ""
    if options.review is not None:
        review(page, station, options.review)
        options.review = None
    for view, go in views(page, station).items():
        go()
        save(view)


def main() -> None:
    """Take the pictures that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--review", type=Path, metavar="GOOD", help="mark and offer; GOOD: a folder of the good parts")
    parser.add_argument("--docs", action="store_true", help="write the documentation's JPEG files and nothing else")
    parser.add_argument("--size", action="append", metavar="WIDTHxHEIGHT", help=f"default: {', '.join(SIZES)}")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=list(ARGUMENTS))
        for size in options.size or SIZES:
            width_px, height_px = map(int, size.split("x"))
            page = browser.new_page(base_url=options.url, viewport={"width": width_px, "height": height_px})
            take(page, options, size)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
