"""The trials of a bench as tables, a row for each rate, and its summary in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from statistics import median

from rich.console import Console
from rich.table import Table

from stream.cli.bench.report import BenchReport, disturbance_of
from stream.cli.bench.trial import Trial

_ROLES = ("capture", "infer", "sink", "supervisor")
#: Percentiles that the tables show, and their columns.
_TOTAL = {"p50": "p50", "p99": "p99", "p999": "p99.9"}
_OVERHEAD = {"p50": "overhead p50", "p99": "overhead p99"}


def print_bench(console: Console, report: BenchReport) -> None:
    """Print the trials and their summary."""
    console.print(latency_table(report))
    console.print(load_table(report))
    summary = Table(show_header=False)
    summary.add_row("sustained", sustained_text(report))
    best = report.sustained_hz
    if best and report.tiles > 1:
        summary.add_row("tiles", f"{best * report.tiles:.0f} tiles/s, {report.tiles} of each part")
    summary.add_row(
        "stations", f"{report.stations} on {report.cameras} camera(s), {report.bank_patches:,} patches in each bank"
    )
    summary.add_row("deadline", f"{report.deadline_ms:g} ms, kept by {100 * report.share:g} % of the parts")
    summary.add_row("disturbed", disturbed_text(report))
    summary.add_row("machine", ", ".join(f"{name} {value}" for name, value in report.machine.items()))
    console.print(summary)


def sustained_text(report: BenchReport) -> str:
    """Return the sustained rate with its spread and its share of the inspector's."""
    best = report.sustained_hz
    if best is None:
        return "none of these rates"
    return (
        f"{best:g} parts/s ({report.sustained_low_hz:g} to {report.sustained_high_hz:g}), "
        f"{best / report.inspector_hz:.0%} of the inspector's {report.inspector_hz:.1f}"
    )


def disturbed_text(report: BenchReport) -> str:
    """Return how the machine was disturbed: the worst trial, and how many failed ones did not count for it."""
    disturbed = [trial for trial in report.trials if trial.disturbed]
    if not disturbed:
        return "no trial"
    worst = max(disturbed, key=lambda trial: (trial.standstill_ms, trial.others_percent, trial.steal_percent))
    failed = sum(not trial.kept for trial in disturbed)
    return (
        f"{len(disturbed)} of {len(report.trials)} trials, {failed} of which failed; at {worst.offered_hz:g} parts/s "
        f"{disturbance_of(worst).text}"
    )


def latency_table(report: BenchReport) -> Table:
    """Return a row for each rate: parts per second over all stations, milliseconds, parts in time, by cause.

    Of several trials at one rate: the median, parts and causes of all together.
    """
    table = Table(title="parts/s over all stations, ms from exposure to decision", title_justify="left")
    for column in ("parts/s", "inspected", *_TOTAL.values(), *_OVERHEAD.values(), "in time", "trials kept"):
        table.add_column(column, justify="right")
    table.add_column("uninspected")
    for rate_hz, trials in _by_rate(report):
        parts, late = sum(trial.parts for trial in trials), sum(trial.late for trial in trials)
        table.add_row(
            f"{rate_hz:g}",
            f"{median(trial.achieved_hz for trial in trials):.1f}",
            *(_of_all(trials, lambda trial, name=name: trial.total_ms.get(name)) for name in _TOTAL),  # type: ignore[misc]
            *(_of_all(trials, lambda trial, name=name: trial.overhead_ms.get(name)) for name in _OVERHEAD),  # type: ignore[misc]
            f"{1 - late / parts:.2%}" if parts else "-",
            f"{sum(trial.kept for trial in trials)} of {len(trials)}",
            _counts(trial.uninspected for trial in trials),
        )
    return table


def load_table(report: BenchReport) -> Table:
    """Return a row for each rate: per cent of one core by role and by others, memory of the workers, dropped work."""
    table = Table(title="CPU in % of one core", title_justify="left")
    for column in ("parts/s", *_ROLES, "others", "worker MiB"):
        table.add_column(column, justify="right")
    table.add_column("dropped")
    for rate_hz, trials in _by_rate(report):
        measured = [trial for trial in trials if trial.cpu_percent]
        used = [_of_all(measured, lambda trial, role=role: _used(trial, role), "{:.0f}") for role in _ROLES]  # type: ignore[misc]
        table.add_row(
            f"{rate_hz:g}",
            *used,
            _of_all(measured, lambda trial: trial.others_percent, "{:.0f}"),
            _of_all(measured, lambda trial: trial.worker_mib, "{:.0f}"),
            _counts(trial.dropped for trial in trials),
        )
    return table


def _by_rate(report: BenchReport) -> list[tuple[float, list[Trial]]]:
    rates_hz = sorted({trial.offered_hz for trial in report.trials})
    return [(rate_hz, [trial for trial in report.trials if trial.offered_hz == rate_hz]) for rate_hz in rates_hz]


def _used(trial: Trial, role: str) -> float:
    return sum(cpu for name, cpu in trial.cpu_percent.items() if name.startswith(role))


def _of_all(trials: list[Trial], value: Callable[[Trial], float | None], shown: str = "{:.1f}") -> str:
    values = [found for trial in trials if (found := value(trial)) is not None]
    return shown.format(median(values)) if values else "-"


def _counts(counts: Iterable[dict[str, int]]) -> str:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return ", ".join(f"{name} {count}" for name, count in total.items()) or "none"
