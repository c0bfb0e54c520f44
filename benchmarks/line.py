"""What does a whole line sustain, and what does it cost beside the inference itself?

`patchline bench` for one station and for four that share a backbone, with a camera each or one for
all: real processes, drawn parts, the highest rate at which 99.9 % of them are in time, searched and
repeated as README.md says. Writes results/line.md and the latencies over the rate as results/line.png.

With --profile one station runs at that rate, py-spy samples its processes, and results/line_profile.md
says which functions take how much of a core for each part.

    .venv/bin/python benchmarks/line.py [--seconds 10] [--deadline-ms 200] [--profile HZ]
"""

from __future__ import annotations

import argparse

import matplotlib.pyplot as plt
from conditions import RESULTS, conditions, report
from profiled import profile
from rich.console import Console
from rich.table import Table

from stream.cli.bench.report import BenchReport, run_bench
from stream.cli.bench.tables import disturbed_text, latency_table, load_table, sustained_text


def main() -> None:
    """Print a row for each rate and number of stations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--deadline-ms", type=float, default=200.0)
    parser.add_argument("--profile", type=float, metavar="HZ", help="profile one station at this rate, no search")
    options = parser.parse_args()
    machine = conditions("openvino", "pyzmq", "numpy", "patchline")
    if options.profile is not None:
        table, trial = profile(options.profile, options.seconds, options.deadline_ms)
        command = f"python benchmarks/line.py --profile {options.profile:g}"
        note = (
            "A function's time includes that of libraries it calls, not that of PatchLine's own functions. Samples are "
            "shares of what a process did, the kernel's counters say how much it did; waits are left out. "
            f"{trial.parts - trial.late} of {trial.parts} parts were in time; other processes used "
            f"{trial.others_percent:.0f} % of a core, the sampling among them."
        )
        report("line_profile", "Where a line's time goes", command, machine, table, note)
        return
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
        notes.append(
            f"{bench.stations} station(s) on {bench.cameras} camera(s) sustain {sustained_text(bench)} pictures/s "
            f"alone in a loop, measured just before; {100 * bench.share:g} % of the parts within "
            f"{bench.deadline_ms:g} ms, {bench.bank_patches:,} patches in each. Disturbed: {disturbed_text(bench)}."
        )
    draw(benches)
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
        trials = sorted((trial for trial in bench.trials if trial.kept), key=lambda trial: trial.offered_hz)
        for name, style in (("p50", "-"), ("p99", "--")):
            points = [(trial.offered_hz, trial.total_ms[name]) for trial in trials]
            label = f"{bench.stations} station(s), {bench.cameras} camera(s), {name}"
            axes.plot(*zip(*points, strict=True), style, marker="o", color=colour, label=label)
    axes.set(xlabel="parts per second, all stations", ylabel="exposure to decision, ms", ylim=(0, None))
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(RESULTS / "line.png", dpi=120)


if __name__ == "__main__":
    main()
