"""Outputs that have a level behind a network connection: a coil, a register, a node.

A task keeps the connection: it connects, checks that the device answers, switches the output off,
and reads its level four times a second. A connection that fails or answers too late is
never used again. It is reset, which takes with it what it has not delivered yet, and a new one is
made; meanwhile every pulse fails at once.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from stream.core.backoff import Backoff
from stream.core.clock import now_ns
from stream.devices.actuators.actuator import RejectCommand
from stream.devices.actuators.loop_thread import LoopThread

log = logging.getLogger(__name__)

#: Limit for a connection with its first liveness check.
CONNECT_S = 2.0
#: Interval of liveness checks.
_CHECK_EVERY_S = 0.25
#: Limit for the answer to a check, or to switching off.
_ANSWER_NS = 500_000_000
#: Limit for switching off when the line ends.
_CLOSE_NS = 300_000_000
#: Pauses before the next connection.
_BACKOFF = Backoff(first_s=0.05, longest_s=2.0)


class Session(Protocol):
    """One connection; every call raises an Exception when it is not acknowledged."""

    async def on(self) -> bool:
        """Ask for the output's level."""
        ...

    async def switch(self, on: bool, /) -> None:
        """Switch the output."""
        ...

    async def beat(self, level: bool, /) -> None:
        """Set the heartbeat."""
        ...

    def abort(self) -> None:
        """Reset the connection; never blocks or raises."""
        ...


class NetworkedOutput:
    """The acknowledgement of these actuators is the device's answer to the write."""

    def __init__(self, where: str, connect: Callable[[], Awaitable[Session]], heartbeat_ns: int | None) -> None:
        """Begin to connect; `where` names the output in messages."""
        self.heartbeat_ns = heartbeat_ns
        self._where = where
        self._connect = connect
        self._fault: str | None = f"{where}: not connected yet"
        self._session: Session | None = None
        self._on = False
        self._edges = 0
        self._lost = asyncio.Event()
        self._loop_thread = LoopThread(where)
        self._loop_thread.start(self._keep_connected())

    @property
    def fault(self) -> str | None:
        """Why there is no connection, or None."""
        return self._fault

    def check(self, until_ns: int) -> None:
        """Ask for the output's level."""
        self._ask(lambda session: session.on(), until_ns)

    def begin(self, command: RejectCommand, _fired_ns: int) -> None:
        """Write the level for on."""
        self._on, self._edges = True, self._edges + 1
        self._ask(lambda session: session.switch(True), command.expires_ns)

    def end(self) -> None:
        """Write the level for off; without a connection the next one begins with it."""
        self._on, self._edges = False, self._edges + 1
        if self._session is not None:
            self._ask(lambda session: session.switch(False), now_ns() + _ANSWER_NS)

    def beat(self, level: bool, until_ns: int) -> None:
        """Write the heartbeat's level."""
        self._ask(lambda session: session.beat(level), until_ns)

    def close(self) -> None:
        """Switch off if there is a connection, and end it."""
        session, self._on = self._session, False
        if session is not None:
            try:
                self._loop_thread.call(lambda: session.switch(False), now_ns() + _CLOSE_NS)
            except OSError as error:
                log.warning("%s: not switched off: %s", self._where, error)
        self._fault = f"{self._where}: closed"
        self._loop_thread.end()

    def _ask(self, question: Callable[[Session], Awaitable[object]], until_ns: int) -> None:
        session = self._session
        if session is None:
            raise ConnectionError(self._fault or f"{self._where}: no connection")
        try:
            self._loop_thread.call(partial(self._within, session, question), until_ns)
        except OSError as error:
            self._lose(session, error)
            raise type(error)(f"{self._where}: {error}") from error

    async def _within(self, session: Session, question: Callable[[Session], Awaitable[object]]) -> None:
        try:
            await question(session)
        except BaseException:
            session.abort()  # here, not later: what it still holds back must not be sent
            raise

    def _lose(self, session: Session, error: Exception) -> None:
        if self._session is session:
            self._fault = f"{self._where}: {error or type(error).__name__}"
            self._session = None
            self._loop_thread.soon(self._lost.set)
            log.warning("%s: connection given up: %s", self._where, error or type(error).__name__)

    async def _keep_connected(self) -> None:
        failures = 0
        while True:
            session: Session | None = None
            try:
                async with asyncio.timeout(CONNECT_S):
                    session = await self._connect()
                    await session.on()
                    await session.switch(False)  # whatever an earlier connection left
                self._lost.clear()
                self._session, self._fault = session, None
                log.info("%s: connected", self._where)
                failures = 0
                await self._until_lost(session)
            except Exception as error:  # noqa: BLE001 - any error is reported and a new connection made
                text = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
                if session is not None:
                    self._lose(session, ConnectionError(text))
                self._fault = f"{self._where}: {text}"
            finally:
                if session is not None:
                    session.abort()
            failures += 1
            await asyncio.sleep(_BACKOFF.pause_s(failures))

    async def _until_lost(self, session: Session) -> None:
        """Return when the connection was given up; raises the error of a failed liveness check."""
        watch, lost = asyncio.create_task(self._watch(session)), asyncio.create_task(self._lost.wait())
        try:
            await asyncio.wait({watch, lost}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                watch.result()
        finally:
            with suppress(RuntimeError):  # the loop was closed before this could end
                watch.cancel()
                lost.cancel()

    async def _watch(self, session: Session) -> None:
        """Check repeatedly that the device answers."""
        while True:
            async with asyncio.timeout(_ANSWER_NS / 1e9):
                edges = self._edges
                if await session.on() and not self._on and self._edges == edges:
                    # Another client, or a write that a frozen device carried out when it woke.
                    log.warning("%s: found on without a pulse, switched off", self._where)
                    await session.switch(False)
            await asyncio.sleep(_CHECK_EVERY_S)


def reset(transport: asyncio.BaseTransport | None) -> None:
    """End a TCP connection with a reset: what was not sent or read yet is dropped where the systems do so."""
    if not isinstance(transport, asyncio.WriteTransport):
        return
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
