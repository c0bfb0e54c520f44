from __future__ import annotations

import errno
import socket
from contextlib import closing
from pathlib import Path

import pytest

from stream.dashboard.server import _secret, listen


def test_a_connection_whose_data_nobody_takes_is_cut():
    with closing(listen("127.0.0.1", 0, unread_s=0.5)) as listening, socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        silent.connect(listening.getsockname())
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(60)
            with pytest.raises(TimeoutError) as cut:
                connection.sendall(bytes(64 * 2**20))
            assert cut.value.errno == errno.ETIMEDOUT, "by the kernel, not by our patience"


def test_sessions_are_signed_with_one_key_that_nobody_else_reads(tmp_path: Path):
    key = _secret(tmp_path / "state")
    assert len(key) == 32
    assert _secret(tmp_path / "state") == key
    assert (tmp_path / "state" / "dashboard.secret").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damaged", [b"", b"short", bytes(33)])
def test_a_damaged_key_is_made_anew_and_said(tmp_path: Path, damaged: bytes, caplog: pytest.LogCaptureFixture):
    (tmp_path / "dashboard.secret").write_bytes(damaged)
    key = _secret(tmp_path)
    assert len(key) == 32
    assert key not in (bytes(32), damaged)
    assert f"{len(damaged)} bytes instead of 32: all users log in again" in caplog.text
