"""The sockets of a line: who binds, who connects, what is dropped when; context, keys and errors common to all.

::

                                                          may wait     when that is full
    capture   PUSH ───announcements──▶ PULL*   sink       10,000       the announcement is dropped and counted
    worker    PUSH ──────results─────▶ PULL*   sink       64           the result is dropped and counted
    capture   ROUTER* ◀───credit─── DEALER     worker     1,000        it is dropped; the next comes within 250 ms
    capture   ROUTER* ────frames──▶ DEALER     worker     its credit   frames stay in capture's backlog
    capture   ROUTER* ─whole frames─▶ DEALER   teach      4            the frame is dropped and counted
    sink      ROUTER* ──live feed──▶ DEALER    dashboard  64           the message is dropped

    * binds; the other end connects, now or as soon as its peer appears

The status messages of capture and worker travel with announcements and results, the bundles that a worker has to hold
with the frames; the sink connects to the sockets of the credit, to ask the time and to say that the line is ready. The
first four sockets are in `pipeline.py`, the last two in `broadcast.py`.

Every queue is bounded and no send blocks: a full queue is reported to the caller, who counts the loss. A message that
cannot be read, or has another wire version, is counted and logged by its receiver. TCP is encrypted and authenticated
with CURVE when the line has keys; Unix sockets are in a folder that no other user may enter (`socket_folder.py`), and
are bound again when their files have been removed (`Sockets.mend`).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from stream.core.errors import TransportError
from stream.core.log_lines import FROM_PEER
from stream.core.metrics import MESSAGES_REFUSED, SOCKETS_BOUND_AGAIN
from stream.transport.socket_folder import SocketFile, has_listener, prepare_folder

log = logging.getLogger(__name__)

#: Time for queued messages to leave when the sockets are closed.
_LINGER_MS: Final = 2_000
#: Pause between two attempts to connect; the first part of a process that has just started waits this long at most.
_RECONNECT_MS: Final = 20
#: Most messages read from one socket before the next socket's turn.
_BURST: Final = 256
#: Interval at which the files of the Unix sockets are looked at.
_MEND_NS: Final = 1_000_000_000
#: Longest part of a message, which is more than a frame of any camera; a peer that sends more is disconnected.
_MAX_PART_BYTES: Final = 2**30

M = TypeVar("M")


class Received(NamedTuple, Generic[M]):
    """One message: its header and the raw parts that follow it."""

    message: M
    attachments: list[bytes]


class Sockets:
    """One process's ZeroMQ context, with the line's keys if it has any. Each socket belongs to one thread."""

    def __init__(self, keys: Path | None) -> None:
        """Load the keys; raises TransportError when they are missing or damaged."""
        self._context = zmq.Context()
        self._authenticator: ThreadAuthenticator | None = None
        self._files: dict[Path, tuple[zmq.Socket[bytes], SocketFile]] = {}
        self._next_mend_ns = 0
        self._fault: str | None = None
        self._keys: tuple[bytes, bytes] | None = None
        if keys is not None:
            secret = keys / "line.key_secret"
            try:
                public_key, secret_key = zmq.auth.load_certificate(secret)
            except (OSError, ValueError) as error:
                raise TransportError(
                    f"transport.keys: {secret}: {error}; make the keys with `patchline keys {keys}` on one host "
                    "and copy the folder to the others"
                ) from None
            if secret_key is None or (len(public_key), len(secret_key)) != (40, 40):
                raise TransportError(
                    f"transport.keys: {secret} holds no secret key, or a damaged one; remove it and make new keys "
                    f"with `patchline keys {keys}`"
                )
            self._keys = public_key, secret_key

    def bind(
        self, kind: int, address: str, high_water_mark: int, *, max_part_bytes: int | None = None
    ) -> zmq.Socket[bytes]:
        """Open a listening socket; raises TransportError when the address is taken, or its folder not safe.

        A peer that sends a longer part than `max_part_bytes` is disconnected.
        """
        path = Path(address[6:]) if address.startswith("ipc://") else None
        if path is not None:
            _prepare_folder(address, "listen")
        socket = self._socket(kind, address, high_water_mark, server=True)
        if max_part_bytes is not None:
            socket.maxmsgsize = max_part_bytes
        try:
            if path is not None and has_listener(path):  # ZeroMQ would silently take the path over
                raise zmq.ZMQError(zmq.EADDRINUSE)
            socket.bind(address)
            if path is not None:
                self._files[path] = socket, SocketFile(path)
        except (zmq.ZMQError, OSError) as error:
            socket.close(0)
            mends = "check the permissions of its folder, or set XDG_RUNTIME_DIR to one of your own"
            if not isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError | FileExistsError):
                mends = "is another line running? Stop it or choose another address under transport"
            raise TransportError(f"{address}: cannot listen: {error.strerror}; {mends}") from None
        return socket

    def mend(self, now_ns: int) -> str | None:
        """Bind again the Unix sockets whose files were removed; for the thread that uses the sockets, about each tick.

        Returns what could not be mended, with the folder's name, or None. Looks once a second, and touches the files
        and their folder from time to time, so that jobs that clean up temporary folders take them for used.
        """
        if now_ns < self._next_mend_ns:
            return self._fault
        self._next_mend_ns = now_ns + _MEND_NS
        self._fault = None
        for path, (socket, file) in self._files.items():
            if file.is_in_place(now_ns):
                continue
            try:
                prepare_folder(path.parent)
                if has_listener(path):
                    raise TransportError(f"{path}: another process has taken this socket's place")
                # The listener without a file stays: its end, in a thread of ZeroMQ's, would remove the new file.
                socket.bind(f"ipc://{path}")
                self._files[path] = socket, SocketFile(path)
            except (TransportError, zmq.ZMQError, OSError) as error:
                self._fault = f"{path.parent}: a socket of the line was removed and cannot be bound again: {error}"
                log.error("%s", self._fault)  # noqa: TRY400 - one line says it all
                continue
            SOCKETS_BOUND_AGAIN.inc()
            log.warning("%s: the socket was removed, perhaps by a job that cleans up the folder; bound again", path)
        return self._fault

    def connect(self, kind: int, address: str, high_water_mark: int) -> zmq.Socket[bytes]:
        """Open a socket that connects now or as soon as the peer appears; raises TransportError for a bad address."""
        if address.startswith("ipc://"):
            _prepare_folder(address, "connect")
        socket = self._socket(kind, address, high_water_mark, server=False)
        try:
            socket.connect(address)
        except zmq.ZMQError as error:
            socket.close(0)
            raise TransportError(
                f"{address}: cannot connect: {error.strerror}; give tcp://HOST:PORT or ipc://PATH under transport"
            ) from None
        return socket

    def close(self) -> None:
        """Close all sockets; queued messages have two seconds to leave."""
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.destroy()

    def _socket(self, kind: int, address: str, high_water_mark: int, *, server: bool) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.set_hwm(high_water_mark)
        socket.linger = _LINGER_MS
        socket.reconnect_ivl = _RECONNECT_MS
        socket.maxmsgsize = _MAX_PART_BYTES
        if address.startswith("tcp://"):
            # Detect within seconds that a peer's host has vanished, and close its connection.
            socket.heartbeat_ivl = 1_000
            socket.heartbeat_timeout = 3_000
            if self._keys is not None:
                self._encrypt(socket, server=server)
        return socket

    def _encrypt(self, socket: zmq.Socket[bytes], *, server: bool) -> None:
        assert self._keys is not None
        socket.curve_publickey, socket.curve_secretkey = self._keys
        if not server:
            socket.curve_serverkey = self._keys[0]  # the hosts of a line share one pair
            return
        if self._authenticator is None:
            self._authenticator = ThreadAuthenticator(self._context)
            self._authenticator.start()
            # Only holders of the line's own key may connect.
            self._authenticator.configure_curve_callback("*", _LineKeyOnly(self._keys[0]))
        socket.curve_server = True


class _LineKeyOnly:
    """Accepts the line's own public key and no other."""

    def __init__(self, public_key: bytes) -> None:
        self._public_key = public_key

    def callback(self, _domain: str, key: bytes) -> bool:
        return key == self._public_key


def make_keys(folder: Path) -> Path:
    """Write a new key pair for a line into a folder and return the path of the secret key.

    Raises TransportError when the folder holds keys already; they stay as they are.
    """
    secret = folder / "line.key_secret"
    if secret.exists():
        raise TransportError(f"{secret} exists already; remove it first if the line needs new keys")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    zmq.auth.create_certificates(folder, "line")
    secret.chmod(0o600)
    return secret


def _prepare_folder(address: str, purpose: str) -> None:
    try:
        prepare_folder(Path(address[6:]).parent)
    except TransportError as error:
        raise TransportError(f"{address}: cannot {purpose}: {error}") from None


def why_unreached(address: str, process: int) -> str | None:
    """Return why nothing comes from a process of this host that listens; None if it listens at this address.

    Args:
        address: where this process looks.
        process: id of the one that is known to run.
    """
    if not address.startswith("ipc://") or has_listener(Path(address[6:])):
        return None
    here, environment = os.environ.get("XDG_RUNTIME_DIR"), _environment_of(process)
    there = environment.get("XDG_RUNTIME_DIR")
    mends = "give both the same XDG_RUNTIME_DIR, TMPDIR and transport"
    if environment and there != here:
        mends = f"{f'set XDG_RUNTIME_DIR={there}' if there else 'unset XDG_RUNTIME_DIR'}, as the line has it"
    return (
        f"process {process} of the line runs, but nobody listens at {address}, where this process looks "
        f"(XDG_RUNTIME_DIR is {here or 'not set'} here): {mends}"
    )


def warn_if_unreached(address: str, owner: Callable[[], int | None], after_s: float = 5.0) -> None:
    """Log an error, once and later, if the process that should listen at an address runs and listens elsewhere.

    `owner` returns the id of that process, None while it does not run on this host.
    """

    def look() -> None:
        process = owner()
        reason = None if process is None else why_unreached(address, process)
        if reason is not None:
            log.error("%s", reason)

    timer = threading.Timer(after_s, look)
    timer.daemon = True
    timer.start()


def _environment_of(process: int) -> dict[str, str]:
    """Return the environment that a process was started with; empty where this user may not read it."""
    try:
        entries = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    pairs = (os.fsdecode(entry).partition("=") for entry in entries if entry)
    return {name: value for name, _, value in pairs}


def receive_burst(socket: zmq.Socket[bytes]) -> list[list[bytes]]:
    """Return the multipart messages that wait on a socket, not more than let the other sockets have their turn."""
    messages: list[list[bytes]] = []
    while len(messages) < _BURST:
        try:
            messages.append(socket.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            break
    return messages


def count_unreadable(socket: str, error: Exception) -> None:
    """Count and log a message that cannot be read; `socket` is the metric's label."""
    MESSAGES_REFUSED.labels(socket).inc()
    log.error("%s: unreadable message: %s", socket, error, extra=FROM_PEER)
