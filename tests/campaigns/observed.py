"""A line's record, read from where its processes and devices have left it: values for `invariants`."""

from __future__ import annotations

import bisect
import json
import os
import re
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
from campaigns.invariants import PartFacts, PulseFacts, Run, StationRecord, Violation, violations
from campaigns.material import DEFECTIVE, PARTS
from support.running import Line

_NUMBER = struct.Struct("<q")
_LATE = re.compile(r"late reject: (?P<station>\S+): part (?P<seq>\d+) ")


def taken_numbers(store: Path, camera: str) -> int:
    """Return how many numbers a camera's capture process has marked as used."""
    path = store / "state" / f"{camera}.seq"
    content = path.read_bytes() if path.exists() else b""
    if len(content) == _NUMBER.size:
        return int(_NUMBER.unpack(content)[0])
    return int(content.split()[0]) if content else 0


def present_run(store: Path, camera: str) -> Run | None:
    """Return the camera's present run, None before its first."""
    path = store / "state" / f"{camera}.run.json"
    if not path.exists():
        return None
    begun: dict[str, Any] = json.loads(path.read_text())
    return Run(begun["first_seq"], begun["origin_ns"])


def late_rejects(log: str, station: str) -> list[int]:
    """Return the numbers of the rejects that a log says were late."""
    return [int(found["seq"]) for found in _LATE.finditer(log) if found["station"] == station]


def unnamed_late_rejects(log: str, station: str) -> int:
    """Return how many late rejects of a station a log only counts, as repetitions of another line."""
    before = re.findall(rf"late reject: {re.escape(station)}: .*\((\d+) more like this before\)$", log, re.MULTILINE)
    after = re.findall(rf"(\d+) more like this: late reject: {re.escape(station)}: ", log)
    return sum(map(int, before + after))


def in_run(runs: Iterable[Run], seq: int) -> tuple[Run, int]:
    """Return the run to which a number belongs, and the part's place in it."""
    ordered = sorted(runs)
    run = ordered[max(0, bisect.bisect(ordered, seq, key=lambda run: run.first_seq) - 1)]
    return run, seq - run.first_seq


def on_belt(runs: Iterable[Run], rate_hz: float) -> tuple[Callable[[int], bool], Callable[[int], int]]:
    """Return what passes on a conveyor of `Material`: whether a number's part is defective, and its exposure in ns."""
    known = tuple(runs)

    def defective(seq: int) -> bool:
        return in_run(known, seq)[1] % PARTS in DEFECTIVE

    def exposed_ns(seq: int) -> int:
        run, place = in_run(known, seq)
        return run.origin_ns + round((place + 1) * 1e9 / rate_hz)

    return defective, exposed_ns


def record_of(line: Line, station: str, runs: Iterable[Run]) -> StationRecord:
    """Read the record of a station whose camera is a conveyor."""
    config = line.config
    options = config.stations[station]
    reject, camera = options.reject, config.cameras[options.camera]
    assert reject is not None
    assert reject.transport_delay_ms is not None
    assert camera.kind == "conveyor"
    defective, exposed_ns = on_belt(runs, camera.rate_hz)
    return StationRecord(
        station=station,
        taken=taken_numbers(config.store.path, options.camera),
        ledger=line.ledger().get(station),
        events=[
            PartFacts(event.part.seq, event.part.verdict, event.part.cause, event.part.score)
            for event in line.events(station)
        ],
        fired=[
            PulseFacts(pulse["seq"], pulse["planned_ns"], pulse["actual_ns"])
            for pulse in line.rejects()
            if pulse["station"] == station
        ],
        late=late_rejects(line.output(), station),
        late_unnamed=unnamed_late_rejects(line.output(), station),
        defective=defective,
        exposed_ns=exposed_ns,
        transport_ns=int(reject.transport_delay_ms * 1e6),
        tolerance_ns=int(reject.tolerance_ms * 1e6),
    )


def processes_of(line: Line) -> list[psutil.Process]:
    """Return every process that runs on the line's configuration, whoever its parent is."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and str(line.path) in process.cmdline():
                found.append(process)
        except psutil.Error:  # it has just ended
            continue
    return found


def crashes(log: str) -> list[Violation]:
    """Return the exceptions that a log has in full: nobody expected them."""
    starts = [found.start() for found in re.finditer("Traceback", log)]
    return [Violation("crash", log[start : start + 2_000].rpartition("\n")[0]) for start in starts]


def line_violations(line: Line, runs: dict[str, list[Run]]) -> list[Violation]:
    """Return what a line that has ended breaks; `runs` are those of each camera."""
    found: list[Violation] = []
    for name, station in line.config.stations.items():
        found += violations(record_of(line, name, runs[station.camera]))
    found += crashes(line.output())
    for process in processes_of(line):
        found.append(Violation("orphan", f"{process.pid}: {' '.join(process.cmdline())}"))
    return found
