from __future__ import annotations

import io

import pytest
from rich.console import Console

from stream.cli.replay.command import summary_table
from stream.cli.replay.compare import Summary
from stream.core.verdict import Verdict

NAMES = ("GOOD", "of them within spec", "DEFECT", "UNINSPECTED", "agree", "differ", "other bundle", "not judged")


@pytest.mark.parametrize("stations", [1, 3])
@pytest.mark.parametrize("width", [60, 80])
def test_every_count_of_a_replay_has_its_whole_name_on_a_narrow_terminal(width: int, stations: int):
    counts = [
        Summary(f"station-{number}", {Verdict.GOOD: 120, Verdict.DEFECT: 7}, 3, {"same": 126, "differs": 1})
        for number in range(stations)
    ]
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(summary_table(counts))
    shown = console.file.getvalue()
    for name in (*NAMES, "unknown", *(f"station-{number}" for number in range(stations))):
        assert name in shown
    assert shown.count("126") == stations
    assert "…" not in shown
