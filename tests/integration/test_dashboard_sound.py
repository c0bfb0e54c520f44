"""The alarm's tone in a real browser: when it is heard, and what the page says when the browser keeps it silent."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect
from support.dashboards import client_of, watched_line
from support.programs import needs_program
from support.running import Line

pytestmark = needs_program("chromium")

MakeLine = Callable[..., Line]
#: The loudest sample within a little more than the time from one tone to the next.
LOUDEST = """async () => {
    const { sound } = await import("/lib/sound.js");
    const ear = new AnalyserNode(sound.context, { fftSize: 32768 });
    sound.output.connect(ear);
    const samples = new Float32Array(ear.fftSize);
    let loudest = 0;
    for (let i = 0; i < 18; i++) {
        await new Promise((done) => setTimeout(done, 200));
        ear.getFloatTimeDomainData(samples);
        loudest = Math.max(loudest, ...samples.map(Math.abs));
    }
    sound.output.disconnect(ear);
    return loudest;
}"""


def test_an_alarm_is_heard_until_somebody_has_seen_to_it(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, tmp_path: Path, page: Page
):
    good = tmp_path / "good"
    shutil.copytree(parts_folder, good)
    for number in (3, 7):
        shutil.copyfile(good / "part0.png", good / f"part{number}.png")
    line = make_line(watched_line(good, small_bundle))
    line.start()
    client_of(line).close()
    page.goto(f"{line.config.dashboard.url}/#/alarms")
    toggle = page.locator("#sound")
    expect(toggle).to_have_attribute("data-state", "off")
    expect(page.locator("#link")).to_have_text("live")
    toggle.focus()
    page.keyboard.press("Enter")
    expect(toggle).to_have_attribute("data-state", "quiet")
    assert page.evaluate(LOUDEST) == 0.0

    shutil.copyfile(parts_folder / "part3.png", tmp_path / "defective.png")
    (tmp_path / "defective.png").replace(good / "part3.png")
    expect(toggle).to_have_attribute("data-state", "sounding")
    assert page.evaluate(LOUDEST) > 0.1

    for station in ("cap", "label"):
        card = page.locator(".alarm-card", has_text=station)
        card.get_by_role("button", name="Acknowledge").click()
        expect(card).to_contain_text("acknowledged by local")
    expect(toggle).to_have_attribute("data-state", "quiet")
    assert page.evaluate(LOUDEST) == 0.0
    toggle.click()
    expect(toggle).to_have_attribute("data-state", "off")


def test_after_a_reload_the_page_says_that_the_browser_keeps_it_silent_until_somebody_touches_it(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, page: Page
):
    line = make_line(watched_line(parts_folder, small_bundle))
    line.start("dashboard", str(line.path))
    client_of(line).close()
    page.goto(line.config.dashboard.url)
    toggle = page.locator("#sound")
    toggle.click()
    expect(toggle).to_have_text("Sound on")
    page.reload()
    expect(toggle).to_have_text("Sound blocked by the browser: click")
    page.locator("main").click()
    expect(toggle).to_have_text("Sound on")
    page.reload()
    toggle.click()
    expect(toggle).to_have_text("Sound on")
    toggle.click()
    page.reload()
    expect(toggle).to_have_text("Sound off")
