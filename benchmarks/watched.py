"""A line with a dashboard for browsers.py, and what is done to it while it runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from stream.cli.bench.trial import make_images
from stream.cli.bench.watch import running_roles
from stream.cli.trial_line import free_ports
from stream.core.images import read_image
from stream.core.parts import LedgerCounts
from stream.line.config import LineConfig

#: Browsers come and go at the beginning of a block; this does not count.
SETTLING_S = 6.0
WARM_UP_S = 15.0
SAMPLE_S = 5.0
ROLES = ("sink", "dashboard", "infer 0", "capture belt")
SCREENS = Path(__file__).with_name("screens.py")


class Plan(NamedTuple):
    """Minutes of comparing and of memory, seconds of a block, browsers that read, browsers that read nothing."""

    compare_minutes: float
    memory_minutes: float
    block_s: float
    reading: int
    silent: int


class Block(NamedTuple):
    """A time with browsers or without: from and to in real time, and the share of a core of each role."""

    watched: bool
    begun_ns: int
    ended_ns: int
    cpu_percent: dict[str, float]


class Sample(NamedTuple):
    """Resident memory of sink and dashboard, and how many connections the dashboard holds."""

    at_s: float
    sink_mib: float
    dashboard_mib: float
    connections: int


class Trial:
    """What is done to the line while it runs; called again and again by `run_trial`."""

    def __init__(self, config: LineConfig, plan: Plan) -> None:
        self._url = config.dashboard.url
        self._plan = plan
        self._announced = 0
        self._supervisor = 0
        self._screens: subprocess.Popen[str] | None = None
        self._steps = self._all_steps()
        self.blocks: list[Block] = []
        self.samples: list[Sample] = []
        self.seen: list[dict[str, Any]] = []

    def __call__(self, ledger: dict[str, LedgerCounts], supervisor: int) -> None:
        self._announced = sum(counts.announced for counts in ledger.values())
        self._supervisor = supervisor
        next(self._steps, None)

    def _all_steps(self) -> Iterator[None]:
        while not self._announced:
            yield
        yield from self._wait(WARM_UP_S)
        for _ in range(max(1, round(30 * self._plan.compare_minutes / self._plan.block_s))):
            yield from self._block(watched=False)
            self.start_screens()
            yield from self._block(watched=True)
            self.stop_screens()
        self.start_screens()
        begun_s = time.monotonic()
        while time.monotonic() < begun_s + 60 * self._plan.memory_minutes:
            self.samples.append(self._sample(time.monotonic() - begun_s))
            yield from self._wait(SAMPLE_S)
        self.stop_screens()
        os.kill(self._supervisor, signal.SIGTERM)

    def _wait(self, seconds: float) -> Iterator[None]:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            yield

    def _block(self, *, watched: bool) -> Iterator[None]:
        yield from self._wait(SETTLING_S)
        begun_ns, before = time.time_ns(), self._cpu_s()
        yield from self._wait(self._plan.block_s - SETTLING_S)
        ended_ns, after = time.time_ns(), self._cpu_s()
        used = {role: 100 * (after[role] - before[role]) * 1e9 / (ended_ns - begun_ns) for role in ROLES}
        self.blocks.append(Block(watched, begun_ns, ended_ns, used))

    def _cpu_s(self) -> dict[str, float]:
        return {role: sum(each.cpu_times()[:2]) for role, each in running_roles(self._supervisor).items()}

    def _sample(self, at_s: float) -> Sample:
        processes = running_roles(self._supervisor)
        sink_mib, dashboard_mib = (processes[role].memory_info().rss / 2**20 for role in ("sink", "dashboard"))
        connected = [
            connection for connection in processes["dashboard"].net_connections("tcp") if connection.status != "LISTEN"
        ]
        return Sample(at_s, sink_mib, dashboard_mib, len(connected))

    def start_screens(self) -> None:
        """Let the browsers come."""
        command = [sys.executable, SCREENS, self._url, str(self._plan.reading), str(self._plan.silent)]
        self._screens = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def stop_screens(self) -> None:
        """Send the browsers away, and keep what they saw; when there are any."""
        if self._screens is not None:
            output, _ = self._screens.communicate(timeout=30)
            self._screens = None
            self.seen.append(json.loads(output))


def write_line(folder: Path, bundle: Path, rate_hz: float) -> Path:
    """Write the configuration of a belt whose every sixteenth part has a stain: defects have pictures and alarms."""
    parts = make_images(folder / "parts")
    for path in sorted(parts.iterdir())[::16]:
        picture = np.ascontiguousarray(read_image(path)[..., ::-1])
        cv2.circle(picture, (150, 150), 40, (0, 0, 0), -1)
        cv2.imwrite(str(path), picture)
    belt = {"kind": "conveyor", "path": str(parts), "belt_px": [340, 340], "rate_hz": rate_hz, "parts": 10_000_000}
    station = {"camera": "belt", "bundle": str(bundle), "roi": [20, 20, 300, 300], "deadline_ms": 200}
    port = free_ports(8)
    data = {
        "line": "browsers",
        "cameras": {"belt": belt},
        "stations": {"top": station, "side": station},
        "store": {"path": str(folder / "events"), "record": "all"},
        "alarms": {"defect": {"cooldown_s": 600}},
        "metrics": {"listen": f"127.0.0.1:{port}"},
        "dashboard": {"listen": f"127.0.0.1:{port + 7}"},
    }
    path = folder / "line.yaml"
    path.write_text(json.dumps(data, indent=2))
    return path
