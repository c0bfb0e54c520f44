"""A line whose folders cannot be written says so in one line before anything starts."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from stream.core.errors import ConfigError, DiskError
from stream.line.config import LineConfig, parse, sockets_folder
from stream.line.folders import check_folders

LINE = """
line: test
cameras: {top: {kind: folder, path: ., record: {path: frames}}}
stations: {cap: {camera: top, bundle: cap.safetensors}}
actuators: {gate: {kind: log, path: log/rejects.jsonl}}
store: {path: store}
"""
#: Root without its privileges meets permissions as any other user does.
UNPRIVILEGED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []
NOBODY = 65_534


def line(folder: Path) -> LineConfig:
    return parse(LINE, name="line.yaml", folder=folder)


def complaint_of(folder: Path) -> str:
    """What an unprivileged process says of the folders; empty if nothing."""
    program = f"""
from pathlib import Path
from stream.core.errors import DiskError
from stream.line.config import parse
from stream.line.folders import check_folders
try:
    check_folders(parse({LINE!r}, name="line.yaml", folder=Path({str(folder)!r})), "supervisor")
except DiskError as error:
    print(error)
"""
    done = subprocess.run(
        [*UNPRIVILEGED, sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_missing_folders_are_made_and_nothing_is_left_in_them(tmp_path: Path):
    check_folders(line(tmp_path), "supervisor")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["frames", "log", "store"]


def test_a_file_that_another_role_replaces_meanwhile_is_no_problem(tmp_path: Path):
    (tmp_path / "store" / "state").mkdir(parents=True)
    (tmp_path / "store" / "state" / "top.run.json.part").symlink_to("gone")  # listed, and not there when looked at
    check_folders(line(tmp_path), "sink")


def test_every_folder_that_cannot_be_written_is_named_at_once(tmp_path: Path):
    for name in ("store", "frames", "log"):
        (tmp_path / name).write_text("in the way")
    with pytest.raises(DiskError) as error:
        check_folders(line(tmp_path), "supervisor")
    lines = str(error.value).splitlines()
    options = ["store.path", "cameras.top.record.path", "actuators.gate.path"]
    assert [text.partition(": ")[0] for text in lines] == options
    assert all("a file is in the place of a folder; name another folder, or remove the file" in text for text in lines)


def test_a_role_is_not_concerned_with_the_folders_of_others(tmp_path: Path):
    for name in ("frames", "log"):
        (tmp_path / name).write_text("in the way")
    check_folders(line(tmp_path), "worker0")
    with pytest.raises(DiskError, match=r"cameras\.top\.record"):
        check_folders(line(tmp_path), "capture-top")
    with pytest.raises(DiskError, match=r"actuators\.gate\.path"):
        check_folders(line(tmp_path), "sink")


@pytest.mark.needs_program("setpriv")
@pytest.mark.parametrize("left", ["", "state/top.seq", "state/sink.lock", "events.sqlite", "overlays/cap"])
def test_what_an_earlier_run_of_another_user_left_is_named_with_the_command_that_mends_it(tmp_path: Path, left: str):
    path = tmp_path / "store" / left
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if left in ("", "overlays/cap") else path.touch()
    if os.getuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    else:
        path.chmod(0o500 if path.is_dir() else 0o400)
    said = complaint_of(tmp_path)
    assert said.startswith("store.path: ")
    assert str(path).rstrip("/") in said
    mends = f"chown -R {os.getuid()} {tmp_path}/store" if os.getuid() == 0 else f"chmod -R u+rwX {tmp_path}/store"
    assert mends in said
    assert "\n" not in said


def test_a_disk_without_room_is_named(tmp_path: Path):
    """A limit on the size of files fails a write as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(DiskError, match=r"store\.path: .*/store: the disk has no room for 512 KiB"):
            check_folders(line(tmp_path), "worker0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_sockets_have_paths_that_the_system_takes_however_long_the_folder_for_temporary_files_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert len(line(tmp_path).announcements_address().removeprefix("ipc://")) <= 107


def test_a_runtime_folder_too_long_for_sockets_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"/run/{'x' * 62}")
    with pytest.raises(ConfigError, match=r"XDG_RUNTIME_DIR: /run/x+: more than 66 bytes .* or unset it"):
        line(tmp_path).tap_address("top")
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"/run/{'x' * 61}")
    assert len(line(tmp_path).announcements_address().removeprefix("ipc://")) <= 107


def test_a_runtime_folder_is_used_where_it_is_short_enough(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert sockets_folder() == Path("/run/user/1000")
