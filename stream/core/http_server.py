"""A small HTTP server that a process of the line can afford: many, slow or silent clients cost it nothing more.

Bounded: the connections, each of which has a thread; the time to send one request; the time between two. When all
connections are taken, the one that has waited longest for its client gives way to the next, those first that have never
sent a request.
"""

from __future__ import annotations

import io
import logging
import socket
import socketserver
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal

from stream.core import metrics

log = logging.getLogger(__name__)

#: Connections at once.
CONNECTIONS: Final = 16
#: Time from a request's first byte to its answer's last, s; also from the connection to the first byte.
REQUEST_S: Final = 5.0
#: Time between two requests on one connection, s.
IDLE_S: Final = 30.0
#: Pause before the next connection takes the place of another, so that a flood of them costs no core, s.
_PACE_S = 0.02
#: Interval of the checks for connections that are too slow, s.
_CHECK_S = 0.1

#: Why a connection was closed or a request refused: too many connections, too slow, too many requests a second.
Refusal = Literal["connections", "slow", "rate"]


@dataclass
class _Connection:
    since_s: float
    until_s: float
    is_proven: bool = False  # has sent a request
    is_answered: bool = False


class HttpServer(ThreadingHTTPServer):
    """Serves in `CONNECTIONS` threads at most, and counts the connections that it closes."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, name: str, address: tuple[str, int], handler: type[HttpHandler]) -> None:
        """Listen; `name` is the metric's label. Raises OSError when the address is taken or unknown."""
        self._name = name
        self._lock = threading.Lock()
        self._connections: dict[Any, _Connection] = {}
        host, port = address
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Take the address, without looking up the host's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def start(self, name: str) -> None:
        """Serve in a thread of this name until `close`."""
        threading.Thread(target=self.serve_forever, args=(_CHECK_S,), name=name, daemon=True).start()

    def count_refused(self, why: Refusal) -> None:
        """Count a connection or request that is refused."""
        metrics.HTTP_REFUSED.labels(self._name, why).inc()

    def close(self) -> None:
        """Stop serving and end all connections; call it after `start`."""
        self.shutdown()
        self.server_close()
        with self._lock:
            for connection in self._connections:
                _end(connection)

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_CHECK_S)  # out of file descriptors: the connection waits, and the loop would spin
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a new connection a thread, if need be the place of another one."""
        if not self._has_place():
            self.count_refused("connections")
            self.shutdown_request(request)
            return
        now_s = time.monotonic()
        with self._lock:
            self._connections[request] = _Connection(now_s, now_s + REQUEST_S)
        super().process_request(request, client_address)

    def _has_place(self) -> bool:
        with self._lock:
            if len(self._connections) < CONNECTIONS:
                return True
            waiting = [(state, request) for request, state in self._connections.items() if not state.is_answered]
            if not waiting:
                return False
            _, longest = min(waiting, key=lambda entry: (entry[0].is_proven, entry[0].since_s))
            _end(longest)
        self.count_refused("connections")
        time.sleep(_PACE_S)  # its thread ends meanwhile
        with self._lock:
            return len(self._connections) < CONNECTIONS

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End the connections that are too slow."""
        now_s = time.monotonic()
        with self._lock:
            slow = [request for request, state in self._connections.items() if now_s > state.until_s]
            for request in slow:
                self._connections[request].until_s = now_s + REQUEST_S
                _end(request)
        for _ in slow:
            self.count_refused("slow")

    def note(self, request: Any, event: Literal["begun", "whole", "answered"]) -> None:
        """Note that a request has begun to arrive, is there as a whole, or has been answered."""
        now_s = time.monotonic()
        with self._lock:
            state = self._connections.get(request)
            if state is None:
                return
            state.is_answered = event == "whole"
            state.is_proven = state.is_proven or state.is_answered
            if event != "whole":
                state.since_s = now_s
                state.until_s = now_s + (REQUEST_S if event == "begun" else IDLE_S)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log what a broken connection raises."""
        log.debug("the connection to %s broke", client_address, exc_info=True)


class HttpHandler(BaseHTTPRequestHandler):
    """Answers the requests of one connection; a subclass calls `note_whole` once it has read a request to answer."""

    server: HttpServer
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        """Wait for a request's first byte, then read and answer it."""
        try:
            if not self.rfile.peek(1):  # type: ignore[attr-defined]
                self.close_connection = True
                return
        except OSError:
            self.close_connection = True
            return
        self.server.note(self.connection, "begun")
        super().handle_one_request()
        self.server.note(self.connection, "answered")

    def setup(self) -> None:
        """Note each line that is read."""
        super().setup()
        self.rfile = _Lines(self.rfile)  # type: ignore[assignment]

    def parse_request(self) -> bool:
        """Read the request's head; False when it breaks off, which the library takes for its end."""
        is_whole = super().parse_request()
        if self.rfile.last not in (b"\r\n", b"\n"):  # type: ignore[attr-defined]
            self.close_connection = True
            return False
        return is_whole

    def note_whole(self) -> None:
        """Note that the request has arrived: its connection gives way to no other one."""
        self.server.note(self.connection, "whole")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log a request."""
        log.debug(format, *args)


class _Lines:
    """A file that remembers the last line read from it."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self._file.readline(limit)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _end(request: socket.socket) -> None:
    """End a connection whose thread waits for it; the thread closes it."""
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:
        log.debug("the connection has ended by itself")
