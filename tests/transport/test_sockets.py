"""A process that listens elsewhere than another one looks: why, and what to set."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from stream.core.errors import TransportError
from stream.transport.sockets import Sockets, warn_if_unreached, why_unreached


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """The id of a process with another folder for its sockets."""
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        env=os.environ | {"XDG_RUNTIME_DIR": "/run/line"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate(b"\n")


def test_who_listens_elsewhere_is_named_with_the_variable_to_set(
    elsewhere: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    address = f"ipc://{tmp_path}/feed"
    said = why_unreached(address, elsewhere)
    assert said is not None
    assert f"process {elsewhere} of the line runs, but nobody listens at {address}" in said
    assert f"XDG_RUNTIME_DIR is {tmp_path} here" in said
    assert "set XDG_RUNTIME_DIR=/run/line, as the line has it" in said


def test_who_has_no_such_variable_is_looked_for_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/0")
        said = why_unreached(f"ipc://{tmp_path}/feed", process.pid)
        process.communicate(b"\n")
    assert said is not None
    assert said.endswith("unset XDG_RUNTIME_DIR, as the line has it")


def test_a_listener_that_is_there_is_no_fault(tmp_path: Path):
    sockets = Sockets(None)
    try:
        listener = sockets.bind(zmq.PULL, f"ipc://{tmp_path}/feed", 1)
        assert why_unreached(f"ipc://{tmp_path}/feed", os.getpid()) is None
        assert not listener.closed
    finally:
        sockets.close()


def test_a_process_that_looks_elsewhere_logs_it_once(
    elsewhere: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    logged = threading.Event()
    monkeypatch.setattr(logging.getLogger("stream.transport.sockets"), "error", lambda *_: logged.set())
    warn_if_unreached(f"ipc://{tmp_path}/feed", lambda: elsewhere, after_s=0.01)
    assert logged.wait(10)


@pytest.mark.skipif(os.getuid() != 0, reason="needs a place where not even root writes")
def test_a_folder_in_which_no_socket_can_be_made_is_no_other_line():
    sockets = Sockets(None)
    try:
        with pytest.raises(TransportError, match=r"cannot listen: .*set XDG_RUNTIME_DIR to one of your own"):
            sockets.bind(zmq.PULL, "ipc:///proc/nowhere/feed", 1)
    finally:
        sockets.close()
