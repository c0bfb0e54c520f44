"""Take a picture of every view of a running line's dashboard, on a tablet held either way.

    python docs/screenshots.py http://127.0.0.1:8080 FOLDER [--user NAME --password PASSWORD]

It needs Playwright and the program chromium.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
SIZES = {"wide": (1280, 800), "tall": (800, 1280)}


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


def main() -> None:
    """Write VIEW-SIZE.png for every view and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=list(ARGUMENTS))
        for size, (width_px, height_px) in SIZES.items():
            page = browser.new_page(viewport={"width": width_px, "height": height_px})
            page.on("console", lambda message: print("console:", message.text))
            page.on("pageerror", lambda error: print("error:", error))
            page.goto(options.url)
            if options.user:
                page.wait_for_selector("form.login")
                page.screenshot(path=options.folder / f"login-{size}.png")
                page.fill("#login-name", options.user)
                page.fill("#login-password", options.password)
                page.press("#login-password", "Enter")
            page.wait_for_selector(".line-view .station[data-seq]")
            first = page.locator(".station").first.get_attribute("data-station")
            views = {"line": "#/line", "station": f"#/station/{first}", "events": "#/events", "alarms": "#/alarms"}
            views["tune"] = f"#/tune/{first}"
            for view, anchor in views.items():
                page.evaluate(f"location.hash = {json.dumps(anchor)}")
                page.wait_for_selector(f".{view}-view")
                page.wait_for_timeout(1800)  # charts fill once a second
                page.screenshot(path=options.folder / f"{view}-{size}.png")
                for problem in overflows(page):
                    print(f"{view}-{size}: {problem}")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
