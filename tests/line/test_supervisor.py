from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.line.lifecycle import notify
from stream.line.supervisor import Child


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pl"))  # socket paths are limited to 107 bytes
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize("removed", ["nothing", "file", "folder"])
def test_a_process_reports_that_it_is_ready_also_after_its_socket_was_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, removed: str
):
    child = Child("sink", [], folder, "monday")
    (address,) = folder.iterdir()
    monkeypatch.setenv("NOTIFY_SOCKET", str(address))
    if removed == "file":
        address.unlink()
    elif removed == "folder":
        shutil.rmtree(folder)
    child.receive()
    assert not child.ready
    notify("READY=1")
    child.receive()
    assert child.ready
    child.close()


def test_a_socket_that_cannot_be_made_again_ends_nothing(folder: Path):
    child = Child("sink", [], folder, "monday")
    shutil.rmtree(folder)
    folder.write_text("in the way")
    child.receive()
    folder.unlink()
    child.receive()
    assert folder.is_dir()
    child.close()
