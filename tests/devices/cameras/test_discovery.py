from __future__ import annotations

from pathlib import Path

import pytest

from stream.devices.cameras.discovery import aravis, genicam, v4l2


def device(folder: Path, number: int, name: str, index: int) -> None:
    node = folder / f"video{number}"
    node.mkdir(parents=True)
    (node / "name").write_text(f"{name}\n")
    (node / "index").write_text(f"{index}\n")


def test_v4l2_cameras_are_listed_once_each_in_the_order_of_their_numbers(tmp_path: Path):
    device(tmp_path, 10, "Microscope", 0)
    device(tmp_path, 0, "Webcam: Webcam", 0)
    device(tmp_path, 1, "Webcam: Webcam", 1)  # the same camera's metadata
    look = v4l2(tmp_path)
    assert [(camera.name, camera.options) for camera in look.found] == [
        ("Webcam: Webcam", "device: /dev/video0"),
        ("Microscope", "device: /dev/video10"),
    ]
    assert look.remark is None


def test_a_host_without_cameras_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert v4l2(tmp_path / "none").remark == f"no device in {tmp_path / 'none'}"
    monkeypatch.delenv("GENICAM_GENTL64_PATH", raising=False)
    (look,) = genicam(None)
    assert str(look.remark).startswith("GENICAM_GENTL64_PATH is not set")
    monkeypatch.setenv("GENICAM_GENTL64_PATH", str(tmp_path))
    (look,) = genicam(None)
    assert str(look.remark).startswith(f"no .cti file in {tmp_path}")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert aravis().remark == "arv-tool-0.8 is not installed (optional)"


def tool(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "arv-tool-0.8"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_what_the_tool_of_aravis_sees_is_listed_as_it_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tool(tmp_path, "echo 'Basler-acA1300-21345678 (10.0.0.21)'", monkeypatch)
    assert [camera.name for camera in aravis().found] == ["Basler-acA1300-21345678 (10.0.0.21)"]


@pytest.mark.parametrize("script", ["echo 'No device found'", "exit 1", "true"])
def test_a_tool_of_aravis_that_finds_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str):
    tool(tmp_path, script, monkeypatch)
    look = aravis()
    assert look.found == []
    assert look.remark == f"{tmp_path / 'arv-tool-0.8'} finds no camera"
