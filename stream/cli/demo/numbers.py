"""The demo's numbers: verdicts against labels, latencies, rejects."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from stream.core.statistics import auroc, percentiles
from stream.core.verdict import Verdict
from stream.line.config import LineConfig
from stream.model.bundle import Bundle, load_bundle
from stream.model.patchcore.calibrate import conformal_threshold
from stream.sink.policy.latency import STAGES
from stream.store.event_reader import FILE_NAME, EventReader
from stream.store.records import Event

#: Wanted false-reject rates for which misses are shown.
_CURVE_RATES = (0.005, 0.01, 0.02, 0.05)


def measure(config: LineConfig, station: str, *, total: int, broken: set[str]) -> dict[str, Any]:
    """Compare the first `total` parts of a station with the labels; later ones do not count.

    `broken` are the part ids of broken parts. `announced` and `pending` come from the ledger, all else from the events.
    """
    with EventReader.open(config.store.path / FILE_NAME) as store:
        counts, events = store.ledger()[station], [event for event in store.events() if event.part.seq < total]
    inspected = [event for event in events if event.part.verdict is not Verdict.UNINSPECTED]
    announced, pending = min(counts.next_seq, total), sum(seq < total for seq in counts.pending)
    return {
        "announced": announced,
        "good": sum(event.part.verdict is Verdict.GOOD for event in events),
        "defect": sum(event.part.verdict is Verdict.DEFECT for event in events),
        "uninspected": dict(Counter(str(event.part.cause) for event in events if event.part.cause is not None)),
        "pending": pending,
        "false_rejects": sum(e.part.verdict is Verdict.DEFECT and e.part.part_id not in broken for e in inspected),
        "misses": sum(e.part.verdict is Verdict.GOOD and e.part.part_id in broken for e in inspected),
        "good_parts": sum(event.part.part_id not in broken for event in events),
        "broken_parts": sum(event.part.part_id in broken for event in events),
        "image_auroc": auroc(
            np.array([event.part.part_id in broken for event in inspected]),
            np.array([event.part.score for event in inspected]),
        ),
        "curve": _curve(load_bundle(config.stations[station].bundle), inspected, broken),
        "latency_ms": _latencies(events),
        "rejects": _rejects(config, total),
        "ledger_closed": counts.closed and not pending and len(events) == announced == total,
    }


def _curve(bundle: Bundle, inspected: list[Event], broken: set[str]) -> list[dict[str, float]]:
    """Return misses and false rejects of the inspected parts at the thresholds of several wanted rates."""
    scores = {kind: [e.part.score for e in inspected if (e.part.part_id in broken) == kind] for kind in (False, True)}
    points = []
    for rate in _CURVE_RATES:
        threshold = conformal_threshold(bundle.calibration_scores, rate)
        points.append(
            {
                "wanted": rate,
                "threshold": threshold,
                "misses": sum(score is not None and score <= threshold for score in scores[True]),
                "false_rejects": sum(score is not None and score > threshold for score in scores[False]),
            }
        )
    return points


def print_numbers(console: Console, numbers: dict[str, Any], config: LineConfig) -> None:
    """Print the demo's tables and where to look further."""
    parts = Table(title="parts", title_justify="left")
    for column in ("", "GOOD", "DEFECT", "all"):
        parts.add_column(column, justify="right" if column else "left")
    good, broken = numbers["good_parts"], numbers["broken_parts"]
    parts.add_row(
        "good parts",
        str(numbers["good"] - numbers["misses"]),
        f"{numbers['false_rejects']} false rejects",
        str(good),
    )
    parts.add_row(
        "broken parts",
        f"{numbers['misses']} misses",
        str(numbers["defect"] - numbers["false_rejects"]),
        str(broken),
    )
    console.print(parts)
    curve = Table(title="had another false-reject rate been wanted", title_justify="left")
    for column in ("wanted", "threshold", "false rejects", "misses"):
        curve.add_column(column, justify="right")
    for point in numbers["curve"]:
        curve.add_row(
            f"{point['wanted']:.1%}",
            f"{point['threshold']:.2f}",
            f"{point['false_rejects']} of {good}",
            f"{point['misses']} of {broken}",
        )
    console.print(curve)
    latency = Table(title="milliseconds by stage", title_justify="left")
    for column in ("stage", "p50", "p99", "p99.9"):
        latency.add_column(column, justify="left" if column == "stage" else "right")
    for stage, values in numbers["latency_ms"].items():
        latency.add_row(
            stage,
            *(f"{values[name]:.1f}" for name in ("p50", "p99", "p999")),
            style="bold" if stage == "total" else "",
        )
    console.print(latency)
    area = "not defined" if numbers["image_auroc"] is None else f"{numbers['image_auroc']:.4f}"
    causes = ", ".join(f"{cause} {count}" for cause, count in numbers["uninspected"].items()) or "none"
    facts = Table(show_header=False)
    facts.add_row(
        "ledger closed",
        "yes" if numbers["ledger_closed"] else "NO",
        style="green" if numbers["ledger_closed"] else "red",
    )
    facts.add_row("uninspected", causes)
    facts.add_row(
        "rejects fired",
        f"{numbers['rejects']['fired']}, worst {numbers['rejects']['worst_ms']:.1f} ms after plan",
    )
    facts.add_row("image AUROC", area)
    facts.add_row("overlays", str(config.store.path / "overlays"))
    facts.add_row("event store", str(config.store.path / FILE_NAME))
    facts.add_row("rejects", str(config.store.path / "rejects.jsonl"))
    facts.add_row("log", str(config.store.path / "line.log"))
    facts.add_row("seconds", f"{numbers['seconds']:.1f}")
    console.print(facts)


def _latencies(events: list[Event]) -> dict[str, dict[str, float]]:
    columns = {"total": [event.total_ms for event in events if event.total_ms is not None]}
    columns |= {stage: [event.stages[stage] for event in events if stage in event.stages] for stage in STAGES}
    return {
        stage: {
            name: round(value, 3)
            for name, value in zip(("p50", "p99", "p999"), percentiles(values, 50, 99, 99.9), strict=True)
        }
        for stage, values in columns.items()
        if values
    }


class _Rejects(NamedTuple):
    fired: int
    worst_ms: float


def _rejects(config: LineConfig, total: int) -> dict[str, float]:
    path = config.store.path / "rejects.jsonl"
    pulses = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    errors = [pulse["error_ms"] for pulse in pulses if pulse["seq"] < total]
    return _Rejects(len(errors), max(errors, default=0.0))._asdict()
