from __future__ import annotations

import stat
from pathlib import Path

import pytest

from stream.core.errors import ConfigError
from stream.line.config import LineConfig, parse
from stream.line.permissions import mend

LINE = """
line: bottling
cameras: {top: {kind: folder, path: parts, record: {path: frames, keep: 5}}}
stations: {cap: {camera: top, bundle: cap.safetensors}}
actuators: {gate: {kind: log, path: out/rejects.jsonl}}
store: {path: events, mode: MODE}
"""


def line(folder: Path, mode: str = '"0750"') -> LineConfig:
    return parse(LINE.replace("MODE", mode), name="line.yaml", folder=folder)


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_store(folder: Path) -> list[Path]:
    """A store as it was made under a umask that lets everybody read, and what is no business of the line."""
    files = ["events/events.sqlite", "events/events.sqlite-wal", "events/events.sqlite-shm", "events/review.sqlite"]
    files += ["events/overlays/cap/1_DEFECT.jpg", "events/bundles/cap/aa.safetensors", "events/state/top.seq"]
    files += ["events/state/dashboard.secret", "frames/0.npy", "out/rejects.jsonl", "events/notes.txt"]
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o644)
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    return [folder / name for name in files]


@pytest.mark.parametrize(("mode", "of_folders", "of_files"), [('"0750"', 0o750, 0o640), ("0700", 0o700, 0o600)])
def test_what_a_line_wrote_under_other_rights_is_mended_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str, of_folders: int, of_files: int
):
    *files, notes = open_store(tmp_path)
    config = line(tmp_path, mode)
    mend(config)
    folders = [
        tmp_path / name for name in ("events", "events/overlays", "events/overlays/cap", "events/state", "frames")
    ]
    assert {rights(path) for path in folders} == {of_folders}
    secret = tmp_path / "events/state/dashboard.secret"
    assert rights(secret) == 0o600
    assert {rights(path) for path in files if path != secret} == {of_files}
    assert (rights(notes), rights(tmp_path / "out")) == (0o644, 0o755), "not the line's own"
    assert len(caplog.messages) == 1
    assert config.store.mode in caplog.messages[0]
    mend(config)
    assert len(caplog.messages) == 1


def test_a_link_out_of_the_store_changes_nothing_elsewhere(tmp_path: Path):
    open_store(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").touch()
    (tmp_path / "elsewhere").chmod(0o755)
    (tmp_path / "elsewhere/file").chmod(0o644)
    (tmp_path / "events/overlays/link").symlink_to(tmp_path / "elsewhere")
    mend(line(tmp_path))
    assert rights(tmp_path / "elsewhere") == 0o755
    assert rights(tmp_path / "elsewhere/file") == 0o644


def test_a_folder_that_everybody_writes_to_is_left_as_it_is(tmp_path: Path):
    open_store(tmp_path)
    (tmp_path / "events").chmod(0o1777)
    mend(line(tmp_path))
    assert rights(tmp_path / "events") == 0o1777
    assert rights(tmp_path / "events/events.sqlite") == 0o640


def test_without_a_store_nothing_is_made(tmp_path: Path):
    mend(line(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["0o750", "0755x", '"0640"', "9", "true", '"0850"', "[]"])
def test_a_mode_that_would_lock_the_line_out_or_is_none_is_refused(tmp_path: Path, mode: str):
    with pytest.raises(ConfigError, match=r"store\.mode: "):
        line(tmp_path, mode)
