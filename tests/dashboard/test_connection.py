from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from stream.dashboard.connection import Connection, Server
from stream.dashboard.server import listen


class Hasty(Connection):
    """Cuts clients sooner than the dashboard does."""

    _header_s = 0.2
    _most = 3


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def serving(protocol: type[Connection]) -> Iterator[tuple[str, int]]:
    stop = threading.Event()
    listening = listen("127.0.0.1", 0)
    address: tuple[str, int] = listening.getsockname()
    settings = uvicorn.Config(app, http=protocol, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    thread = threading.Thread(target=Server(settings, stop).run, args=([listening],))
    thread.start()
    try:
        yield address
    finally:
        stop.set()
        thread.join()


REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\n", REQUEST[:-2], REQUEST + REQUEST[:-2]])
def test_a_client_that_does_not_finish_its_request_is_cut(begun: bytes):
    with serving(Hasty) as address, socket.create_connection(address, timeout=20) as client:
        client.sendall(begun)
        received = b""
        try:
            while piece := client.recv(4096):
                received += piece
        except ConnectionResetError:
            pass
        assert received.count(b"200 OK") == begun.count(REQUEST)


def test_a_client_that_sends_byte_by_byte_is_cut_all_the_same():
    def send() -> None:
        for _ in range(1000):
            client.sendall(b"G")
            threading.Event().wait(0.02)

    with (
        serving(Hasty) as address,
        socket.create_connection(address, timeout=20) as client,
        pytest.raises(OSError, match=r"reset|pipe"),
    ):
        send()


def test_who_sends_nothing_makes_room_for_who_does():
    with serving(Hasty) as address:
        silent = [socket.create_connection(address, timeout=20) for _ in range(6)]
        with socket.create_connection(address, timeout=20) as client:
            client.sendall(REQUEST)
            assert b"200 OK" in client.recv(4096)
        for sock in silent:
            sock.close()


def test_a_server_that_was_stopped_before_it_began_ends():
    stop = threading.Event()
    stop.set()
    with listen("127.0.0.1", 0) as listening:
        settings = uvicorn.Config(app, http=Connection, log_config=None, lifespan="off")
        thread = threading.Thread(target=Server(settings, stop).run, args=([listening],))
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
