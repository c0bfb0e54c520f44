from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from stream.cli.main import app
from stream.model.bundle import change_bundle, load_bundle

LINE = """
line: bottling
cameras: {top: {kind: folder, path: good, rate_hz: 1000}}
stations: {cap: {camera: top, bundle: cap.safetensors}}
store: {path: events}
"""


@pytest.fixture
def config(tmp_path: Path, good_folder: Path) -> Path:
    (tmp_path / "good").symlink_to(good_folder)
    path = tmp_path / "line.yaml"
    path.write_text(LINE)
    return path


def teach(config: Path, *arguments: str) -> str:
    command = ["teach", str(config), "top", "--parts", "6", "-o", str(config.parent / "new.safetensors"), *arguments]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "300"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_station_is_taught_as_its_live_bundle_was_made(config: Path, small_bundle: Path, tmp_path: Path):
    thresholds = msgspec.structs.replace(load_bundle(small_bundle).info.thresholds, false_reject_rate=0.3)
    live = change_bundle(small_bundle, tmp_path / "cap.safetensors", roi=(8, 8, 96, 96), thresholds=thresholds)
    assert f"learned like {tmp_path / 'cap.safetensors'}" in teach(config)
    taught = load_bundle(tmp_path / "new.safetensors").info
    assert (taught.spec, taught.roi, taught.coreset) == (live.info.spec, (8, 8, 96, 96), 0.05)
    assert taught.thresholds is not None
    assert taught.thresholds.false_reject_rate == 0.3


def test_options_that_are_given_take_precedence_over_the_live_bundle(config: Path, small_bundle: Path, tmp_path: Path):
    shutil.copy(small_bundle, tmp_path / "cap.safetensors")
    teach(config, "--size", "64", "--coreset", "0.1", "--false-reject-rate", "0.2")
    taught = load_bundle(tmp_path / "new.safetensors")
    assert (taught.info.spec.input_px, taught.info.coreset) == ((64, 64), 0.1)
    assert taught.info.thresholds is not None
    assert taught.info.thresholds.false_reject_rate == 0.2
    assert len(taught.calibration_scores) == 6


def test_a_station_without_a_bundle_is_taught_with_the_defaults_of_fit(config: Path, tmp_path: Path):
    said = teach(config, "--size", "64")
    assert f"no live bundle at {tmp_path / 'cap.safetensors'}: defaults of `fit`" in said
    taught = load_bundle(tmp_path / "new.safetensors").info
    assert (taught.spec.backbone, taught.spec.input_px, taught.coreset) == ("efficientnet_lite0", (64, 64), 0.01)
