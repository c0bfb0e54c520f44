from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from stream.core.clock import Clock
from stream.core.errors import TransportError
from stream.transport.messages import Announcement
from stream.transport.pipeline import SinkInbox, SinkOutbox
from stream.transport.socket_folder import SocketFile, folder_problem, parent_problem, prepare_folder
from stream.transport.sockets import Sockets

GENEROUS_NS = 20_000_000_000
S = 1_000_000_000
PART = Announcement("cap", 1, 1_000, 2_000, Clock("boot", 0))


@pytest.fixture
def base() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pl"))  # socket paths are limited to 107 bytes
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def new_sockets() -> Iterator[Callable[[], Sockets]]:
    opened: list[Sockets] = []

    def new() -> Sockets:
        opened.append(Sockets(None))
        return opened[-1]

    yield new
    for sockets in opened:
        sockets.close()


def test_a_missing_folder_is_made_for_its_owner_only(base: Path):
    prepare_folder(base / "a" / "run")
    assert stat.S_IMODE((base / "a" / "run").stat().st_mode) == 0o700
    prepare_folder(base / "a" / "run")


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o750, 0o701, 0o755])
def test_a_folder_that_is_open_to_others_is_refused_with_its_mode(base: Path, mode: int):
    folder = base / "run"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(TransportError, match=f"{folder}: .* has mode {mode:04o}, not 0700.*chmod 700 {folder}"):
        prepare_folder(folder)


def test_a_symbolic_link_in_place_of_the_folder_is_refused(base: Path):
    (base / "mine").mkdir(mode=0o700)
    (base / "run").symlink_to(base / "mine")
    with pytest.raises(TransportError, match="is a symbolic link"):
        prepare_folder(base / "run")
    (base / "hanging").symlink_to(base / "nowhere")
    with pytest.raises(TransportError, match="is a symbolic link"):
        prepare_folder(base / "hanging")
    assert not (base / "nowhere").exists()


def test_a_file_in_place_of_the_folder_is_refused(base: Path):
    (base / "run").write_text("")
    with pytest.raises(TransportError, match=f"{base}/run: cannot be made for the line's sockets"):
        prepare_folder(base / "run")


def test_a_folder_of_another_user_is_refused(base: Path):
    status = base.lstat()
    assert folder_problem(status, status.st_uid) is None
    assert folder_problem(status, status.st_uid + 1) == f"belongs to another user ({status.st_uid})"
    theirs = os.stat_result((stat.S_IFDIR | 0o755, 0, 0, 1, 1234, 0, 0, 0, 0, 0))
    assert folder_problem(theirs, 0) == "belongs to another user (1234)"
    assert parent_problem(theirs, 0) == "is below one of another user (1234)"
    assert parent_problem(theirs, 1234) is None


def test_a_folder_that_others_could_rename_is_refused(base: Path):
    (base / "open").mkdir()
    (base / "open").chmod(0o777)
    with pytest.raises(TransportError, match="others may rename it"):
        prepare_folder(base / "open" / "run")
    (base / "open").chmod(0o1777)  # as /tmp
    prepare_folder(base / "open" / "run")


def test_neither_side_of_a_socket_uses_a_folder_that_is_open_to_others(base: Path, new_sockets):
    folder = base / "run"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(TransportError, match="has mode 0777"):
        SinkInbox(new_sockets(), f"ipc://{folder}/a", f"ipc://{folder}/r")
    with pytest.raises(TransportError, match="has mode 0777"):
        SinkOutbox(new_sockets(), f"ipc://{folder}/a", 10)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("loss", ["file", "folder"])
def test_a_socket_whose_file_was_removed_is_bound_again(base: Path, new_sockets, loss: str):
    folder = base / "run"
    sockets = new_sockets()
    inbox = SinkInbox(sockets, f"ipc://{folder}/a", f"ipc://{folder}/r")
    before = new_sockets()
    connected = SinkOutbox(before, f"ipc://{folder}/a", 10)
    assert connected.send(PART)
    assert inbox.receive(GENEROUS_NS)[0].message == PART
    if loss == "file":
        (folder / "a").unlink()
    else:
        shutil.rmtree(folder)
    counted = bound_again()
    assert sockets.mend(now_ns=1) is None
    assert bound_again() == counted + (1 if loss == "file" else 2)
    assert SinkOutbox(new_sockets(), f"ipc://{folder}/a", 10).send(PART)
    assert inbox.receive(GENEROUS_NS)[0].message == PART
    assert connected.send(PART), "the connections from before stay"
    assert inbox.receive(GENEROUS_NS)[0].message == PART
    assert sockets.mend(now_ns=2 * S) is None
    assert bound_again() == counted + (1 if loss == "file" else 2)


def test_a_folder_that_cannot_be_mended_is_a_fault_that_names_it_until_it_can(base: Path, new_sockets):
    folder = base / "run"
    sockets = new_sockets()
    SinkInbox(sockets, f"ipc://{folder}/a", f"ipc://{folder}/r")
    shutil.rmtree(folder)
    folder.mkdir()
    folder.chmod(0o777)
    fault = sockets.mend(now_ns=1)
    assert fault is not None
    assert str(folder) in fault
    assert "has mode 0777" in fault
    assert sockets.mend(now_ns=2) == fault, "it looks once a second"
    folder.chmod(0o700)
    assert sockets.mend(now_ns=2 * S) is None


def test_a_socket_whose_place_another_process_has_taken_is_a_fault(base: Path, new_sockets):
    sockets = new_sockets()
    SinkInbox(sockets, f"ipc://{base}/a", f"ipc://{base}/r")
    (base / "a").unlink()
    (base / "r").unlink()
    SinkInbox(new_sockets(), f"ipc://{base}/a", f"ipc://{base}/r")
    fault = sockets.mend(now_ns=1)
    assert fault is not None
    assert "another process has taken this socket's place" in fault


def test_a_socket_in_use_looks_new_to_jobs_that_remove_old_files(base: Path):
    (base / "a").write_text("")
    file = SocketFile(base / "a")
    for path in (base / "a", base):
        os.utime(path, (0, 0))
    assert file.is_in_place(S)
    assert all(path.stat().st_mtime > 1e9 for path in (base / "a", base))
    assert all(path.stat().st_atime > 1e9 for path in (base / "a", base))


def bound_again() -> float:
    return REGISTRY.get_sample_value("patchline_sockets_bound_again_total") or 0.0
