"""A line runs for a long time; memory, descriptors, threads and disk of each process are read and must not grow.

Accelerated is the rate of parts, so that the minutes of a soak hold the parts of hours, and the store's retention,
which is set so low that it is reached before the readings begin. Everything else takes the time that it takes: hourly
work is done as often as there are hours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from campaigns.invariants import Violation
from campaigns.material import Material
from campaigns.observed import crashes
from campaigns.slopes import Slope, slope
from support.running import GATE, Line, belt, station

#: Growth that is none, an hour, beside the interval: a page more here and there, a file being rotated.
ALLOWED = {"memory, MiB": 6.0, "descriptors": 2.0, "threads": 1.0, "disk, MiB": 6.0, "log, MiB": 2.0}


class Soaked(NamedTuple):
    """What a soak came to: the slope of each figure of each process."""

    parts: int
    readings: int
    rate_hz: float
    slopes: dict[tuple[str, str], Slope]
    first_and_last: dict[tuple[str, str], tuple[float, float]]
    violations: list[Violation]


def grown(slopes: dict[tuple[str, str], Slope]) -> list[Violation]:
    """Return the figures that grow beyond their interval and beyond what is allowed."""
    return [
        Violation("growth", f"{figure} of {process}: {found} an hour")
        for (process, figure), found in slopes.items()
        if found.grows and found.low > ALLOWED[figure]
    ]


def configuration(material: Material, rate_hz: float) -> dict[str, Any]:
    """Return a line of two stations with everything that a day writes, kept small."""
    options = {"deadline_ms": 1_000, "reject": {"actuator": "gate", "transport_delay_ms": 1_200, "tolerance_ms": 100}}
    return {
        "cameras": {"top": belt(material.parts, parts=100_000_000, rate_hz=rate_hz)},
        "stations": {"cap": station(material.bundle, **options), "label": station(material.bundle, **options)},
        "actuators": GATE,
        "workers": [{"threads": 1}],
        "store": {"path": "store", "record": "all", "keep_events": 2_000, "overlays": 100},
        "restarts": {"limit": 0},
    }


def soak(
    folder: Path, material: Material, *, seconds: float, warm_up_s: float, rate_hz: float = 15.0, every_s: float = 2.0
) -> Soaked:
    """Run a line; after `warm_up_s` read every figure for `seconds`, once in `every_s`; stop it in order."""
    line = Line(folder, configuration(material, rate_hz))
    found: list[Violation] = []
    try:
        process = line.start()
        line.wait_for(lambda: line.announced("cap") > 20, "parts")
        roles = {"supervisor": psutil.Process(process.pid)}
        roles |= {role: psutil.Process(line.child(role)) for role in ("sink", "worker0", "capture-top")}
        time.sleep(warm_up_s)
        before = line.announced("cap")
        times_s, read = _readings(line, roles, seconds, every_s)
        parts = line.announced("cap") - before
        process.terminate()
        code = line.finish()
        if code != 0:
            found.append(Violation("exit", f"the line ended with {code}: {line.output()[-2_000:]}"))
        found += crashes(line.output())
        for name, counts in line.ledger().items():
            if not counts.closed or counts.pending:
                found.append(Violation("ledger", f"{name}: {counts.summary()}"))
    except (AssertionError, psutil.Error) as error:
        return Soaked(0, 0, rate_hz, {}, {}, [Violation("line", str(error)[:4_000])])
    finally:
        line.kill_everything()
    slopes = {key: slope(times_s, values) for key, values in read.items()}
    tenth = max(1, len(times_s) // 10)
    ends = {key: (sum(v[:tenth]) / tenth, sum(v[-tenth:]) / tenth) for key, v in read.items()}
    return Soaked(parts, len(times_s), rate_hz, slopes, ends, found + grown(slopes))


def _readings(
    line: Line, roles: dict[str, psutil.Process], seconds: float, every_s: float
) -> tuple[list[float], dict[tuple[str, str], list[float]]]:
    figures: dict[str, Callable[[psutil.Process], float]] = {
        "memory, MiB": lambda process: process.memory_info().rss / 2**20,
        "descriptors": lambda process: process.num_fds(),
        "threads": lambda process: process.num_threads(),
    }
    read: dict[tuple[str, str], list[float]] = {(role, figure): [] for role in roles for figure in figures}
    read |= {("line", "disk, MiB"): [], ("line", "log, MiB"): []}
    times_s: list[float] = []
    begun_s = time.monotonic()
    while (now_s := time.monotonic() - begun_s) < seconds:
        times_s.append(now_s)
        for role, process in roles.items():
            for figure, look in figures.items():
                read[role, figure].append(look(process))
        read["line", "disk, MiB"].append(_size_mib(line.config.store.path))
        read["line", "log, MiB"].append(line.log.stat().st_size / 2**20)
        time.sleep(max(0.0, every_s - (time.monotonic() - begun_s - now_s)))
    return times_s, read


def _size_mib(folder: Path) -> float:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except OSError:  # retention has just removed it
            continue
    return total / 2**20
