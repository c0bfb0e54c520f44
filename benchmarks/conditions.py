"""What every benchmark says of the machine it ran on, and where its tables go."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def conditions(*packages: str) -> str:
    """Return date, processor, cores and versions in one line."""
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0))
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return f"{today}, {_processor()}, {cores} cores, Python {platform.python_version()}, {', '.join(versions)}"


def report(name: str, title: str, command: str, machine: str, table: Table, *notes: str) -> None:
    """Print the table and write it to results/NAME.md."""
    Console().print(table)
    for note in (machine, *notes):
        Console().print(note, highlight=False, soft_wrap=True)
    header = [str(column.header) for column in table.columns]
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (header, ["---"] * len(header), *rows)]
    RESULTS.mkdir(exist_ok=True)
    picture = [f"![{title}]({name}.png)"] if (RESULTS / f"{name}.png").exists() else []
    text = "\n\n".join([f"# {title}", f"`{command}`", machine, "\n".join(lines), *notes, *picture])
    (RESULTS / f"{name}.md").write_text(text + "\n")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
