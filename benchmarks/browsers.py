"""Do twenty browsers cost the line anything, five of which read nothing?

A line of two stations on one camera, all events in the store, a dashboard beside it. First blocks without browsers and
with them in turn, so that the machine's moods meet both; then browsers all the time, for the memory. Latencies are
those of the event store, part for part; their intervals come from resampling stretches of ten seconds. The browsers
are screens.py, on the same machine, and give way.

    .venv/bin/python benchmarks/browsers.py [--compare-minutes 4] [--memory-minutes 10] [--clients 20] [--silent 5]

Writes results/browsers.md when neither time is shorter than that; exit code 1 then when a limit is exceeded.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from comparing import compare, slope
from conditions import conditions, report
from rich.console import Console
from rich.table import Table
from watched import ROLES, Block, Plan, Sample, Trial, write_line

from stream.cli.bench.trial import make_bundle
from stream.cli.trial_line import run_trial
from stream.core.verdict import Verdict
from stream.line.config import LineConfig, load
from stream.store.event_reader import FILE_NAME, EventReader
from stream.store.records import Event

COMPARE_MINUTES, MEMORY_MINUTES = 4.0, 10.0
#: What memory does in the first minute, when histories fill, does not count.
FILLING_S = 60.0
#: Of the sink's p99 with browsers to that without.
LIMIT_RATIO = 1.10
#: What sink and dashboard may grow by after the first minute, of themselves.
LIMIT_GROWN = 0.02


def events_of(config: LineConfig, blocks: list[Block]) -> dict[bool, list[Event]]:
    """Return the events of all blocks without and with browsers."""
    store = EventReader.open(config.store.path / FILE_NAME)
    try:
        events = list(store.events())
    finally:
        store.close()
    spans = {watched: [block for block in blocks if block.watched is watched] for watched in (False, True)}
    return {
        watched: [
            event
            for event in events
            if any(block.begun_ns <= event.captured_realtime_ns < block.ended_ns for block in spans[watched])
        ]
        for watched in spans
    }


def total_ms(event: Event) -> float:
    """Exposure to decision."""
    assert event.total_ms is not None
    return event.total_ms


def sink_ms(event: Event) -> float:
    """What the sink adds: from the worker's sending to the decision; its other work delays this one."""
    return event.stages["wire_out"] + event.stages["decide"]


def latency_rows(table: Table, events: dict[bool, list[Event]]) -> float:
    """Add a row for each percentile; returns the ratio of the sink's p99."""
    judged = {
        watched: [event for event in sink_events if event.part.verdict is not Verdict.UNINSPECTED]
        for watched, sink_events in events.items()
    }
    ratio = 0.0
    for name, take in (("exposure to decision", total_ms), ("sink", sink_ms)):
        for percent in (50, 99):
            without, watched = (
                [(event.captured_realtime_ns, take(event)) for event in judged[kind]] for kind in (False, True)
            )
            comparison = compare(without, watched, percent)
            table.add_row(f"{name}, p{percent}, ms", *map(str, comparison))
            ratio = comparison.ratio.value
    table.add_row("parts judged", *(str(len(judged[kind])) for kind in (False, True)), "")
    table.add_row("parts uninspected", *(str(len(events[kind]) - len(judged[kind])) for kind in (False, True)), "")
    return ratio


def cpu_rows(table: Table, blocks: list[Block]) -> None:
    """Add a row for each role."""
    for role in ROLES:
        without, watched = (
            float(np.mean([block.cpu_percent[role] for block in blocks if block.watched is kind]))
            for kind in (False, True)
        )
        table.add_row(f"{role.split()[0]}, % of a core", f"{without:.1f}", f"{watched:.1f}", f"{watched / without:.2f}")


def memory(samples: list[Sample], role: str, take: Callable[[Sample], float]) -> tuple[str, float]:
    """Return a sentence, and by which share the process grew after the first minute, as the straight line says."""
    counted = [sample for sample in samples if sample.at_s >= min(FILLING_S, samples[-1].at_s / 2)]
    first, last = take(counted[0]), take(counted[-1])
    rise = slope([sample.at_s / 60 for sample in counted], [take(sample) for sample in counted])
    minutes = (counted[-1].at_s - counted[0].at_s) / 60
    text = f"{role} {first:.1f} to {last:.1f} MiB, {rise.value:+.3f} ({rise.low:+.3f} to {rise.high:+.3f}) MiB/min"
    return text, rise.value * minutes / first


def seen_note(seen: list[dict[str, Any]], rate_hz: float) -> str:
    """Say what the browsers that read drew."""
    parts = [rate for each in seen for screen in each["drawn_hz"] for name, rate in screen.items() if name]
    if not parts:
        return "No browser read anything."
    states = [screen.get("", 0.0) for each in seen for screen in each["drawn_hz"]]
    return (
        f"Each browser that read drew {np.mean(parts):.1f} parts/s of each station (least {min(parts):.1f}, of "
        f"{rate_hz:g} that came) and {np.mean(states):.1f} states/s; connections lost: "
        f"{sum(each['lost'] for each in seen)}."
    )


def main() -> int:
    """Print a table with and without browsers; exit code 1 when sink or memory exceed their limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare-minutes", type=float, default=COMPARE_MINUTES, help="with and without browsers")
    parser.add_argument("--memory-minutes", type=float, default=MEMORY_MINUTES, help="with browsers all the time")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--silent", type=int, default=5, help="of these, that read nothing")
    parser.add_argument(
        "--rate", type=float, default=10.0, help="parts per second of the camera; two stations judge each"
    )
    parser.add_argument("--block-s", type=float, default=30.0)
    options = parser.parse_args()
    reading = options.clients - options.silent
    plan = Plan(options.compare_minutes, options.memory_minutes, options.block_s, reading, options.silent)
    with tempfile.TemporaryDirectory(prefix="patchline-browsers-") as scratch:
        folder = Path(scratch)
        config = load(write_line(folder, make_bundle(folder / "fit"), options.rate))
        trial = Trial(config, plan)
        try:
            run_trial(folder / "line.yaml", config, folder / "line.log", trial)
        finally:
            trial.stop_screens()
        events = events_of(config, trial.blocks)
    table = Table("", "no browsers", f"{options.clients} browsers", "ratio")
    ratio = latency_rows(table, events)
    cpu_rows(table, trial.blocks)
    sink, sink_grown = memory(trial.samples, "sink", lambda sample: sample.sink_mib)
    dashboard, dashboard_grown = memory(trial.samples, "dashboard", lambda sample: sample.dashboard_mib)
    kept = ratio <= LIMIT_RATIO and max(sink_grown, dashboard_grown) <= LIMIT_GROWN
    notes = (
        f"{options.clients} browsers, {options.silent} of which read nothing; {len(trial.blocks)} blocks of "
        f"{options.block_s:g} s, {options.rate:g} parts/s, two stations. In brackets 95 % intervals.",
        seen_note(trial.seen, options.rate),
        f"Memory in {options.memory_minutes:g} minutes with browsers, after the first: {sink}; {dashboard}. "
        f"Connections of the dashboard: {max(sample.connections for sample in trial.samples)} at most.",
        f"Limits: p99 of the sink {LIMIT_RATIO:g} of that without browsers, memory +{LIMIT_GROWN:.0%}: "
        f"{'kept' if kept else 'EXCEEDED'}.",
    )
    machine = conditions("fastapi", "uvicorn", "websockets", "pyzmq", "openvino", "patchline")
    if options.compare_minutes >= COMPARE_MINUTES and options.memory_minutes >= MEMORY_MINUTES:
        report("browsers", "Browsers beside the line", "python benchmarks/browsers.py", machine, table, *notes)
    else:
        Console().print(table, machine, *notes, sep="\n")
        return 0  # too short to judge
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
