"""What the tests with real processes share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from support.bundles import resaved
from support.dashboards import ARGUMENTS, PATIENCE_MS
from support.outputs import Broker, Plc, wait_for
from support.pictures import defective_picture, good_picture, write_picture
from support.running import Line

from stream.model.bundle import SelfTest, load_bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.inspector import inspect
from stream.model.patchcore.search import MemoryBank
from stream.model.patchcore.tiles import Tiling
from stream.sink.actuator_thread import ActuatorThread
from stream.training.fit import fit
from stream.training.fit_options import FitOptions


@pytest.fixture(scope="session")
def tiled_bundle(good_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the good pictures in 2×2 tiles, each with a bank of its own."""
    path = tmp_path_factory.mktemp("tiled") / "tiled.safetensors"
    fit(good_folder, path, FitOptions(size_px=96, coreset=0.05, tiling=Tiling(2, 2, overlap_px=32, own_banks=True)))
    return path


@pytest.fixture
def make_line(tmp_path: Path) -> Iterator[Callable[..., Line]]:
    """Make lines that are gone after the test, whatever happens in it."""
    lines: list[Line] = []

    def make(configuration: dict[str, Any], name: str = "line") -> Line:
        lines.append(Line(tmp_path / name, configuration))
        return lines[-1]

    yield make
    for line in lines:
        line.kill_everything()


@pytest.fixture(scope="session")
def parts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight good parts and two defective ones that no bundle has seen; part 3 and part 7 are defective."""
    folder = tmp_path_factory.mktemp("parts")
    for number in range(10):
        picture = defective_picture(900 + number) if number in (3, 7) else good_picture(900 + number)
        write_picture(folder / f"part{number}.png", picture)
    return folder


@pytest.fixture(scope="session")
def other_bundle(good_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another bank over the same features as the small bundle."""
    path = tmp_path_factory.mktemp("other") / "other.safetensors"
    fit(good_folder, path, FitOptions(size_px=96, coreset=0.05, seed=1))
    return path


@pytest.fixture(scope="session")
def slow_bundle(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose memory bank is so large that one thread searches it for about a tenth of a second."""
    bundle = load_bundle(small_bundle)
    copies = np.repeat(bundle.bank, 160_000 // len(bundle.bank), axis=0)
    noise = np.random.default_rng(0).normal(scale=1e-3, size=copies.shape)
    path = tmp_path_factory.mktemp("slow") / "slow.safetensors"
    bank, picture = (copies + noise).astype(np.float32), bundle.selftest.network_input
    (tested,) = inspect(
        load_extractor(bundle.info.spec),
        MemoryBank(bank),
        picture[None],
        bundle.scoring,
    )
    resaved(small_bundle, path, bank=bank, selftest=SelfTest(picture, tested.score))
    return path


@pytest.fixture
def start() -> Iterator[Callable[..., ActuatorThread]]:
    """Start actuator threads that end with the test."""
    threads: list[ActuatorThread] = []

    def begin(options: Any, *, connected: bool = True) -> ActuatorThread:
        thread = ActuatorThread("gate", options.open())
        thread.start()
        threads.append(thread)
        if connected:
            wait_for(lambda: thread.fault is None, f"connection: {thread.fault}")
        return thread

    yield begin
    for thread in threads:
        thread.end()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def modbus(tmp_path: Path) -> Iterator[Plc]:
    server = Plc(tmp_path, "modbus")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    server = Broker(tmp_path, tls=True)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(ARGUMENTS))
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tablet; a script's error, or a resource the policy forbids, fails the test."""
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    opened.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda said: problems.append(said.text) if "Content Security Policy" in said.text else None)
    yield opened
    opened.close()
    assert problems == []
