"""`patchline bench`: trials at growing rates, their table and their JSON."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from stream.cli.bench.rate_search import next_rate_hz, sustained_hz
from stream.cli.bench.trial import Rate, inspector_hz, machine, make_bundle, make_images, run_rate
from stream.cli.terminal import tracking
from stream.core.errors import ConfigError
from stream.model.bundle import live_bundle

#: First rate of the search for the highest one: slow for a production line.
FIRST_HZ = 10.0
_ROLES = ("capture", "infer", "sink", "supervisor")


class BenchReport(msgspec.Struct, frozen=True):
    """The result of a bench.

    Attributes:
        stations, cameras, deadline_ms, seconds: the conditions of every trial.
        bank_patches: size of each station's memory bank.
        tiles: of each part; 1: the network takes it whole.
        machine: processor, cores and versions.
        inspector_hz: network inputs per second of the inspector alone in a loop, before the trials.
        sustained_hz: highest rate at which nothing was late, below every rate at which something was.
        rates: the trials in the order of their rates.
    """

    stations: int
    cameras: int
    deadline_ms: float
    seconds: float
    bank_patches: int
    tiles: int
    machine: dict[str, str]
    inspector_hz: float
    sustained_hz: float | None
    rates: list[Rate]


def run_bench(
    *,
    bundle: Path | None,
    stations: int,
    cameras: int | None,
    rates_hz: Sequence[float] | None,
    seconds: float,
    deadline_ms: float,
    console: Console,
) -> BenchReport:
    """Try rates, those given or growing ones until something is late; raises PatchLineError.

    Args:
        bundle: to inspect drawn images with; None: one is fitted on them.
        stations: number of stations; they share the rate.
        cameras: number of cameras that they share; None: each station has its own.
        rates_hz: parts per second over all stations; None: find the highest.
        seconds: of each trial, after the warm-up.
        deadline_ms: from exposure to verdict.
        console: for progress.
    """
    cameras = stations if cameras is None else cameras
    if cameras > stations:
        raise ConfigError(f"--cameras: {cameras} cameras need as many stations, there are {stations}")
    with tempfile.TemporaryDirectory(prefix="patchline-bench-") as scratch:
        folder = Path(scratch)
        if bundle is None:
            with tracking(console) as track:
                bundle = make_bundle(folder, track)
        loaded = live_bundle(bundle)
        images = make_images(folder / "images", size_px=loaded.info.picture_px)
        console.print("inspector alone …")
        alone_hz = inspector_hz(loaded, images, min(seconds, 5.0))
        trials: dict[float, Rate] = {}
        columns = (TextColumn("{task.description:<24}", markup=False), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=console) as progress:
            waiting = list(rates_hz or [])
            while (rate_hz := _next(trials, waiting, search=rates_hz is None)) is not None:
                task = progress.add_task(f"{rate_hz:g} parts/s", total=None)
                trials[rate_hz] = run_rate(
                    folder / "line",
                    bundle,
                    images,
                    stations=stations,
                    cameras=cameras,
                    rate_hz=rate_hz,
                    seconds=seconds,
                    deadline_ms=deadline_ms,
                    track=lambda done, total, task=task: progress.update(task, completed=done, total=total),  # type: ignore[misc]
                )
    return BenchReport(
        stations=stations,
        cameras=cameras,
        deadline_ms=deadline_ms,
        seconds=seconds,
        bank_patches=len(loaded.bank),
        tiles=1 if loaded.info.spec.tiles is None else loaded.info.spec.tiles.count,
        machine=machine(),
        inspector_hz=alone_hz,
        sustained_hz=sustained_hz({rate_hz: rate.kept for rate_hz, rate in trials.items()}),
        rates=[trials[rate_hz] for rate_hz in sorted(trials)],
    )


def _next(trials: dict[float, Rate], waiting: list[float], *, search: bool) -> float | None:
    if search:
        return next_rate_hz({rate_hz: rate.kept for rate_hz, rate in trials.items()}, FIRST_HZ)
    return waiting.pop(0) if waiting else None


def print_bench(console: Console, report: BenchReport) -> None:
    """Print the trials and their summary."""
    console.print(latency_table(report))
    console.print(load_table(report))
    best = report.sustained_hz
    share = "" if best is None else f", {best / report.inspector_hz:.0%} of the inspector's {report.inspector_hz:.1f}"
    summary = Table(show_header=False)
    summary.add_row("sustained", f"{best:g} parts/s{share}" if best else "none of these rates")
    if best and report.tiles > 1:
        summary.add_row("tiles", f"{best * report.tiles:.0f} tiles/s, {report.tiles} of each part")
    summary.add_row(
        "stations", f"{report.stations} on {report.cameras} camera(s), {report.bank_patches:,} patches in each bank"
    )
    summary.add_row("deadline", f"{report.deadline_ms:g} ms")
    summary.add_row("machine", ", ".join(f"{name} {value}" for name, value in report.machine.items()))
    console.print(summary)


def latency_table(report: BenchReport) -> Table:
    """Return the trials as a table: parts per second over all stations, milliseconds, parts by cause."""
    table = Table(title="parts/s over all stations, ms from exposure to decision", title_justify="left")
    for column in ("parts/s", "inspected", "p50", "p99", "p99.9", "overhead p50", "overhead p99", "kept"):
        table.add_column(column, justify="right")
    table.add_column("uninspected")
    for rate in report.rates:
        total, overhead = (
            [f"{values[name]:.1f}" if values else "-" for name in names]
            for values, names in ((rate.total_ms, ("p50", "p99", "p999")), (rate.overhead_ms, ("p50", "p99")))
        )
        kept = "yes" if rate.kept else "no"
        uninspected = _counts(rate.uninspected)
        table.add_row(f"{rate.offered_hz:g}", f"{rate.achieved_hz:.1f}", *total, *overhead, kept, uninspected)
    return table


def load_table(report: BenchReport) -> Table:
    """Return the cost of the trials as a table: per cent of one core by role, memory of the workers, dropped work."""
    table = Table(title="CPU in % of one core", title_justify="left")
    for column in ("parts/s", *_ROLES, "worker MiB"):
        table.add_column(column, justify="right")
    table.add_column("dropped")
    for rate in report.rates:
        used = [sum(cpu for role, cpu in rate.cpu_percent.items() if role.startswith(name)) for name in _ROLES]
        cells = [f"{cpu:.0f}" if rate.cpu_percent else "-" for cpu in used]
        table.add_row(f"{rate.offered_hz:g}", *cells, f"{rate.worker_mib:.0f}", _counts(rate.dropped))
    return table


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
