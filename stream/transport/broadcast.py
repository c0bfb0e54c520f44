"""Sockets whose receivers may miss messages: the live feed of the sink, and a camera's tap with whole frames."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import zmq

from stream.core.errors import WireError
from stream.transport.messages import (
    SettledPart,
    TapFrame,
    ToDashboard,
    decode_to_dashboard,
    decode_to_listener,
    encode,
)
from stream.transport.sockets import Received, Sockets, count_unreadable, receive_burst

log = logging.getLogger(__name__)

#: Messages that may wait for one dashboard; further ones are dropped for it.
FEED_WAITING: Final = 64
#: Whole frames that may wait for one listener, megabytes each.
TAP_FRAMES_WAITING: Final = 4


class FeedServer:
    """The sink's end of the live feed: it never waits, and drops what a dashboard is too slow for."""

    def __init__(self, sockets: Sockets, address: str) -> None:
        """Listen on the feed's address; raises TransportError."""
        self._socket = sockets.bind(zmq.XPUB, address, FEED_WAITING)
        self._socket.linger = 0
        self._topics: set[bytes] = set()

    def has_subscribers(self) -> bool:
        """Whether a dashboard is connected, by the subscriptions received so far."""
        for parts in receive_burst(self._socket):
            # ZeroMQ reports the first subscription to a topic, and the end of the last one.
            if parts[0][:1] == b"\1":
                self._topics.add(parts[0][1:])
            elif parts[0][:1] == b"\0":
                self._topics.discard(parts[0][1:])
        return bool(self._topics)

    def send(self, message: ToDashboard, attachments: Sequence[bytes] = ()) -> None:
        """Send a message to every dashboard that has room for it."""
        try:
            self._socket.send_multipart([encode(message), *attachments], zmq.NOBLOCK)
        except zmq.Again:
            log.debug("live feed: message dropped: the queue is full")


class FeedClient:
    """A dashboard's end of the live feed."""

    def __init__(self, sockets: Sockets, address: str) -> None:
        """Connect to the sink's feed, now or as soon as it appears."""
        self._socket = sockets.connect(zmq.SUB, address, FEED_WAITING)
        self._socket.linger = 0
        self._socket.subscribe(b"")

    def receive(self, timeout_ms: int) -> list[Received[ToDashboard]]:
        """Return the messages that have arrived, oldest first; waits at most `timeout_ms` for one."""
        if not self._socket.poll(timeout_ms):
            return []
        received: list[Received[ToDashboard]] = []
        for parts in receive_burst(self._socket):
            try:
                message = decode_to_dashboard(parts[0])
                if len(parts) != (3 if isinstance(message, SettledPart) else 1):
                    raise WireError(f"message to a dashboard: {len(parts) - 1} attachments")
                received.append(Received(message, parts[1:]))
            except WireError as error:
                count_unreadable("feed", error)
        return received


class Tap:
    """Capture's end of a camera's tap, which sends whole frames: it never waits, and is idle without a listener."""

    def __init__(self, sockets: Sockets, address: str) -> None:
        """Listen on the camera's address; raises TransportError."""
        self._socket = sockets.bind(zmq.XPUB, address, TAP_FRAMES_WAITING)
        self._socket.xpub_nodrop = True  # raise for a full queue instead of dropping silently
        self._socket.linger = 0
        #: Whether a listener was connected at the last `update_listeners`.
        self.has_listeners = False

    def update_listeners(self) -> None:
        """Read the subscriptions that have arrived."""
        for parts in receive_burst(self._socket):
            self.has_listeners = parts[0][:1] == b"\x01"

    def send(self, frame: TapFrame, pixels: bytes) -> bool:
        """Send a frame to the listeners; False when one of them is too slow and the frame is dropped."""
        try:
            self._socket.send_multipart([encode(frame), pixels], zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True


class TapListener:
    """The receiving end of a camera's tap."""

    def __init__(self, sockets: Sockets, address: str) -> None:
        """Connect to the camera's address, now or as soon as its process appears."""
        self._socket = sockets.connect(zmq.SUB, address, TAP_FRAMES_WAITING)
        self._socket.linger = 0
        self._socket.subscribe(b"")

    def receive(self, timeout_ms: int) -> Received[TapFrame] | None:
        """Return the next frame; None when none arrives within `timeout_ms`, or it cannot be read."""
        if not self._socket.poll(timeout_ms):
            return None
        parts = self._socket.recv_multipart()
        try:
            frame = decode_to_listener(parts[0])
            if len(parts) != 2:
                raise WireError(f"message to a camera's listener: {len(parts) - 1} attachments")
            return Received(frame, parts[1:])
        except WireError as error:
            count_unreadable("tap", error)
            return None
