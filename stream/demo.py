"""The demo: fit on good solar cells, run the real processes, compare the verdicts with the labels.

The pictures are ELPV, 2,624 electroluminescence photographs of solar cells with labels (Buerhop et
al. 2018; Deitsch et al. 2019; CC BY-NC-SA 4.0), which the package elpv-dataset carries.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import random
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from stream.config import LineConfig, load
from stream.errors import LineFailed, PatchLineError
from stream.fit import FitOptions, fit
from stream.line.latency import STAGES
from stream.line.ledger import Counts
from stream.messages import Verdict
from stream.records import Event
from stream.store import FILE_NAME, EventStore
from stream.terminal import print_fit, tracking
from stream.trial import free_ports, run_trial

TRAINING_PICTURES = 300
CALIBRATION_PICTURES = 100
STATION = "cell"


def run_demo(folder: Path, *, parts: int | None, rate_hz: float, report: Path | None, console: Console) -> None:
    """Run the whole demo in `folder`; raises PatchLineError when it cannot, or when the ledger does not close."""
    begun_s = time.monotonic()
    folder = folder.resolve()
    dataset = export_elpv(folder / "elpv")
    options = FitOptions(holdout=CALIBRATION_PICTURES / TRAINING_PICTURES)
    with tracking(Console(stderr=True)) as track:
        summary = fit(dataset / "train" / "good", folder / "cell.safetensors", options, track)
    print_fit(console, summary, folder / "cell.safetensors", track.seconds)
    path, config = write_configuration(folder, parts=parts, rate_hz=rate_hz)
    if importlib.util.find_spec("fastapi"):
        console.print(f"watch it at {config.dashboard.url}")
    run_line(path, config, _total(folder / "parts", parts))
    numbers = measure(config, broken={file.name for file in (dataset / "test" / "defect").iterdir()})
    numbers["seconds"] = round(time.monotonic() - begun_s, 1)
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(numbers, indent=2) + "\n")
    print_numbers(console, numbers, config)
    if not numbers["ledger_closed"]:
        raise LineFailed("the ledger did not close")


def export_elpv(target: Path) -> Path:
    """Lay out the monocrystalline cells as an MVTec-style data set, and the belt's parts beside it.

    Good cells (label 0) make `train/good` (300, chosen at random, seed 0) and `test/good`, broken ones
    (label 1.0) `test/defect`; cells of which the annotators were unsure are left out.

    Raises:
        PatchLineError: the package with the pictures is not installed.
    """
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise PatchLineError("the demo's pictures are not installed: pip install 'patchline[demo]'")
    data = Path(spec.origin).parent / "data"
    with (data / "labels.csv").open() as file:
        rows = [row for row in csv.reader(file, delimiter=" ", skipinitialspace=True) if row[2] == "mono"]
    good = [row[0] for row in rows if float(row[1]) == 0.0]
    broken = [row[0] for row in rows if float(row[1]) == 1.0]
    random.Random(0).shuffle(good)  # noqa: S311 - a split, not a secret
    shares = {
        target / "train" / "good": good[:TRAINING_PICTURES],
        target / "test" / "good": good[TRAINING_PICTURES:],
        target / "test" / "defect": broken,
        target.parent / "parts": good[TRAINING_PICTURES:] + broken,
    }
    for share, names in shares.items():
        shutil.rmtree(share, ignore_errors=True)
        share.mkdir(parents=True)
        for name in names:
            shutil.copyfile(data / name, share / Path(name).name)
    return target


def write_configuration(folder: Path, *, parts: int | None, rate_hz: float) -> tuple[Path, LineConfig]:
    """Write the demo's line for this folder, a copy of configs/demo.yaml with its paths and rate."""
    config = load(_configs() / "demo.yaml")
    store = folder / "line"
    shutil.rmtree(store, ignore_errors=True)
    data = config.model_dump(mode="json")
    data["cameras"]["belt"] |= {"path": str(folder / "parts"), "rate_hz": rate_hz, "parts": parts}
    data["stations"][STATION]["bundle"] = str(folder / "cell.safetensors")
    data["actuators"]["gate"]["path"] = str(store / "rejects.jsonl")
    data["store"]["path"] = str(store)
    data["metrics"]["listen"] = f"127.0.0.1:{free_ports(len(config.roles))}"
    path = folder / "line.yaml"
    path.write_text("# Written by `patchline demo` from configs/demo.yaml.\n" + json.dumps(data, indent=2) + "\n")
    return path, load(path)


def run_line(path: Path, config: LineConfig, total: int) -> None:
    """Run `patchline run` as a user would and show how far it is; raises LineFailed when it fails."""
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[verdicts]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("parts on the belt", total=total, verdicts="")

        def look(ledger: dict[str, Counts], _supervisor: int) -> None:
            if STATION in ledger:
                counts = ledger[STATION]
                progress.update(task, completed=counts.announced, verdicts=_verdicts(counts))

        run_trial(path, config, config.store.path / "line.log", look)


def measure(config: LineConfig, *, broken: set[str]) -> dict[str, Any]:
    """Compare the events with the labels; `broken` are the part ids of broken parts."""
    store = EventStore.read(config.store.path / FILE_NAME)
    try:
        counts, events = store.ledger()[STATION], list(store.events())
    finally:
        store.close()
    judged = [event for event in events if event.verdict is not Verdict.UNINSPECTED]
    return {
        "announced": counts.announced,
        "good": counts.good,
        "defect": counts.defect,
        "uninspected": {str(cause): count for cause, count in counts.uninspected.items()},
        "pending": len(counts.pending),
        "false_rejects": sum(e.verdict is Verdict.DEFECT and e.part_id not in broken for e in judged),
        "misses": sum(e.verdict is Verdict.GOOD and e.part_id in broken for e in judged),
        "good_parts": sum(event.part_id not in broken for event in events),
        "broken_parts": sum(event.part_id in broken for event in events),
        "image_auroc": _auroc(judged, broken),
        "latency_ms": _latencies(events),
        "rejects": _rejects(config),
        "ledger_closed": counts.closed and not counts.pending and len(events) == counts.announced,
    }


def print_numbers(console: Console, numbers: dict[str, Any], config: LineConfig) -> None:
    """Print the demo's tables and where to look further."""
    parts = Table(title="parts", title_justify="left")
    for column in ("", "judged GOOD", "judged DEFECT", "all"):
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
    auroc = "not defined" if numbers["image_auroc"] is None else f"{numbers['image_auroc']:.4f}"
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
    facts.add_row("image AUROC", auroc)
    facts.add_row("overlays", str(config.store.path / "overlays" / STATION))
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
            name: round(float(np.percentile(values, percent)), 3)
            for name, percent in (("p50", 50), ("p99", 99), ("p999", 99.9))
        }
        for stage, values in columns.items()
        if values
    }


def _auroc(judged: list[Event], broken: set[str]) -> float | None:
    from sklearn.metrics import roc_auc_score

    labels = [event.part_id in broken for event in judged]
    if len(set(labels)) < 2:
        return None
    return float(roc_auc_score(labels, [event.score for event in judged]))


class _Rejects(NamedTuple):
    fired: int
    worst_ms: float


def _rejects(config: LineConfig) -> dict[str, float]:
    path = config.store.path / "rejects.jsonl"
    errors = [json.loads(line)["error_ms"] for line in path.read_text().splitlines()] if path.exists() else []
    return _Rejects(len(errors), max(errors, default=0.0))._asdict()


def _verdicts(counts: Counts) -> str:
    return f"good {counts.good}  defect {counts.defect}  uninspected {sum(counts.uninspected.values())}"


def _total(folder: Path, parts: int | None) -> int:
    return parts if parts is not None else sum(1 for _ in folder.iterdir())


def _configs() -> Path:
    """Return the folder of the example configurations, in a checkout or inside the installed package."""
    package = Path(__file__).parent
    for folder in (package.parent / "configs", package / "configs"):
        if (folder / "demo.yaml").is_file():
            return folder
    raise PatchLineError("configs/demo.yaml is missing from this installation; install patchline again")
