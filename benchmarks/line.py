"""What does a whole line sustain, and what does it cost beside the inference itself?

`patchline bench` for one station and for four that share a backbone, with a camera each or one for
all: real processes, drawn parts at
growing rates until something is late. Writes results/line.md and the latencies over the rate as
results/line.png.

    .venv/bin/python benchmarks/line.py [--seconds 10] [--deadline-ms 200]
"""

from __future__ import annotations

import argparse

import matplotlib.pyplot as plt
from conditions import RESULTS, conditions, report
from rich.console import Console
from rich.table import Table

from stream.cli.bench.report import BenchReport, latency_table, load_table, run_bench


def main() -> None:
    """Print a row for each rate and number of stations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--deadline-ms", type=float, default=200.0)
    options = parser.parse_args()
    benches = [
        run_bench(
            bundle=None,
            stations=stations,
            cameras=cameras,
            rates_hz=None,
            seconds=options.seconds,
            deadline_ms=options.deadline_ms,
            console=Console(stderr=True),
        )
        for stations, cameras in ((1, 1), (4, 4), (4, 1))
    ]
    notes = []
    table = joined(benches[0], Table("stations", "cameras"))
    for bench in benches:
        for row in rows(bench):
            table.add_row(str(bench.stations), str(bench.cameras), *row)
        best = bench.sustained_hz or 0.0
        notes.append(
            f"{bench.stations} station(s) on {bench.cameras} camera(s) sustain {best:g} parts/s, "
            f"{best / bench.inspector_hz:.0%} of the {bench.inspector_hz:.1f} pictures/s of the inspector alone in a "
            f"loop, measured just before; deadline {bench.deadline_ms:g} ms, {bench.bank_patches:,} patches in each."
        )
    draw(benches)
    machine = conditions("openvino", "pyzmq", "numpy", "patchline")
    report("line", "The whole line", "python benchmarks/line.py", machine, table, *notes)


def joined(bench: BenchReport, table: Table) -> Table:
    """Add the columns of both tables of a bench."""
    for column in [*latency_table(bench).columns, *load_table(bench).columns[1:]]:
        table.add_column(column.header)
    return table


def rows(bench: BenchReport) -> list[tuple[object, ...]]:
    """Return the rows of both tables of a bench, side by side."""
    columns = [*latency_table(bench).columns, *load_table(bench).columns[1:]]
    return list(zip(*(column.cells for column in columns), strict=True))


def draw(benches: list[BenchReport]) -> None:
    """Draw latency over the rate."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for bench, colour in zip(benches, ("tab:blue", "tab:orange", "tab:green"), strict=True):
        rates = [rate for rate in bench.rates if rate.kept]
        for name, style in (("p50", "-"), ("p99", "--")):
            points = [(rate.offered_hz, rate.total_ms[name]) for rate in rates]
            label = f"{bench.stations} station(s), {bench.cameras} camera(s), {name}"
            axes.plot(*zip(*points, strict=True), style, marker="o", color=colour, label=label)
    axes.set(xlabel="parts per second, all stations", ylabel="exposure to decision, ms", ylim=(0, None))
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(RESULTS / "line.png", dpi=120)


if __name__ == "__main__":
    main()
