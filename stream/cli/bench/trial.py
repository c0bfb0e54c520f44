"""The bench: runs the real processes of a line with synthetic stations and measures what they sustain."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import psutil
from prometheus_client.parser import text_string_to_metric_families

from stream.cli.trial_line import free_ports, run_trial
from stream.core.images import read_image
from stream.core.parts import LedgerCounts
from stream.core.statistics import percentiles
from stream.core.verdict import Verdict
from stream.core.versions import library_versions
from stream.line.config import LineConfig, load
from stream.model.bundle import Bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.inspector import inspect
from stream.model.patchcore.preprocess import network_input
from stream.model.patchcore.search import MemoryBank, quickest_search
from stream.store.event_reader import FILE_NAME, EventReader
from stream.store.records import Event
from stream.training.fit import fit
from stream.training.fit_options import FitOptions
from stream.training.progress import Track, silent

#: Warm-up at every rate, before the parts that count.
WARM_UP_S = 2.0
#: Stages that inference without a line has, too; the rest of a part's time is the line's overhead.
INFERENCE = ("backbone", "search", "score")
#: Number of different images, which are repeated, and their edge.
_IMAGES, _IMAGE_PX = 64, 300
#: Images of the bundle's bank, and of its calibration.
_IN_BANK, _HELD_OUT = 150, 20


class Rate(msgspec.Struct, frozen=True):
    """The result of one rate.

    Attributes:
        offered_hz: parts per second over all stations.
        achieved_hz: verdicts per second that a worker gave.
        total_ms: exposure to decision, of the parts that a worker inspected: p50, p99, p999.
        overhead_ms: the same without backbone, search and score of the same part.
        cpu_percent: of one core, by role.
        uninspected: parts by cause.
        dropped: overlays, previews and the like that were dropped, by kind.
        worker_mib: memory of the workers that no other process shares.
        ledger_closed: whether every part announced has its verdict and event.
    """

    offered_hz: float
    achieved_hz: float
    total_ms: dict[str, float]
    overhead_ms: dict[str, float]
    cpu_percent: dict[str, float]
    uninspected: dict[str, int]
    dropped: dict[str, int]
    worker_mib: float
    ledger_closed: bool

    @property
    def kept(self) -> bool:
        """Whether nothing was late: each part was inspected by its deadline, as fast as they came."""
        return self.ledger_closed and not self.uninspected and self.achieved_hz >= 0.98 * self.offered_hz


def make_images(folder: Path, count: int = _IMAGES, size_px: tuple[int, int] | None = None) -> Path:
    """Write images of textured parts, (width, height), uncompressed: a camera delivers pixels, not PNG."""
    width_px, height_px = size_px or (_IMAGE_PX, _IMAGE_PX)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        random = np.random.default_rng(number)
        coarse = random.normal(128, 40, size=(24, 24, 3)).astype(np.float32)
        grain = random.normal(0, 6, size=(height_px, width_px, 3))
        image = cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_CUBIC) + grain
        cv2.imwrite(str(folder / f"{number:04}.bmp"), np.clip(image, 0, 255).astype(np.uint8))
    return folder


def make_bundle(folder: Path, track: Track = silent) -> Path:
    """Fit 150 drawn parts at 224 px with a 1 % coreset: 1,176 patches; raises PatchLineError."""
    count = _IN_BANK + _HELD_OUT
    options = FitOptions(calibration="split", holdout=_HELD_OUT / count, false_reject_rate=0.05)
    fit(make_images(folder / "good", count), folder / "bench.safetensors", options, track)
    return folder / "bench.safetensors"


def inspector_hz(bundle: Bundle, images: Path, seconds: float) -> float:
    """Return how many network inputs per second the inspector alone takes in a loop on this machine."""
    spec = bundle.info.spec
    extractor = load_extractor(spec, graph=bundle.graph)
    patches = bundle.info.grid[0] * bundle.info.grid[1]
    memory = MemoryBank(
        bundle.bank, quickest_search(bundle.bank, patches, device=extractor.device, lanes=extractor.lanes)
    )
    inputs = [network_input(read_image(path), spec.input_px)[None] for path in sorted(images.iterdir())]
    done, begun_s = 0, time.perf_counter()
    while True:
        inspect(extractor, memory, inputs[done % len(inputs)], bundle.scoring)
        done += 1
        if done == 20:  # the first ones allocate
            begun_s = time.perf_counter()
        elif done > 20 and time.perf_counter() - begun_s >= seconds:
            return (done - 20) / (time.perf_counter() - begun_s)


def run_rate(
    folder: Path,
    bundle: Path,
    images: Path,
    *,
    stations: int,
    cameras: int,
    rate_hz: float,
    seconds: float,
    deadline_ms: float,
    track: Callable[[int, int], None] = lambda _done, _total: None,
) -> Rate:
    """Run `patchline run` at one rate, from start to end, and read its result.

    Raises:
        LineFailed: the line ended with an error; the message ends with its log.
    """
    shutil.rmtree(folder, ignore_errors=True)
    parts = max(2, round(rate_hz / stations * (WARM_UP_S + seconds)))
    path = write_line(folder, bundle, images, stations, cameras, rate_hz / stations, parts, deadline_ms)
    config = load(path)
    watch = _Watch(config, parts * stations, track)
    run_trial(path, config, folder / "line.log", watch)
    return summarise(config, watch, rate_hz)


class _Watch:
    """Measures what only a running line shows, from the end of the warm-up to shortly before the end."""

    def __init__(self, config: LineConfig, total: int, track: Callable[[int, int], None]) -> None:
        self._config = config
        self._total = total
        self._track = track
        self._first_s: float | None = None
        self._begin: tuple[float, dict[str, float]] | None = None
        self._counted = False
        self.cpu_percent: dict[str, float] = {}
        self.dropped: dict[str, int] = {}
        self.worker_mib = 0.0

    def __call__(self, ledger: dict[str, LedgerCounts], supervisor: int) -> None:
        announced = sum(counts.announced for counts in ledger.values())
        self._track(min(announced, self._total), self._total)
        if announced and self._first_s is None:
            self._first_s = time.monotonic()
        if self._first_s is None or time.monotonic() - self._first_s < WARM_UP_S or announced >= self._total:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            processes = running_roles(supervisor)
            used = {role: sum(process.cpu_times()[:2]) for role, process in processes.items()}
            now_s = time.monotonic()
            if self._begin is None:
                self._begin = (now_s, used)
                # Once only: the kernel stops a process while it adds up its memory.
                workers = [process for role, process in processes.items() if role.startswith("infer")]
                self.worker_mib = sum(process.memory_full_info().uss for process in workers) / 2**20
            begun_s, before = self._begin
            if now_s - begun_s > 0.5 and used.keys() == before.keys():
                self.cpu_percent = {role: 100 * (used[role] - before[role]) / (now_s - begun_s) for role in used}
            if announced >= 0.9 * self._total and not self._counted:
                self._counted = True
                self.dropped = _dropped(self._config)


def summarise(config: LineConfig, watched: _Watch, rate_hz: float) -> Rate:
    """Read ledger and events of a line that has ended; the warm-up does not count, except for what was lost."""
    with EventReader.open(config.store.path / FILE_NAME) as store:
        ledger, events = store.ledger(), list(store.events())
    begun_ns = min(event.captured_realtime_ns for event in events) + int(WARM_UP_S * 1e9)
    counted = [event for event in events if event.captured_realtime_ns >= begun_ns and event.stages]
    inspected = [
        event for event in counted if event.part.verdict is not Verdict.UNINSPECTED and event.total_ms is not None
    ]
    ends_ns = [event.captured_realtime_ns + event.total_ms * 1e6 for event in inspected if event.total_ms is not None]
    window_s = (max(ends_ns) - min(ends_ns)) / 1e9 if len(ends_ns) > 1 else 0.0
    uninspected: dict[str, int] = {}
    for counts in ledger.values():
        for cause, count in counts.uninspected.items():
            uninspected[str(cause)] = uninspected.get(str(cause), 0) + count
    announced = sum(counts.announced for counts in ledger.values())
    return Rate(
        offered_hz=rate_hz,
        achieved_hz=(len(inspected) - 1) / window_s if window_s else 0.0,
        total_ms=_percentiles([event.total_ms for event in inspected if event.total_ms is not None]),
        overhead_ms=_percentiles([overhead_ms(event) for event in inspected]),
        cpu_percent=watched.cpu_percent,
        uninspected={cause: count for cause, count in uninspected.items() if count},
        dropped=watched.dropped,
        worker_mib=watched.worker_mib,
        ledger_closed=all(_closed(counts) for counts in ledger.values()) and len(events) == announced,
    )


def overhead_ms(event: Event) -> float:
    """Return the time of an inspected part without backbone, search and score, in ms."""
    assert event.total_ms is not None
    return event.total_ms - sum(event.stages[stage] for stage in INFERENCE)


def machine() -> dict[str, str]:
    """Return the properties of the machine that the numbers depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
        **library_versions(),
    }


def running_roles(supervisor: int) -> dict[str, psutil.Process]:
    """Return the running processes of a line by role; those of several cameras or workers get a number."""
    roles = {"supervisor": psutil.Process(supervisor)}
    for child in psutil.Process(supervisor).children():
        try:
            arguments = child.cmdline()
        except psutil.Error:
            continue
        role = next((word for word in arguments if word in ("capture", "infer", "sink", "dashboard")), None)
        if role:
            roles[role if role in ("sink", "dashboard") else f"{role} {arguments[-1]}"] = child
    return roles


def _dropped(config: LineConfig) -> dict[str, int]:
    """Return what the processes dropped to keep up, from their metrics pages."""
    dropped: dict[str, int] = {}
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this host needs no proxy
    for role in config.roles:
        address = config.metrics_address(role)
        assert address is not None
        try:
            with direct.open(f"http://{address[0]}:{address[1]}/metrics", timeout=2) as page:
                families = list(text_string_to_metric_families(page.read().decode()))
        except OSError:
            continue
        for family in families:
            for sample in family.samples:
                if sample.name == "patchline_dropped_total" and sample.value:
                    dropped[sample.labels["what"]] = dropped.get(sample.labels["what"], 0) + int(sample.value)
    return dropped


def write_line(
    folder: Path,
    bundle: Path,
    images: Path,
    stations: int,
    cameras: int,
    rate_hz: float,
    parts: int,
    deadline_ms: float,
) -> Path:
    """Write the configuration: stations shared out among the cameras, all in one worker; return its path."""
    # Relative paths in a configuration begin at its own folder, not where the command runs.
    folder, bundle, images = folder.absolute(), bundle.absolute(), images.absolute()
    belt = folder / "belt"
    belt.mkdir(parents=True)
    files = sorted(images.iterdir())
    for number in range(parts):
        (belt / f"{number:06}{files[0].suffix}").symlink_to(files[number % len(files)])
    station = {"bundle": str(bundle), "deadline_ms": deadline_ms}
    camera = {"kind": "folder", "path": str(belt), "rate_hz": rate_hz}
    data = {
        "line": "bench",
        "cameras": {f"c{number}": camera for number in range(cameras)},
        "stations": {f"s{number}": {"camera": f"c{number % cameras}", **station} for number in range(stations)},
        "store": {"path": str(folder / "events"), "record": "all"},
        "metrics": {"listen": f"127.0.0.1:{free_ports(cameras + 4)}"},
        "dashboard": {"enabled": False},
    }
    path = folder / "line.yaml"
    path.write_text(json.dumps(data, indent=2))
    return path


def _closed(counts: LedgerCounts) -> bool:
    return counts.closed and not counts.pending


def _percentiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return dict(zip(("p50", "p99", "p999"), percentiles(values, 50, 99, 99.9), strict=True))
