"""Every command that writes a result after long work refuses an unfit name for it before that work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.pictures import good_picture, write_picture
from typer.testing import CliRunner

from stream.cli.main import app
from stream.core.errors import BundleError, DiskError, PatchLineError
from stream.line.config import load
from stream.line.permissions import mend

LINE = """\
line: bottling
cameras:
  top: {kind: rtsp, url: "rtsp://127.0.0.1:1/none"}
stations:
  cap: {camera: top, bundle: cap.safetensors}
"""
STORED = """\
line: bottling
cameras: {top: {kind: folder, path: parts, record: {path: frames, keep: 5}}}
stations: {cap: {camera: top, bundle: cap.safetensors, reject: {actuator: gate, transport_delay_ms: 900}}}
actuators: {gate: {kind: log, path: events/rejects.jsonl}}

metrics: {listen: null}
"""
#: NOTHING: neither images nor a recording are there, which is found out later than an unfit NAME.
BUNDLES = (
    "fit NOTHING -o NAME",
    "fit NOTHING -o NAME --size auto --budget-ms 20",
    "teach CONFIG top -o NAME",
)
REPORTS = (
    "evaluate BUNDLE NOTHING --report NAME",
    "evaluate BUNDLE NOTHING --html NAME",
    "snapshot CONFIG top -o NAME",
    "demo --report NAME",
    "bench --report NAME",
    "replay NOTHING CONFIG --report NAME",
)
FOLDERS = (
    "fit NOTHING -o NOTHING --review NAME",
    "calibrate BUNDLE NOTHING --review NAME",
    "evaluate BUNDLE NOTHING --overlays NAME",
)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "line.yaml").write_text(LINE)
    monkeypatch.chdir(tmp_path)


def refusal(command: str, name: Path, bundle: Path) -> str:
    words = {"NAME": str(name), "BUNDLE": str(bundle), "CONFIG": "line.yaml", "NOTHING": "nothing"}
    with pytest.raises(PatchLineError) as error:
        CliRunner().invoke(app, [words.get(word, word) for word in command.split()], catch_exceptions=False)
    assert isinstance(error.value, DiskError), error.value
    return str(error.value)


def unfit(name: Path, kind: str) -> Path:
    if kind == "circle":
        name.symlink_to(name.name)
    elif kind == "folder":
        name.mkdir()
        (name / "file").touch()
    elif kind == "pipe":
        os.mkfifo(name)
    elif kind == "device":
        name.symlink_to("/dev/null")
    return name


@pytest.mark.parametrize("kind", ["circle", "folder", "pipe", "device"])
@pytest.mark.parametrize("command", BUNDLES)
def test_a_bundle_has_to_be_a_file(command: str, kind: str, tmp_path: Path, small_bundle: Path):
    name = unfit(tmp_path / "cap.safetensors", kind)
    assert refusal(command, name, small_bundle).startswith(f"{name}: cannot be written: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cap.safetensors", "line.yaml"]


@pytest.mark.parametrize("kind", ["circle", "folder"])
@pytest.mark.parametrize("command", REPORTS)
def test_a_report_has_to_be_a_file_or_a_stream(command: str, kind: str, tmp_path: Path, small_bundle: Path):
    name = unfit(tmp_path / ("top.png" if "snapshot" in command else "report.json"), kind)
    assert refusal(command, name, small_bundle).startswith(f"{name}: cannot be written: ")


@pytest.mark.parametrize("kind", ["circle", "folder", "pipe"])
@pytest.mark.parametrize("command", FOLDERS)
def test_a_folder_of_pictures_has_to_be_new(command: str, kind: str, tmp_path: Path, small_bundle: Path):
    name = unfit(tmp_path / "pictures", kind)
    assert refusal(command, name, small_bundle).startswith(f"{name}: ")


def test_a_bundle_that_is_replaced_is_no_pipe(tmp_path: Path):
    os.mkfifo(tmp_path / "cap.safetensors")
    with pytest.raises(BundleError, match=r"cap\.safetensors: not a file"):
        CliRunner().invoke(app, ["calibrate", "cap.safetensors", "nothing"], catch_exceptions=False)


@pytest.mark.skipif(os.getuid() == 0, reason="root writes everywhere")
def test_a_bundle_in_a_folder_that_cannot_be_written_is_not_calibrated(tmp_path: Path, small_bundle: Path):
    (tmp_path / "locked").mkdir()
    bundle = Path(shutil.copy(small_bundle, tmp_path / "locked" / "cap.safetensors"))
    bundle.parent.chmod(0o500)
    assert "Permission denied" in refusal("calibrate BUNDLE NOTHING", bundle, bundle)


@pytest.mark.parametrize("command", ["check line.yaml", "snapshot line.yaml top -o top.png", "actuate line.yaml gate"])
def test_what_a_command_makes_of_a_line_has_the_rights_of_the_store(
    command: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "parts").mkdir()
    write_picture(tmp_path / "parts" / "1.png", good_picture(1))
    if "snapshot" in command:  # makes no folders, only a lock in them
        for folder in (tmp_path / "events", tmp_path / "events" / "state"):
            folder.mkdir()
            folder.chmod(0o750)
    (tmp_path / "line.yaml").write_text(STORED)
    before = os.umask(0o022)
    try:
        CliRunner().invoke(app, command.split())
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    made = {"check": ".", "snapshot": "state/capture-top.lock", "actuate": "rejects.jsonl"}[
        command.split(maxsplit=1)[0]
    ]
    assert (tmp_path / "events" / made).exists()
    mend(load(tmp_path / "line.yaml"))
    assert caplog.messages == []
