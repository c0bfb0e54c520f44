"""For whoever listens and may miss something: the live feed, and the whole pictures of a camera."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import zmq

from stream.core.errors import WireError
from stream.transport.messages import TapFrame, ToDashboard, decode_to_dashboard, decode_to_listener, encode
from stream.transport.sockets import Received, Sockets, burst, unreadable

log = logging.getLogger(__name__)

#: What may wait for a dashboard that is busy; a part more is lost to it.
FEED_WAITING: Final = 64
#: Whole pictures: each may have megabytes.
PICTURES_WAITING: Final = 4


class FeedServer:
    """The sink's end of the live feed: never waits, and loses what a dashboard does not take."""

    def __init__(self, sockets: Sockets, address: str) -> None:
        """Listen on the feed's address."""
        self._socket = sockets.bind(zmq.XPUB, address, FEED_WAITING)
        self._socket.linger = 0
        self._topics: set[bytes] = set()

    def wanted(self) -> bool:
        """Whether anybody listens, as far as was heard until now."""
        for parts in burst(self._socket):
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
        for parts in burst(self._socket):
            try:
                received.append(Received(decode_to_dashboard(parts[0]), parts[1:]))
            except WireError as error:
                unreadable("feed", error)
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
        for parts in burst(self._socket):
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
            unreadable("tap", error)
            return None
