"""Connections of browsers: one that sends no complete request ends in time, and makes room for others.

And the server that accepts them until it is stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Longest time in which the header of a request must arrive, in seconds.
HEADER_S = 10.0
#: Open connections beyond which those that have sent no complete request are cut, the oldest first.
MOST_CONNECTIONS = 300
#: Longest TLS handshake, in seconds; asyncio's own is a minute.
_HANDSHAKE_S = 10.0


class Connection(H11Protocol):
    """One connection; a client that sends its request byte by byte does not keep others out."""

    _header_s = HEADER_S
    _most = MOST_CONNECTIONS

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take over what uvicorn gives a protocol."""
        super().__init__(*args, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._upgraded = False
        self._since_s = self.loop.time()

    @property
    def awaits_request(self) -> bool:
        """Whether no request is being answered whose body has arrived."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; where there are too many connections, cut the one that waited longest."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > self._most:
            waiting = [
                other
                for other in self.connections
                if isinstance(other, Connection) and other is not self and other.awaits_request
            ]
            if waiting:
                oldest = min(waiting, key=lambda other: other._since_s)
                # It is no longer counted at once: its end comes after all that connect in the same moment.
                self.connections.discard(oldest)
                oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Receive a part of a request; the time of a header is that of all its parts together."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait."""
        self._end_wait()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Leave the connection to the WebSocket, which pings its client."""
        self._upgraded = True
        self._end_wait()
        super().handle_websocket_upgrade(event)

    def _watch(self) -> None:
        awaits_header = self.cycle is None or self.cycle.response_complete
        if self._upgraded or not awaits_header or self.transport.is_closing():
            self._end_wait()
        elif self._timer is None:
            self._since_s = self.loop.time()
            self._timer = self.loop.call_later(self._header_s, self.transport.abort)

    def _end_wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Server(uvicorn.Server):
    """A server that an event stops: the process handles its signals by itself, from its beginning."""

    def __init__(self, settings: uvicorn.Config, stop: threading.Event) -> None:
        """Stop as soon as `stop` is set, also if that was before."""
        super().__init__(settings)
        self._stop = stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals as they are."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Look whether to stop, ten times a second."""
        return await super().on_tick(counter) or self._stop.is_set()


class _EventLoop(asyncio.SelectorEventLoop):
    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        if options.get("ssl") is not None:
            options.setdefault("ssl_handshake_timeout", _HANDSHAKE_S)
        return await super().create_server(*args, **options)


def event_loop() -> asyncio.AbstractEventLoop:
    """Return the loop of the server."""
    return _EventLoop()
