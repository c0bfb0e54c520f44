"""The sockets: who binds, who connects, how much may wait, and encryption between hosts.

::

    capture  PUSH ──announcements──▶ PULL  sink        never dropped while the sink lives
    capture  ROUTER ◀──credit── DEALER  infer          frames go only to a worker that has room
    capture  ROUTER ──frames──▶ DEALER  infer
    capture  XPUB ──pictures──▶ SUB  whoever listens   dropped when the listener is slow
    infer    PUSH ──results──▶ PULL  sink
    sink     XPUB ──feed──▶ SUB  dashboard              lost when a dashboard does not keep up

Every queue is bounded. Nothing blocks: a full queue is reported to the caller, who counts it. TCP
is encrypted and authenticated with CURVE when the line has keys; Unix sockets need none.
"""

from __future__ import annotations

import logging
import socket as socket_module
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from stream.errors import TransportError, WireError
from stream.messages import (
    CutFor,
    FrameHeader,
    Ready,
    TapFrame,
    ToDashboard,
    ToSink,
    ToWorker,
    decode_to_capture,
    decode_to_dashboard,
    decode_to_listener,
    decode_to_sink,
    decode_to_worker,
    encode,
)
from stream.metrics import WIRE_ERRORS

log = logging.getLogger(__name__)

#: An announcement has 200 bytes; at 100 parts/s a sink may be away for over a minute.
ANNOUNCEMENTS_WAITING: Final = 10_000
#: A result carries a JPEG; a sink that is away longer than this many parts has their deadlines passed.
RESULTS_WAITING: Final = 64
#: Credit bounds the frames on their way; the socket's own limit lies above it.
FRAMES_WAITING: Final = 1_000
#: What may wait for a dashboard that is busy; a part more is lost to it.
FEED_WAITING: Final = 64
#: Whole pictures: each may have megabytes.
PICTURES_WAITING: Final = 4
_LINGER_MS: Final = 2_000
#: Until a process that has just started is connected, its first part waits.
_RECONNECT_MS: Final = 20
_BURST: Final = 256

M = TypeVar("M")


class Received(NamedTuple, Generic[M]):
    """One message: its header and the raw parts behind it."""

    message: M
    attachments: list[bytes]


class Sockets:
    """One process's ZeroMQ context, with the line's keys if it has any."""

    def __init__(self, keys: Path | None) -> None:
        """Load the keys; raises TransportError when they are not there."""
        self._context = zmq.Context()
        self._authenticator: ThreadAuthenticator | None = None
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

    def bind(self, kind: int, address: str, high_water_mark: int) -> zmq.Socket[bytes]:
        """Open a listening socket; raises TransportError when the address is taken."""
        socket = self._socket(kind, address, high_water_mark, server=True)
        try:
            if address.startswith("ipc://"):
                Path(address[6:]).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                if _somebody_listens(Path(address[6:])):  # ZeroMQ would take the path over without a word
                    raise zmq.ZMQError(zmq.EADDRINUSE)
            socket.bind(address)
        except (zmq.ZMQError, OSError) as error:
            socket.close(0)
            raise TransportError(
                f"{address}: cannot listen: {error.strerror}; is another line running? "
                "Stop it or choose another address under transport"
            ) from None
        return socket

    def connect(self, kind: int, address: str, high_water_mark: int) -> zmq.Socket[bytes]:
        """Open a socket that connects now or whenever the other side appears."""
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
        """Close all sockets, giving what is on its way two seconds to leave."""
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.destroy()

    def _socket(self, kind: int, address: str, high_water_mark: int, *, server: bool) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.set_hwm(high_water_mark)
        socket.linger = _LINGER_MS
        socket.reconnect_ivl = _RECONNECT_MS
        if address.startswith("tcp://"):
            # A peer whose host vanished is noticed, and its socket closed, within seconds.
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
            self._authenticator.configure_curve_callback("*", _OnlyTheLine(self._keys[0]))
        socket.curve_server = True


class _OnlyTheLine:
    """Lets in exactly the line's own public key."""

    def __init__(self, public_key: bytes) -> None:
        self._public_key = public_key

    def callback(self, _domain: str, key: bytes) -> bool:
        return key == self._public_key


def make_keys(folder: Path) -> Path:
    """Write a new key pair for a line into a folder and return the secret's path; existing keys stay."""
    secret = folder / "line.key_secret"
    if secret.exists():
        raise TransportError(f"{secret} exists already; remove it first if the line is to have new keys")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    zmq.auth.create_certificates(folder, "line")
    secret.chmod(0o600)
    return secret


class SinkInbox:
    """The sink's end: announcements and results."""

    def __init__(self, sockets: Sockets, announcements: str, results: str) -> None:
        """Listen on both addresses."""
        self._announcements = sockets.bind(zmq.PULL, announcements, ANNOUNCEMENTS_WAITING)
        self._results = sockets.bind(zmq.PULL, results, RESULTS_WAITING)
        self._poller = zmq.Poller()
        self._poller.register(self._announcements, zmq.POLLIN)
        self._poller.register(self._results, zmq.POLLIN)

    def receive(self, timeout_ns: int) -> list[Received[ToSink]]:
        """Return what has come, announcements first, after waiting at most `timeout_ns`."""
        self._poller.poll(max(0, -(-timeout_ns // 1_000_000)))
        received: list[Received[ToSink]] = []
        for name, socket in (("announcements", self._announcements), ("results", self._results)):
            for parts in _burst(socket):
                try:
                    received.append(Received(decode_to_sink(parts[0]), parts[1:]))
                except WireError as error:
                    _unreadable(name, error)
        return received


class SinkOutbox:
    """Capture's and infer's way to the sink."""

    def __init__(self, sockets: Sockets, address: str, waiting: int) -> None:
        """Connect to the sink's address."""
        self._socket = sockets.connect(zmq.PUSH, address, waiting)

    def send(self, message: ToSink, attachments: Sequence[bytes] = ()) -> bool:
        """Send or queue a message; False when the queue is full and the message is lost."""
        try:
            self._socket.send_multipart([encode(message), *attachments], zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True


class FrameServer:
    """Capture's end of the frames: hears the workers' credit, hands frames to the one chosen."""

    def __init__(self, sockets: Sockets, address: str) -> None:
        """Listen on the camera's address."""
        self._socket = sockets.bind(zmq.ROUTER, address, FRAMES_WAITING)
        self._socket.router_mandatory = True
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)

    def wake_on(self, file_descriptor: int) -> None:
        """Let `wait` return also when this file descriptor becomes readable."""
        self._poller.register(file_descriptor, zmq.POLLIN)

    def wait(self, timeout_ms: float) -> None:
        """Wait for credit, the file descriptor, or the timeout."""
        self._poller.poll(round(timeout_ms))

    def credit(self) -> list[tuple[bytes, Ready]]:
        """Return the credit messages that have come, each with the worker's identity."""
        messages: list[tuple[bytes, Ready]] = []
        for parts in _burst(self._socket):
            try:
                messages.append((parts[0], decode_to_capture(parts[1])))
            except (WireError, IndexError) as error:
                _unreadable("credit", error)
        return messages

    def send(self, worker: bytes, header: FrameHeader, pixels: bytes, view: bytes) -> bool:
        """Hand a frame to a worker; False when its connection has ended."""
        try:
            self._socket.send_multipart([worker, encode(header), pixels, view], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def tell(self, worker: bytes, message: CutFor) -> None:
        """Tell a worker something that is repeated; lost silently when its connection has ended or is full."""
        try:
            self._socket.send_multipart([worker, encode(message)], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise


class FrameClients:
    """A worker's ends of the frames, one for each camera."""

    def __init__(self, sockets: Sockets, addresses: dict[str, str]) -> None:
        """Connect to every camera's address."""
        self._sockets = {
            camera: sockets.connect(zmq.DEALER, address, FRAMES_WAITING) for camera, address in addresses.items()
        }
        for socket in self._sockets.values():
            socket.linger = 0  # credit for a camera that has ended is worth no waiting
        self._poller = zmq.Poller()
        for socket in self._sockets.values():
            self._poller.register(socket, zmq.POLLIN)

    def wake_on(self, file_descriptor: int) -> None:
        """Let `receive` return also when this file descriptor becomes readable."""
        self._poller.register(file_descriptor, zmq.POLLIN)

    def receive(self, timeout_ns: int) -> list[tuple[str, Received[ToWorker]]]:
        """Return (camera, message) for all that has come, after waiting at most `timeout_ns`."""
        ready = dict(self._poller.poll(max(0, -(-timeout_ns // 1_000_000))))
        received: list[tuple[str, Received[ToWorker]]] = []
        for camera, socket in self._sockets.items():
            for parts in _burst(socket) if socket in ready else ():
                try:
                    received.append((camera, Received(decode_to_worker(parts[0]), parts[1:])))
                except WireError as error:
                    _unreadable("frames", error)
        return received

    def grant(self, camera: str, ready: Ready) -> None:
        """Tell a camera's process what this worker takes; lost silently while that process is down."""
        try:
            self._sockets[camera].send(encode(ready), zmq.NOBLOCK)
        except zmq.Again:
            log.debug("no room for credit to %s", camera)


class FeedServer:
    """The sink's end of the live feed: never waits, and loses what a dashboard does not take."""

    def __init__(self, sockets: Sockets, address: str) -> None:
        """Listen on the feed's address."""
        self._socket = sockets.bind(zmq.XPUB, address, FEED_WAITING)
        self._socket.linger = 0
        self._topics: set[bytes] = set()

    def wanted(self) -> bool:
        """Whether anybody listens, as far as was heard until now."""
        for parts in _burst(self._socket):
            # ZeroMQ tells of a topic's first listener and of its last one's end.
            if parts[0][:1] == b"\1":
                self._topics.add(parts[0][1:])
            elif parts[0][:1] == b"\0":
                self._topics.discard(parts[0][1:])
        return bool(self._topics)

    def send(self, message: ToDashboard, attachments: Sequence[bytes] = ()) -> None:
        """Hand a message to every dashboard that has room for it."""
        try:
            self._socket.send_multipart([encode(message), *attachments], zmq.NOBLOCK)
        except zmq.Again:
            log.debug("no room in the feed")


class FeedClient:
    """A dashboard's end of the live feed."""

    def __init__(self, sockets: Sockets, address: str) -> None:
        """Connect to the sink's feed, now or whenever it appears."""
        self._socket = sockets.connect(zmq.SUB, address, FEED_WAITING)
        self._socket.linger = 0
        self._socket.subscribe(b"")

    def receive(self, timeout_ms: int) -> list[Received[ToDashboard]]:
        """Return what has come, oldest first, after waiting at most `timeout_ms`."""
        if not self._socket.poll(timeout_ms):
            return []
        received: list[Received[ToDashboard]] = []
        for parts in _burst(self._socket):
            try:
                received.append(Received(decode_to_dashboard(parts[0]), parts[1:]))
            except WireError as error:
                _unreadable("feed", error)
        return received


class Tap:
    """Capture's end of the pictures for listeners: costs nothing while nobody listens, and never waits."""

    def __init__(self, sockets: Sockets, address: str) -> None:
        """Listen on the camera's address."""
        self._socket = sockets.bind(zmq.XPUB, address, PICTURES_WAITING)
        self._socket.xpub_nodrop = True  # a full queue is said, not passed over
        self._socket.linger = 0
        self.listeners = False

    def look(self) -> None:
        """Notice whether somebody listens."""
        for parts in _burst(self._socket):
            self.listeners = parts[0][:1] == b"\x01"

    def send(self, frame: TapFrame, pixels: bytes) -> bool:
        """Hand a picture to the listeners; False when one is too slow and it is lost."""
        try:
            self._socket.send_multipart([encode(frame), pixels], zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True


class TapListener:
    """The other end of a camera's tap."""

    def __init__(self, sockets: Sockets, address: str) -> None:
        """Connect to the camera's address, and hear everything."""
        self._socket = sockets.connect(zmq.SUB, address, PICTURES_WAITING)
        self._socket.linger = 0
        self._socket.subscribe(b"")

    def receive(self, timeout_ms: int) -> Received[TapFrame] | None:
        """Return the next picture, or None when none came in time."""
        if not self._socket.poll(timeout_ms):
            return None
        parts = self._socket.recv_multipart()
        try:
            return Received(decode_to_listener(parts[0]), parts[1:])
        except WireError as error:
            _unreadable("tap", error)
            return None


def _somebody_listens(path: Path) -> bool:
    with socket_module.socket(socket_module.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True  # alive, with its hands full
        except OSError:
            return False
    return True


def _burst(socket: zmq.Socket[bytes]) -> list[list[bytes]]:
    """Return the messages that wait on a socket, at most so many that no other socket starves."""
    messages: list[list[bytes]] = []
    while len(messages) < _BURST:
        try:
            messages.append(socket.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            break
    return messages


def _unreadable(socket: str, error: Exception) -> None:
    WIRE_ERRORS.labels(socket).inc()
    log.error("%s: unreadable message: %s", socket, error)
