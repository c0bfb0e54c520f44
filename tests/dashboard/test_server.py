from __future__ import annotations

import errno
import socket
from contextlib import closing

import pytest

from stream.dashboard.server import listen


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
