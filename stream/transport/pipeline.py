"""The line's own sockets: announcements, frames and the credit for them, results."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import zmq

from stream.core.errors import WireError
from stream.transport.messages import (
    CreditGrant,
    FrameHeader,
    ToSink,
    ToWorker,
    WantedBundles,
    decode_to_capture,
    decode_to_sink,
    decode_to_worker,
    encode,
)
from stream.transport.sockets import Received, Sockets, burst, unreadable

log = logging.getLogger(__name__)

#: An announcement has 200 bytes; at 100 parts/s a sink may be away for over a minute.
ANNOUNCEMENTS_WAITING: Final = 10_000
#: A result carries a JPEG, that of a DEFECT also its network input; a sink that is away longer than this many parts
#: has their deadlines passed.
RESULTS_WAITING: Final = 64
#: Credit bounds the frames on their way; the socket's own limit lies above it.
FRAMES_WAITING: Final = 1_000


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
            for parts in burst(socket):
                try:
                    received.append(Received(decode_to_sink(parts[0]), parts[1:]))
                except WireError as error:
                    unreadable(name, error)
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

    def credit(self) -> list[tuple[bytes, CreditGrant]]:
        """Return the credit messages that have come, each with the worker's identity."""
        messages: list[tuple[bytes, CreditGrant]] = []
        for parts in burst(self._socket):
            try:
                messages.append((parts[0], decode_to_capture(parts[1])))
            except (WireError, IndexError) as error:
                unreadable("credit", error)
        return messages

    def send(self, worker: bytes, header: FrameHeader, pixels: bytes, preview_jpeg: bytes) -> bool:
        """Hand a frame to a worker; False when its connection has ended."""
        try:
            self._socket.send_multipart([worker, encode(header), pixels, preview_jpeg], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def send_wanted(self, worker: bytes, message: WantedBundles) -> None:
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
            for parts in burst(socket) if socket in ready else ():
                try:
                    received.append((camera, Received(decode_to_worker(parts[0]), parts[1:])))
                except WireError as error:
                    unreadable("frames", error)
        return received

    def grant(self, camera: str, ready: CreditGrant) -> None:
        """Tell a camera's process what this worker takes; lost silently while that process is down."""
        try:
            self._sockets[camera].send(encode(ready), zmq.NOBLOCK)
        except zmq.Again:
            log.debug("no room for credit to %s", camera)
