"""The bench: runs the real processes of a line with synthetic stations and measures what they sustain."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np

from stream.cli.bench.rate_search import allowed_late
from stream.cli.bench.standstill import Probe
from stream.cli.bench.watch import COOL_DOWN_S, LOOK_S, WARM_UP_S, Watch
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
from stream.model.search_choice import quickest_bank
from stream.store.event_reader import FILE_NAME, EventReader
from stream.store.records import Event
from stream.training.fit import fit
from stream.training.fit_options import FitOptions
from stream.training.progress import Track, silent

#: Stages that inference without a line has, too; the rest of a part's time is the line's overhead.
INFERENCE = ("backbone", "search", "score")
#: Number of different images, which are repeated, and their edge.
_IMAGES, _IMAGE_PX = 64, 300
#: Share of the offered parts that must have come.
_FAST_ENOUGH = 0.98
#: Images of the bundle's bank, and of its calibration.
_IN_BANK, _HELD_OUT = 150, 20


class Trial(msgspec.Struct, frozen=True):
    """The result of one trial. All but `ledger_closed`, `dropped` and `worker_mib` is of the measured time only.

    Attributes:
        offered_hz: parts per second over all stations.
        achieved_hz: parts per second that a worker inspected.
        parts: exposed in the measured time.
        late: those of them that no worker had inspected by their deadline.
        kept: whether the rate was kept: enough parts in time, as fast as they were to come, and the ledger closed.
        total_ms: exposure to decision, of the parts that a worker inspected: p50, p99, p999.
        overhead_ms: the same without backbone, search and score of the same part.
        cpu_percent: of one core, by role.
        uninspected: parts by cause.
        dropped: overlays, previews and the like that were dropped, by kind.
        worker_mib: memory of the workers without what comes from files.
        ledger_closed: whether every part announced has its verdict and event.
        standstill_ms, steal_percent, others_percent: what disturbed the machine, see `Disturbance`.
        disturbed: whether that is so much that a failed trial says nothing.
    """

    offered_hz: float
    achieved_hz: float
    parts: int
    late: int
    kept: bool
    total_ms: dict[str, float]
    overhead_ms: dict[str, float]
    cpu_percent: dict[str, float]
    uninspected: dict[str, int]
    dropped: dict[str, int]
    worker_mib: float
    ledger_closed: bool
    standstill_ms: float
    steal_percent: float
    others_percent: float
    disturbed: bool


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
    memory = quickest_bank(bundle.bank, patches, device=extractor.device, lanes=extractor.lanes)
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
    share: float,
    track: Callable[[int, int], None] = lambda _done, _total: None,
) -> Trial:
    """Run `patchline run` at one rate, from start to end, and read its result.

    `share` of the parts exposed within `seconds`, after the warm-up, is to be in time.

    Raises:
        LineFailed: the line ended with an error; the message ends with its log.
    """
    shutil.rmtree(folder, ignore_errors=True)
    parts = max(2, round(rate_hz / stations * (WARM_UP_S + seconds + COOL_DOWN_S)))
    path = write_line(folder, bundle, images, stations, cameras, rate_hz / stations, parts, deadline_ms)
    config = load(path)
    watch, probe = Watch(config, parts * stations, seconds, track), Probe()
    probe.start()
    try:
        run_trial(path, config, folder / "line.log", watch, look_s=LOOK_S)
    finally:
        probe.end()
    return summarise(config, watch, probe, rate_hz=rate_hz, seconds=seconds, deadline_ms=deadline_ms, share=share)


def summarise(
    config: LineConfig,
    watched: Watch,
    probe: Probe,
    *,
    rate_hz: float,
    seconds: float,
    deadline_ms: float,
    share: float,
) -> Trial:
    """Read ledger and events of a line that has ended; warm-up and cool-down do not count, except for what was lost."""
    with EventReader.open(config.store.path / FILE_NAME) as store:
        ledger, events = store.ledger(), list(store.events())
    begun_ns = min(event.captured_realtime_ns for event in events) + int(WARM_UP_S * 1e9)
    ended_ns = begun_ns + int(seconds * 1e9)
    counted = [event for event in events if begun_ns <= event.captured_realtime_ns < ended_ns]
    inspected = [
        event
        for event in counted
        if event.part.verdict is not Verdict.UNINSPECTED and event.total_ms is not None and event.stages
    ]
    times_ms = [event.total_ms for event in inspected if event.total_ms is not None]
    late = len(counted) - sum(time_ms <= deadline_ms for time_ms in times_ms)
    causes = Counter(str(event.part.cause) for event in counted if event.part.verdict is Verdict.UNINSPECTED)
    announced = sum(counts.announced for counts in ledger.values())
    closed = all(_closed(counts) for counts in ledger.values()) and len(events) == announced
    disturbance = watched.disturbance(probe.standstill_ms(begun_ns, ended_ns))
    # At both ends of the measured time a part of each station may lie just outside.
    fast_enough = len(counted) + len(config.stations) >= _FAST_ENOUGH * rate_hz * seconds
    return Trial(
        offered_hz=rate_hz,
        achieved_hz=len(inspected) / seconds,
        parts=len(counted),
        late=late,
        kept=closed and fast_enough and late <= allowed_late(len(counted), share),
        total_ms=_percentiles(times_ms),
        overhead_ms=_percentiles([overhead_ms(event) for event in inspected]),
        cpu_percent=watched.cpu_percent,
        uninspected=dict(causes),
        dropped=watched.dropped,
        worker_mib=watched.worker_mib,
        ledger_closed=closed,
        standstill_ms=disturbance.standstill_ms,
        steal_percent=disturbance.steal_percent,
        others_percent=disturbance.others_percent,
        disturbed=disturbance.matters,
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
