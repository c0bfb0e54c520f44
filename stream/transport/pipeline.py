"""The sockets between capture, worker and sink: announcements, frames, credit and results.

The diagram is in `sockets.py`. Each class is one process's end and is used by one thread of it.
"""

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
from stream.transport.sockets import Received, Sockets, count_unreadable, receive_burst

log = logging.getLogger(__name__)

#: Announcements that may wait for the sink, 200 bytes each: at 100 parts/s it may be away for over a minute.
ANNOUNCEMENTS_WAITING: Final = 10_000
#: Results that may wait for the sink, each with a JPEG, that of a DEFECT also with its network input. While the sink
#: is away for more parts than this, their deadlines pass anyway.
RESULTS_WAITING: Final = 64
#: Messages between capture and one worker; the frames among them are bounded by the credit, below this limit.
FRAMES_WAITING: Final = 1_000


class SinkInbox:
    """The sink's end: it receives announcements, results and status messages."""

    def __init__(self, sockets: Sockets, announcements: str, results: str) -> None:
        """Listen on both addresses; raises TransportError."""
        self._announcements = sockets.bind(zmq.PULL, announcements, ANNOUNCEMENTS_WAITING)
        self._results = sockets.bind(zmq.PULL, results, RESULTS_WAITING)
        self._poller = zmq.Poller()
        self._poller.register(self._announcements, zmq.POLLIN)
        self._poller.register(self._results, zmq.POLLIN)

    def receive(self, timeout_ns: int) -> list[Received[ToSink]]:
        """Return the messages that have arrived, announcements first; waits at most `timeout_ns` for one."""
        self._poller.poll(max(0, -(-timeout_ns // 1_000_000)))
        received: list[Received[ToSink]] = []
        for name, socket in (("announcements", self._announcements), ("results", self._results)):
            for parts in receive_burst(socket):
                try:
                    received.append(Received(decode_to_sink(parts[0]), parts[1:]))
                except WireError as error:
                    count_unreadable(name, error)
        return received


class SinkOutbox:
    """The end of a capture process or worker: it sends to the sink."""

    def __init__(self, sockets: Sockets, address: str, max_waiting: int) -> None:
        """Connect to the sink's address; `max_waiting` messages are queued while it is away."""
        self._socket = sockets.connect(zmq.PUSH, address, max_waiting)

    def send(self, message: ToSink, attachments: Sequence[bytes] = ()) -> bool:
        """Send or queue a message; False when the queue is full and the message is lost."""
        try:
            self._socket.send_multipart([encode(message), *attachments], zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True


class FrameServer:
    """Capture's end: it receives the workers' credit and sends each frame to the worker that capture has chosen."""

    def __init__(self, sockets: Sockets, address: str) -> None:
        """Listen on the camera's address; raises TransportError."""
        self._socket = sockets.bind(zmq.ROUTER, address, FRAMES_WAITING)
        self._socket.router_mandatory = True
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)

    def wake_on(self, file_descriptor: int) -> None:
        """Have `wait` return when this file descriptor becomes readable, too."""
        self._poller.register(file_descriptor, zmq.POLLIN)

    def wait(self, timeout_ms: float) -> None:
        """Wait for credit, the file descriptor, or the timeout."""
        self._poller.poll(round(timeout_ms))

    def receive_credit(self) -> list[tuple[bytes, CreditGrant]]:
        """Return the grants that have arrived, each with the worker's socket identity."""
        grants: list[tuple[bytes, CreditGrant]] = []
        for parts in receive_burst(self._socket):
            try:
                grants.append((parts[0], decode_to_capture(parts[1])))
            except (WireError, IndexError) as error:
                count_unreadable("credit", error)
        return grants

    def send_frame(self, worker: bytes, header: FrameHeader, pixels: bytes, preview_jpeg: bytes) -> bool:
        """Send a frame to a worker; False when its connection has ended or is full."""
        try:
            self._socket.send_multipart([worker, encode(header), pixels, preview_jpeg], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def send_wanted(self, worker: bytes, message: WantedBundles) -> None:
        """Send the wanted bundles to a worker; dropped when its connection is full or closed, since it is repeated."""
        try:
            self._socket.send_multipart([worker, encode(message)], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise


class FrameClients:
    """A worker's end, with a socket for each camera: it sends credit and receives frames."""

    def __init__(self, sockets: Sockets, addresses: dict[str, str]) -> None:
        """Connect to every camera's address."""
        self._sockets = {
            camera: sockets.connect(zmq.DEALER, address, FRAMES_WAITING) for camera, address in addresses.items()
        }
        for socket in self._sockets.values():
            socket.linger = 0  # a camera that has ended needs no credit
        self._poller = zmq.Poller()
        for socket in self._sockets.values():
            self._poller.register(socket, zmq.POLLIN)

    def wake_on(self, file_descriptor: int) -> None:
        """Have `receive` return when this file descriptor becomes readable, too."""
        self._poller.register(file_descriptor, zmq.POLLIN)

    def receive(self, timeout_ns: int) -> list[tuple[str, Received[ToWorker]]]:
        """Return (camera, message) for each message that has arrived; waits at most `timeout_ns` for one."""
        readable = dict(self._poller.poll(max(0, -(-timeout_ns // 1_000_000))))
        received: list[tuple[str, Received[ToWorker]]] = []
        for camera, socket in self._sockets.items():
            for parts in receive_burst(socket) if socket in readable else ():
                try:
                    received.append((camera, Received(decode_to_worker(parts[0]), parts[1:])))
                except WireError as error:
                    count_unreadable("frames", error)
        return received

    def send_credit(self, camera: str, grant: CreditGrant) -> None:
        """Send a grant to a camera's process; dropped while that process is down, since it is repeated."""
        try:
            self._sockets[camera].send(encode(grant), zmq.NOBLOCK)
        except zmq.Again:
            log.debug("credit for camera %s dropped: its queue is full", camera)
