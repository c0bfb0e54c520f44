"""What the sink makes of good parts that change."""

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


def drifts(bundle: Bundle, *names: str) -> DriftMonitor:
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


def result(station: str, bundle: str, **values: Any) -> Result:
    header = FrameHeader(
        station=station,
        seq=1,
        captured_ns=1,
        deadline_ns=2,
        mode="triggered",
        bundle_sha256=bundle,
        height_px=96,
        width_px=96,
        siblings=1,
        epoch="e",
        stamps=FrameStamps(1, 1, 1),
        clock=local_clock(),
    )
    stamps = ResultStamps(1, 1, 1, 1, 1, 1, 1)
    told = {"verdict": Verdict.GOOD, "score": 20.0, "brightness": 112.0, "focus": -0.2} | values
    return Result(frame=header, worker="worker0", stamps=stamps, clock=local_clock(), **told)


def shown(found: DriftMonitor, results: list[Result]) -> list[StationDrift]:
    compared = []
    for one in results:
        found.add(one)
        if drift := found.compare():
            compared.append(drift)
    return compared


def stream(bundle: Bundle, station: str, count: int, brighter: float = 0.0) -> list[Result]:
    """Good parts like those of the fit, only perhaps brighter."""
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
    compared = shown(drifts(bundle, "steady"), stream(bundle, "steady", 1_000))
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
    compared = shown(drifts(bundle, "lit"), stream(bundle, "lit", 150, brighter=5))
    assert compared[-1].drifting
    assert compared[-1].text.startswith(
        "good parts of lit are no longer like those of the calibration: brightness (PSI "
    )
    assert "focus" not in compared[-1].text


def test_people_see_how_full_the_window_is_then_how_far_each_quantity_is_and_which_have_changed(bundle: Bundle):
    found = drifts(bundle, "cap")
    assert found.state("cap") == DriftState(0, WINDOW)
    shown(found, stream(bundle, "cap", WINDOW - 1, brighter=5))
    assert found.state("cap") == DriftState(WINDOW - 1, WINDOW)
    shown(found, stream(bundle, "cap", 100, brighter=5))
    state = found.state("cap")
    assert (state.parts, state.drifting) == (WINDOW, ("brightness",))
    assert set(state.psi) == {"score", "brightness", "focus"}
    assert state.psi["brightness"] > 1 > state.psi["focus"]


def test_people_see_that_a_small_calibration_cannot_tell(bundle: Bundle):
    few = replace(bundle.info.reference, brightness_values=(), focus_values=())
    scores = bundle.calibration_scores[:2]
    found = drifts(bundle._replace(calibration_scores=scores, info=replace(bundle.info, reference=few)), "cap")
    shown(found, stream(bundle, "cap", 2 * WINDOW))
    assert found.state("cap") == DriftState(WINDOW, 0)


def test_parts_that_are_not_good_or_of_another_bundle_say_nothing(bundle: Bundle):
    found = drifts(bundle, "cap")
    others = [
        *[result("cap", bundle.sha256, verdict=Verdict.DEFECT, brightness=200.0)] * 100,
        *[result("cap", "another", brightness=200.0)] * 100,
        *[result("cap", bundle.sha256, score=None, brightness=None, focus=None)] * 100,
    ]
    assert shown(found, others) == []


def test_stations_take_turns(bundle: Bundle):
    found = drifts(bundle, "left", "right")
    for name in ("left", "right"):
        for one in stream(bundle, name, WINDOW):
            found.add(one)
    compared = [found.compare() for _ in range(3)]
    assert {drift.station for drift in compared if drift} == {"left", "right"}
    assert compared[2] is None


def test_the_scores_compared_with_are_cut_at_the_threshold_as_those_of_good_parts_are(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
):
    assert bundle.info.thresholds is not None
    scores = bundle.info.thresholds.image * np.linspace(0.9, 1.09, 20)
    with caplog.at_level(logging.INFO):
        drifts(bundle._replace(calibration_scores=scores), "cap")
    assert "drift of score is noticed from 2.1 standard deviations on: 11 reference values" in caplog.text


def test_a_bundle_with_too_few_scores_says_that_it_cannot_tell(bundle: Bundle, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        drifts(bundle._replace(calibration_scores=bundle.calibration_scores[:2]), "cap")
    assert "drift of score is noticed never (too few)" in caplog.text


def test_a_new_bundle_is_compared_with_as_soon_as_it_has_been_read(bundle: Bundle, small_bundle: Path):
    found = drifts(bundle, "cap")
    found.set_bundle("cap", bundle._replace(sha256="an older one"), WINDOW)
    found.reload("cap", small_bundle, WINDOW)
    for thread in [thread for thread in threading.enumerate() if thread.name == "drift"]:
        thread.join(30)
    found.compare()
    assert shown(found, stream(bundle, "cap", 150, brighter=5))[-1].drifting


def test_a_new_bundle_that_cannot_be_read_leaves_the_old_one(bundle: Bundle, tmp_path: Path):
    found = drifts(bundle, "cap")
    found.reload("cap", tmp_path / "absent.safetensors", WINDOW)
    for thread in [thread for thread in threading.enumerate() if thread.name == "drift"]:
        thread.join(30)
    assert shown(found, stream(bundle, "cap", 150, brighter=5))[-1].drifting
