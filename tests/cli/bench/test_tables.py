from __future__ import annotations

from typing import Any

from rich.console import Console

from stream.cli.bench.rate_search import Tried, sustained
from stream.cli.bench.report import BenchReport
from stream.cli.bench.tables import disturbed_text, latency_table, load_table, print_bench, sustained_text
from stream.cli.bench.trial import Trial


def trial(rate_hz: float, **fields: Any) -> Trial:
    values: dict[str, Any] = {
        "offered_hz": rate_hz,
        "achieved_hz": rate_hz,
        "parts": 1000,
        "late": 0,
        "kept": True,
        "total_ms": {"p50": 10.0, "p99": 20.0, "p999": 30.0},
        "overhead_ms": {"p50": 3.0, "p99": 5.0, "p999": 6.0},
        "cpu_percent": {"capture c0": 3.0, "capture c1": 4.0, "infer 0": 50.0, "sink": 5.0, "supervisor": 0.0},
        "uninspected": {},
        "dropped": {},
        "worker_mib": 125.0,
        "ledger_closed": True,
        "standstill_ms": 0.0,
        "steal_percent": 0.0,
        "others_percent": 1.0,
        "disturbed": False,
    }
    return Trial(**values | fields)


def report(*trials: Trial) -> BenchReport:
    found = sustained([Tried(one.offered_hz, one.kept, one.disturbed) for one in trials])
    return BenchReport(
        stations=2,
        cameras=1,
        deadline_ms=200.0,
        seconds=10.0,
        share=0.999,
        bank_patches=1176,
        tiles=1,
        machine={"cores": "2"},
        inspector_hz=200.0,
        sustained_hz=found and found.hz,
        sustained_low_hz=found and found.low_hz,
        sustained_high_hz=found and found.high_hz,
        trials=list(trials),
    )


def cells(table: Any) -> list[tuple[str, ...]]:
    return list(zip(*(column.cells for column in table.columns), strict=True))


def test_trials_at_one_rate_are_one_row_of_medians_and_of_sums():
    late = {"late": 40, "kept": False, "uninspected": {"timeout": 40}, "total_ms": {"p50": 90.0, "p99": 99.0}}
    found = report(
        trial(80), trial(40), trial(80, **late), trial(80, total_ms={"p50": 12.0, "p99": 22.0, "p999": 40.0})
    )
    first, second = cells(latency_table(found))
    assert first[:2] == ("40", "40.0")
    assert second[2:5] == ("12.0", "22.0", "35.0")
    assert second[-3:] == ("98.67%", "2 of 3", "timeout 40")


def test_the_processes_of_a_role_are_added_up_and_others_are_shown():
    (row,) = cells(load_table(report(trial(40, dropped={"overlay_pace": 3}))))
    assert row == ("40", "7", "50", "5", "0", "1", "125", "overlay_pace 3")


def test_a_trial_that_was_not_measured_leaves_its_cells_empty():
    nothing: dict[str, Any] = {"parts": 0, "total_ms": {}, "overhead_ms": {}, "cpu_percent": {}, "kept": False}
    found = report(trial(40, **nothing))
    assert cells(latency_table(found))[0][2:7] == ("-",) * 5
    assert cells(load_table(found))[0][1:7] == ("-",) * 6


def test_the_sustained_rate_has_its_spread():
    lost = [trial(107, kept=False), *(trial(114, kept=False) for _ in range(2))]
    found = report(trial(100), trial(107), trial(107), trial(114), *lost)
    assert sustained_text(found) == "107 parts/s (100 to 114), 54% of the inspector's 200.0"
    assert sustained_text(report(trial(10, kept=False), trial(10, kept=False))) == "none of these rates"


def test_a_standstill_of_the_machine_is_said():
    still = {"disturbed": True, "standstill_ms": 812.0, "steal_percent": 3.5}
    found = report(trial(40), trial(40, kept=False, **still), trial(40, disturbed=True, others_percent=70.0))
    assert disturbed_text(report(trial(40))) == "no trial"
    text = disturbed_text(found)
    assert text.startswith("2 of 3 trials, 1 of which failed")
    assert "the machine stood still for 812 ms (steal 3.5 %)" in text
    console = Console(width=200, record=True, quiet=False)
    with console.capture() as printed:
        print_bench(console, found)
    assert "stood still for 812 ms" in printed.get()
    assert "kept by 99.9 % of the parts" in printed.get()
