from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack

import httpx
import pytest
from support.listening import free_port

from stream.core import metrics_page
from stream.core.errors import TransportError
from stream.core.http_server import CONNECTIONS


def test_the_page_has_the_metrics_also_while_many_others_have_sent_half_a_request():
    port = free_port()
    metrics_page.serve(("127.0.0.1", port))
    with ExitStack() as stack:
        for _ in range(3 * CONNECTIONS):
            half = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            half.sendall(b"GET /metr")
        page = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=20)
    assert page.status_code == 200
    assert 'patchline_http_refused_total{server="metrics",why="connections"}' in page.text


def test_an_address_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TransportError, match=rf"metrics.listen: cannot listen on 127.0.0.1:{port}"):
            metrics_page.serve(("127.0.0.1", port))


def test_a_role_may_open_as_many_files_as_the_system_allows():
    program = """
import resource
from stream.line.lifecycle import allow_open_files
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
allow_open_files()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
