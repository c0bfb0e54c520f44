from __future__ import annotations

from pathlib import Path

import pytest

from stream.cli.bench.trial import make_images, write_line
from stream.line.config import load


def test_paths_given_relative_to_where_the_command_runs_lead_to_the_same_files_from_the_trial_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "images", 2, (8, 8))
    path = write_line(Path("scratch/line"), Path("models/cap.safetensors"), Path("images"), 2, 1, 5.0, 3, 200.0)
    line = load(path)
    assert {station.bundle for station in line.stations.values()} == {tmp_path / "models" / "cap.safetensors"}
    assert line.store.path == tmp_path / "scratch" / "line" / "events"
    (belt,) = [camera.path for camera in line.cameras.values() if camera.kind == "folder"]
    assert sorted(file.resolve() for file in belt.iterdir())[0] == tmp_path / "images" / "0000.bmp"
