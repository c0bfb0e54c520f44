from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import pytest
from prometheus_client import REGISTRY
from support.listening import free_port

from stream.core import http_server
from stream.core.http_server import CONNECTIONS, HttpHandler, HttpServer

GENEROUS_S = 20.0


class Hello(HttpHandler):
    """Answers every GET with its path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        self.note_whole()
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())


class Served:
    """A server, its address, and what it has refused."""

    def __init__(self) -> None:
        self.port = free_port()
        self.server = HttpServer("hello", ("127.0.0.1", self.port), Hello)
        self.server.start("hello")
        self.clients: list[socket.socket] = []
        self.before = {"connections": 0.0, "slow": 0.0}
        self.before = {why: self.refused(why) for why in self.before}

    def half(self, data: bytes = b"GET /half HT") -> socket.socket:
        """Open a connection that sends a part of a request."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=GENEROUS_S)
        client.sendall(data)
        self.clients.append(client)
        return client

    def get(self, path: str) -> str:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=GENEROUS_S).text

    def refused(self, why: str) -> float:
        now = REGISTRY.get_sample_value("patchline_http_refused_total", {"server": "hello", "why": why}) or 0.0
        return now - self.before[why]

    def threads(self) -> int:
        return sum("process_request" in thread.name for thread in threading.enumerate())


@pytest.fixture
def served() -> Iterator[Served]:
    opened = Served()
    yield opened
    for client in opened.clients:
        client.close()
    opened.server.close()


def wait_for(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + GENEROUS_S
    while not condition():
        assert time.monotonic() < until_s, "it never came"
        time.sleep(0.005)


def test_half_open_requests_take_a_bounded_number_of_threads_and_give_way_to_whole_ones(served: Served):
    for _ in range(3 * CONNECTIONS):
        served.half()
    assert served.get("/whole") == "/whole"
    assert served.threads() <= CONNECTIONS
    assert served.refused("connections") >= 2 * CONNECTIONS - 1


def test_a_client_that_has_sent_requests_keeps_its_connection_while_others_only_connect(served: Served):
    with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", timeout=GENEROUS_S) as client:
        assert client.get("/first").text == "/first"
        for _ in range(2 * CONNECTIONS):
            served.half(b"")
        wait_for(lambda: served.refused("connections") >= CONNECTIONS)
        connection = client._transport._pool.connections[0]
        assert client.get("/second").text == "/second"
        assert client._transport._pool.connections == [connection]


def test_a_request_that_takes_too_long_is_ended_however_steadily_it_comes(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(http_server, "REQUEST_S", 0.2)
    client = served.half(b"G")
    until_s = time.monotonic() + GENEROUS_S
    with suppress(OSError):  # reset or broken pipe, whichever comes first
        while time.monotonic() < until_s:
            client.sendall(b"E")
            time.sleep(0.01)
    wait_for(lambda: served.refused("slow") == 1)


def test_a_connection_without_a_request_is_ended(served: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_server, "REQUEST_S", 0.1)
    assert served.half(b"").recv(1) == b""
    wait_for(lambda: served.refused("slow") == 1)


def test_a_closed_server_ends_its_connections_and_frees_its_address(served: Served):
    client = served.half()
    wait_for(lambda: served.threads() == 1)
    served.server.close()
    assert client.recv(1) == b""
    again = HttpServer("hello", ("127.0.0.1", served.port), Hello)
    again.start("again")
    assert served.get("/again") == "/again"
    again.close()


def test_a_request_whose_head_breaks_off_is_none():
    """The library takes the end of the connection for the end of the head."""
    port = free_port()
    server = HttpServer("hello", ("127.0.0.1", port), Hello)
    server.start("hello")
    for half in (b"GET /half HTTP/1.1\r\nHost: a\r\nUser-Ag", b"GET /half HTTP/1.1\r\n", b"GET /half\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=GENEROUS_S) as client:
            client.sendall(half)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b""
    server.close()


def test_addresses_of_either_protocol_are_served():
    server = HttpServer("hello", ("::1", 0), Hello)
    server.start("hello")
    assert httpx.get(f"http://[::1]:{server.server_port}/six", timeout=GENEROUS_S).text == "/six"
    server.close()
