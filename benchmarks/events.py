"""How long a page of the event store takes with every filter and a million events; and what writing costs.

python benchmarks/events.py [--events 1000000] [--folder DIR]
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conditions import conditions, report
from rich.console import Console
from rich.table import Table

from stream.core.parts import PartResult
from stream.core.verdict import Cause, Verdict
from stream.sink.policy.latency import STAGES
from stream.store.event_reader import EventReader
from stream.store.event_store import EventStore
from stream.store.records import Event
from stream.store.search import Place

STATIONS = ("cap", "label", "level", "seal")
FREE_RUNNING = "seal"
CHUNK = 500
PAGE = 60
LIMIT_MS = 100.0
WHOLE = 1_000_000


def drawn_events(count: int) -> Iterator[Event]:
    """A long night: one defect in fifty, one timeout in five hundred, one rare cause in a hundred thousand.

    The free-running station passes over every other part.
    """
    dice = random.Random(0)
    begin_ns = 1_760_000_000 * 10**9
    for number in range(count):
        kind, station = dice.random(), STATIONS[number % len(STATIONS)]
        cause = Cause.BAD_FRAME if kind < 1e-5 else Cause.TIMEOUT if kind < 0.002 else None
        if cause is None and station == FREE_RUNNING and kind > 0.5:
            cause = Cause.SKIPPED
        verdict = Verdict.UNINSPECTED if cause else Verdict.DEFECT if kind < 0.022 else Verdict.GOOD
        yield Event(
            part=PartResult(
                station=station,
                seq=number // len(STATIONS),
                verdict=verdict,
                cause=cause,
                part_id="pallet-7" if number % 1000 == 7 else f"part-{number}",
                score=None if cause else 10 * kind,
                threshold=None if cause else 12.5,
            ),
            decision="pass" if verdict is Verdict.GOOD else "reject",
            captured_realtime_ns=begin_ns + number * 25_000_000 + dice.randrange(10**9),
            worker="worker0",
            bundle_sha256="ab" * 32,
            stages={stage: round(10 * dice.random(), 3) for stage in STAGES},
            total_ms=40.0,
        )


def fill(path: Path, count: int) -> float:
    """Write the events as the sink does, in transactions; returns microseconds for each."""
    store = EventStore.open(path)
    events, spent_s = drawn_events(count), 0.0
    while chunk := list(itertools.islice(events, CHUNK)):
        begun_s = time.perf_counter()
        store.record(chunk, [], {})
        spent_s += time.perf_counter() - begun_s
    store.close()
    return 1e6 * spent_s / count


def questions(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, filter): every combination that the dashboard offers, at the end and in the middle of the night."""
    begin_ns = 1_760_000_000 * 10**9
    middle_ns = begin_ns + count // 2 * 25_000_000
    windows = {"": {}, ", last night's hour": {"since_ns": middle_ns, "until_ns": middle_ns + 3_600 * 10**9}}
    whats: dict[str, dict[str, Any]] = {
        "all": {},
        "GOOD": {"verdicts": [Verdict.GOOD]},
        "DEFECT": {"verdicts": [Verdict.DEFECT]},
        "UNINSPECTED": {"verdicts": [Verdict.UNINSPECTED]},
        "all but GOOD": {"verdicts": [Verdict.DEFECT, Verdict.UNINSPECTED]},
        "all but GOOD and skipped": {"verdicts": [Verdict.DEFECT, Verdict.UNINSPECTED], "skipped": False},
        "timeout": {"cause": Cause.TIMEOUT},
        "bad_frame (rare)": {"cause": Cause.BAD_FRAME},
        "overrun (never)": {"cause": Cause.OVERRUN},
    }
    for what, station, window in itertools.product(whats, ("", FREE_RUNNING), windows):
        chosen = whats[what] | ({"station": station} if station else {}) | windows[window]
        yield f"{what}{f' of {station}' if station else ''}{window}", chosen
    for window, within in windows.items():
        yield f"one number of a station{window}", {"station": "cap", "seq": count // 8} | within
        yield f"one number{window}", {"seq": count // 8} | within
        yield f"one part id{window}", {"part_id": f"part-{count // 2}"} | within
        yield (
            f"one part id among all but GOOD and skipped{window}",
            ({"part_id": f"part-{count // 2}"} | whats["all but GOOD and skipped"] | within),
        )
    yield "a part id that comes a thousand times", {"part_id": "pallet-7"}
    yield "unknown part id", {"part_id": "none"}
    yield "unknown station", {"station": "none"}


def slowest_page_ms(store: EventStore, chosen: dict[str, Any]) -> float:
    """Return the slowest of the first page, pages deep in it, and the page before, in milliseconds."""
    slowest, before = 0.0, None
    for _ in range(5):
        begun_s = time.perf_counter()
        page = store.search(**chosen, before=before, limit=PAGE)
        slowest = max(slowest, time.perf_counter() - begun_s)
        if not page:
            break
        last = page[-1]
        assert last.event_id is not None
        begun_s = time.perf_counter()
        store.search(**chosen, after=Place(last.captured_realtime_ns, last.event_id), limit=PAGE)
        slowest = max(slowest, time.perf_counter() - begun_s)
        # Further down by a tenth of the rest, as a jump of the scroll bar.
        before = Place(last.captured_realtime_ns - last.captured_realtime_ns // 100_000, last.event_id)
    return 1e3 * slowest


def main() -> int:
    """Print a table, also to results/events.md when it is a million; exit code 1 when a page exceeds the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=WHOLE)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="patchline-events-"))
    try:
        path = folder / "events.sqlite"
        written_us = fill(path, options.events)
        store = EventReader.open(path)
        table = Table("filter", f"slowest page of {PAGE}, ms")
        worst_ms = 0.0
        for name, chosen in questions(options.events):
            took_ms = slowest_page_ms(store, chosen)
            worst_ms = max(worst_ms, took_ms)
            table.add_row(name, f"{took_ms:.2f}")
        store.close()
        size_mib = path.stat().st_size / 2**20
        machine = conditions("patchline")
        note = (
            f"{options.events} events without pictures, {size_mib:.0f} MiB, {written_us:.0f} µs to write each. "
            f"Slowest page of all: {worst_ms:.1f} ms; limit {LIMIT_MS:.0f} ms."
        )
        if options.events == WHOLE:
            report("events", "Paging through events", "python benchmarks/events.py", machine, table, note)
        else:
            Console().print(table, machine, note)
        return int(worst_ms > LIMIT_MS)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
