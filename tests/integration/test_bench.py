"""`patchline bench` drives a real line and says what it did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.running import complaint, patchline

from stream.cli.bench.trial import overhead_ms
from stream.core.parts import PartResult
from stream.core.verdict import Verdict
from stream.store.records import Event


def test_a_bench_reports_every_rate_with_a_ledger_that_closed(small_bundle: Path, tmp_path: Path):
    report = tmp_path / "bench.json"
    done = patchline(
        "bench", "--bundle", small_bundle, "--stations", 2, "--rates", "8,12", "--seconds", 2,
        "--deadline-ms", 2000, "--report", report,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "sustained" in done.stdout
    found = json.loads(report.read_text())
    # A busy machine may fail a trial, which is then repeated.
    assert list(dict.fromkeys(trial["offered_hz"] for trial in found["trials"])) == [8, 12]
    assert found["inspector_hz"] > 0
    assert found["sustained_hz"] in (None, 8, 12)
    for trial in found["trials"]:
        assert trial["ledger_closed"]
        assert trial["parts"] == pytest.approx(2 * trial["offered_hz"], abs=2), "warm-up and cool-down do not count"
        assert {"sink", "supervisor"} < set(trial["cpu_percent"])
        assert trial["worker_mib"] > 0
        assert 0 < trial["overhead_ms"]["p50"] < trial["total_ms"]["p50"] <= trial["total_ms"]["p99"]
        assert (trial["late"] == 0) == (trial["uninspected"] == {})


def test_the_overhead_of_a_part_is_what_inference_did_not_take():
    stages = {"capture": 0.5, "backbone": 4.0, "search": 2.0, "score": 0.25, "wire_in": 1.0}
    event = Event(
        part=PartResult(station="cap", seq=1, verdict=Verdict.GOOD),
        decision="pass",
        captured_realtime_ns=0,
        stages=stages,
        total_ms=9.0,
    )
    assert overhead_ms(event) == pytest.approx(2.75)


@pytest.mark.parametrize("rates", ["fast", "10,-5", "0"])
def test_rates_that_are_none_are_refused(rates: str):
    assert "--rates: expected parts per second" in complaint(patchline("bench", "--rates", rates))


def test_a_bundle_that_is_not_there_is_named(tmp_path: Path):
    line = complaint(patchline("bench", "--bundle", tmp_path / "absent.safetensors", "--rates", 5))
    assert "absent.safetensors" in line
