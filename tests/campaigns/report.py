"""What a campaign's command prints and writes: the table of its figures, and every violation with its seed."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable, Mapping

from conditions import conditions, report
from rich.table import Table


def write(
    name: str, title: str, command: str, begun_s: float, figures: Mapping[str, object], found: Iterable[str]
) -> int:
    """Print the figures and write them to benchmarks/results/campaigns_NAME.md; returns the exit code.

    Args:
        name: of the campaign.
        title: of the table.
        command: that repeats it, seed included.
        begun_s: when it began, of the monotonic clock.
        figures: what was counted.
        found: what was violated; none is wanted.
    """
    violated = list(found)
    table = Table("what", "count")
    for what, count in figures.items():
        table.add_row(what, f"{count:,}" if isinstance(count, int) else str(count))
    table.add_row("violations", str(len(violated)))
    ended = datetime.datetime.now(tz=datetime.UTC)
    machine = f"{conditions('pyzmq', 'msgspec', 'numpy')}; {time.monotonic() - begun_s:.0f} s, ended {ended:%H:%M} UTC"
    notes = [f"- {text}".replace("\n", "\n  ") for text in violated] or ["No violation."]
    report(f"campaigns_{name}", title, command, machine, table, *notes)
    return 1 if violated else 0
