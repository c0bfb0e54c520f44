"""Drift of good parts against the calibration, as the sink monitors it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from stream.core.clock import local_clock
from stream.core.verdict import Verdict
from stream.line.config import LineConfig
from stream.model.bundle import Bundle, load_bundle
from stream.sink.drift_monitor import DriftMonitor, StationDrift
from stream.transport.messages import DriftState, FrameHeader, FrameStamps, Result, ResultStamps

WINDOW = 50


@pytest.fixture
def bundle(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


def monitor_of(bundle: Bundle, *names: str) -> DriftMonitor:
    station = {"camera": "top", "bundle": "cap.safetensors", "drift": {"window": WINDOW}}
    config = LineConfig.model_validate(
        {
            "line": "test",
            "cameras": {"top": {"kind": "folder", "path": "."}},
            "stations": dict.fromkeys(names, station),
        },
        context={"folder": Path()},
    )
    return DriftMonitor(config, dict.fromkeys(names, bundle))


def result(station: str, bundle_sha256: str, **values: Any) -> Result:
    header = FrameHeader(
        station=station,
        seq=1,
        captured_ns=1,
        deadline_ns=2,
        mode="triggered",
        bundle_sha256=bundle_sha256,
        height_px=96,
        width_px=96,
        region_px=(96, 96),
        siblings=1,
        epoch="e",
        stamps=FrameStamps(1, 1, 1),
        clock=local_clock(),
    )
    stamps = ResultStamps(1, 1, 1, 1, 1, 1, 1)
    part_values = {"verdict": Verdict.GOOD, "score": 20.0, "brightness": 112.0, "focus": -0.2} | values
    return Result(frame=header, worker="worker0", stamps=stamps, clock=local_clock(), **part_values)


def shown(monitor: DriftMonitor, results: list[Result]) -> list[StationDrift]:
    compared = []
    for item in results:
        monitor.add(item)
        if drift := monitor.compare():
            compared.append(drift)
    return compared


def stream(bundle: Bundle, station: str, count: int, brighter: float = 0.0) -> list[Result]:
    """Good parts like those of the fit, brighter by `brighter`."""
    random, reference = np.random.default_rng(0), bundle.info.reference
    rows = random.integers(0, len(reference.brightness_values), count)
    return [
        result(
            station,
            bundle.sha256,
            score=float(random.choice(bundle.calibration_scores)),
            brightness=reference.brightness_values[row] + brighter,
            focus=reference.focus_values[row],
        )
        for row in rows
    ]


def test_parts_like_those_of_the_fit_do_not_drift_and_both_figures_are_metrics(bundle: Bundle):
    compared = shown(monitor_of(bundle, "steady"), stream(bundle, "steady", 1_000))
    assert len(compared) >= 90
    assert not any(drift.drifting for drift in compared)
    for what in ("score", "brightness", "focus"):
        labels = {"station": "steady", "what": what}
        psi, p_value = (REGISTRY.get_sample_value(f"patchline_drift_{name}", labels) for name in ("psi", "p_value"))
        assert psi is not None
        assert p_value is not None
        assert psi < 0.5
        assert p_value > 1e-4


def test_brighter_parts_drift_and_the_text_names_what(bundle: Bundle):
    compared = shown(monitor_of(bundle, "lit"), stream(bundle, "lit", 150, brighter=5))
    assert compared[-1].drifting
    assert compared[-1].text.startswith(
        "good parts of lit are no longer like those of the calibration: brightness (PSI "
    )
    assert "focus" not in compared[-1].text


def test_the_state_shows_how_full_the_window_is_then_the_psi_of_each_quantity_and_which_ones_drift(bundle: Bundle):
    monitor = monitor_of(bundle, "cap")
    assert monitor.state("cap") == DriftState(0, WINDOW)
    shown(monitor, stream(bundle, "cap", WINDOW - 1, brighter=5))
    assert monitor.state("cap") == DriftState(WINDOW - 1, WINDOW)
    shown(monitor, stream(bundle, "cap", 100, brighter=5))
    state = monitor.state("cap")
    assert (state.parts, state.drifting) == (WINDOW, ("brightness",))
    assert set(state.psi) == {"score", "brightness", "focus"}
    assert state.psi["brightness"] > 1 > state.psi["focus"]


def test_the_state_shows_that_a_calibration_is_too_small_to_detect_drift(bundle: Bundle):
    few = replace(bundle.info.reference, brightness_values=(), focus_values=())
    scores = bundle.calibration_scores[:2]
    monitor = monitor_of(bundle._replace(calibration_scores=scores, info=replace(bundle.info, reference=few)), "cap")
    shown(monitor, stream(bundle, "cap", 2 * WINDOW))
    assert monitor.state("cap") == DriftState(WINDOW, 0)


def test_parts_that_are_not_good_or_of_another_bundle_do_not_count(bundle: Bundle):
    monitor = monitor_of(bundle, "cap")
    others = [
        *[result("cap", bundle.sha256, verdict=Verdict.DEFECT, brightness=200.0)] * 100,
        *[result("cap", "another", brightness=200.0)] * 100,
        *[result("cap", bundle.sha256, score=None, brightness=None, focus=None)] * 100,
    ]
    assert shown(monitor, others) == []


def test_stations_take_turns(bundle: Bundle):
    monitor = monitor_of(bundle, "left", "right")
    for name in ("left", "right"):
        for item in stream(bundle, name, WINDOW):
            monitor.add(item)
    compared = [monitor.compare() for _ in range(3)]
    assert {drift.station for drift in compared if drift} == {"left", "right"}
    assert compared[2] is None


def test_the_scores_compared_with_are_cut_at_the_threshold_as_those_of_good_parts_are(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
):
    assert bundle.info.thresholds is not None
    scores = bundle.info.thresholds.image * np.linspace(0.9, 1.09, 20)
    with caplog.at_level(logging.INFO):
        monitor_of(bundle._replace(calibration_scores=scores), "cap")
    assert "drift of score is noticed from 2.1 standard deviations on: 11 reference values" in caplog.text


def test_a_bundle_with_too_few_scores_logs_that_drift_is_never_noticed(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO):
        monitor_of(bundle._replace(calibration_scores=bundle.calibration_scores[:2]), "cap")
    assert "drift of score is noticed never (too few)" in caplog.text


def test_a_new_bundle_is_compared_with_as_soon_as_it_has_been_read(bundle: Bundle, small_bundle: Path):
    monitor = monitor_of(bundle, "cap")
    monitor.set_bundle("cap", bundle._replace(sha256="an older one"), WINDOW)
    monitor.reload("cap", small_bundle, WINDOW)
    for thread in [thread for thread in threading.enumerate() if thread.name == "drift"]:
        thread.join(30)
    monitor.compare()
    assert shown(monitor, stream(bundle, "cap", 150, brighter=5))[-1].drifting


def test_a_new_bundle_that_cannot_be_read_leaves_the_old_one(bundle: Bundle, tmp_path: Path):
    monitor = monitor_of(bundle, "cap")
    monitor.reload("cap", tmp_path / "absent.safetensors", WINDOW)
    for thread in [thread for thread in threading.enumerate() if thread.name == "drift"]:
        thread.join(30)
    assert shown(monitor, stream(bundle, "cap", 150, brighter=5))[-1].drifting
