"""The sockets between capture, worker and sink: announcements, frames, credit and results.

The diagram is in `sockets.py`. Each class is one process's end and is used by one thread of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import zmq

from stream.core.clock import Clock, local_clock, now_ns
from stream.core.errors import WireError
from stream.core.log_lines import bounded, printable
from stream.transport.messages import (
    ClockReply,
    ClockRequest,
    CreditGrant,
    FrameHeader,
    FrameName,
    LineReady,
    ToSink,
    ToWorker,
    WantedBundles,
    Watching,
    decode_clock_reply,
    decode_frame_name,
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


#: Longest text about an unreadable message that goes further than the log, characters.
_DETAIL_CHARS: Final = 200
_NO_CAMERAS: Final[Mapping[str, str]] = MappingProxyType({})


class SinkInbox:
    """The sink's end: it receives announcements, results and status messages, and asks capture processes the time."""

    def __init__(
        self, sockets: Sockets, announcements: str, results: str, cameras: Mapping[str, str] = _NO_CAMERAS
    ) -> None:
        """Listen on both addresses; connect to those on which the `cameras` listen. Raises TransportError."""
        self._announcements = sockets.bind(zmq.PULL, announcements, ANNOUNCEMENTS_WAITING)
        self._results = sockets.bind(zmq.PULL, results, RESULTS_WAITING)
        self._clocks = {camera: sockets.connect(zmq.DEALER, address, 4) for camera, address in cameras.items()}
        self._refused: dict[str, str] = {}
        self._poller = zmq.Poller()
        for socket in (self._announcements, self._results, *self._clocks.values()):
            self._poller.register(socket, zmq.POLLIN)
        for socket in self._clocks.values():
            socket.linger = 0

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
                    self._refused[name] = bounded(printable(str(error)), _DETAIL_CHARS)
        return received

    def take_refused(self) -> dict[str, str]:
        """Return why messages could not be read since the last call, by `announcements` or `results`."""
        refused, self._refused = self._refused, {}
        return refused

    def ask_clock(self, camera: str) -> int:
        """Ask a camera's process what time it is, and return the question's; dropped while that process is down."""
        return _send_clock_request(self._clocks[camera])

    def send_ready(self, camera: str) -> None:
        """Tell a camera's process that the line is ready; dropped while that process is down, since it asks again."""
        try:
            self._clocks[camera].send(encode(LineReady()), zmq.NOBLOCK)
        except zmq.Again:
            log.debug("that the line is ready does not reach camera %s: its process is down", camera)

    def send_watching(self) -> None:
        """Tell the cameras' processes that the line is watched; dropped while one is down, since it is repeated."""
        for camera, socket in self._clocks.items():
            try:
                socket.send(encode(Watching()), zmq.NOBLOCK)
            except zmq.Again:
                log.debug("that the line is watched does not reach camera %s: its process is down", camera)

    def clock_replies(self) -> list[tuple[str, ClockReply]]:
        """Return (camera, reply) for the replies that have arrived; `receive` waits for them, too."""
        replies: list[tuple[str, ClockReply]] = []
        for camera, socket in self._clocks.items():
            for parts in receive_burst(socket):
                try:
                    replies.append((camera, decode_clock_reply(parts[0])))
                except WireError as error:
                    count_unreadable("clocks", error)
        return replies


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

    def __init__(self, sockets: Sockets, address: str, clock: Callable[[], Clock] = local_clock) -> None:
        """Listen on the camera's address, and answer what time it is by `clock`; raises TransportError."""
        #: When the sink last said that the line is watched.
        self.watching_ns: int | None = None
        self._clock = clock
        #: Whether the sink has said that the line is ready.
        self.line_ready = False
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
        """Return the grants that have arrived, each with the worker's socket identity.

        Answers who asks the time, and notes the sink's word that the line is ready.
        """
        grants: list[tuple[bytes, CreditGrant]] = []
        for parts in receive_burst(self._socket):
            try:
                message = decode_to_capture(parts[1])
                match message:
                    case CreditGrant():
                        grants.append((parts[0], message))
                    case ClockRequest():
                        received_ns = now_ns()
                        self._send(parts[0], ClockReply(message.asked_ns, received_ns, now_ns(), self._clock()))
                    case LineReady():
                        self.line_ready = True
                    case Watching():
                        self.watching_ns = now_ns()
            except (WireError, IndexError) as error:
                count_unreadable("credit", error)
        return grants

    def send_frame(self, worker: bytes, header: FrameHeader, pixels: bytes, view: bytes) -> bool:
        """Send a frame to a worker; False when its connection has ended or is full."""
        return self._send(worker, header, pixels, view)

    def send_wanted(self, worker: bytes, message: WantedBundles) -> None:
        """Send the wanted bundles to a worker; dropped when its connection is full or closed, since it is repeated."""
        self._send(worker, message)

    def _send(self, receiver: bytes, message: ToWorker, *attachments: bytes) -> bool:
        try:
            self._socket.send_multipart([receiver, encode(message), *attachments], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True


class UnreadableFrame(NamedTuple):
    """A frame that a worker has received and cannot read.

    Attributes:
        camera: whose socket it came over.
        name: the part and its epoch, as far as these can be read.
        detail: what is wrong with it.
    """

    camera: str
    name: FrameName | None
    detail: str


class FrameClients:
    """A worker's end, with a socket for each camera: it sends credit and receives frames."""

    def __init__(self, sockets: Sockets, addresses: dict[str, str]) -> None:
        """Connect to every camera's address."""
        self._sockets = {
            camera: sockets.connect(zmq.DEALER, address, FRAMES_WAITING) for camera, address in addresses.items()
        }
        for socket in self._sockets.values():
            socket.linger = 0  # a camera that has ended needs no credit
        self._unreadable: list[UnreadableFrame] = []
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
                    if len(parts) > 1:  # only frames have attachments
                        detail = bounded(printable(str(error)), _DETAIL_CHARS)
                        self._unreadable.append(UnreadableFrame(camera, _name_of(parts[0]), detail))
        return received

    def take_unreadable(self) -> list[UnreadableFrame]:
        """Return the frames that could not be read since the last call."""
        unreadable, self._unreadable = self._unreadable, []
        return unreadable

    def ask_clock(self, camera: str) -> int:
        """Ask a camera's process what time it is, and return the question's; dropped while that process is down."""
        return _send_clock_request(self._sockets[camera])

    def send_credit(self, camera: str, grant: CreditGrant) -> None:
        """Send a grant to a camera's process; dropped while that process is down, since it is repeated."""
        try:
            self._sockets[camera].send(encode(grant), zmq.NOBLOCK)
        except zmq.Again:
            log.debug("credit for camera %s dropped: its queue is full", camera)


def _send_clock_request(socket: zmq.Socket[bytes]) -> int:
    asked_ns = now_ns()
    try:
        socket.send(encode(ClockRequest(asked_ns)), zmq.NOBLOCK)
    except zmq.Again:
        log.debug("a question for the time is dropped: the camera's process is down")
    return asked_ns


def _name_of(header: bytes) -> FrameName | None:
    try:
        return decode_frame_name(header)
    except WireError:
        return None
