"""Sockets whose receivers may miss messages: the live feed of the sink, and a camera's tap with whole frames.

A receiver asks for them once a second (`Listen`), and is sent each message as long as it does and has room. ZeroMQ's
subscriptions are not used: its publisher remembers every topic that anybody asks for, without a bound.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import zmq

from stream.core.backoff import LogPace
from stream.core.clock import now_ns
from stream.core.errors import WireError
from stream.core.metrics import DROPPED
from stream.transport.messages import (
    Decoder,
    Listen,
    TapFrame,
    ToDashboard,
    ToListener,
    decode_to_broadcaster,
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
#: Receivers of one feed or tap; further ones are refused and counted.
MAX_RECEIVERS: Final = 16
#: Interval at which a receiver asks.
_LISTEN_NS: Final = 1_000_000_000
#: Silence after which a receiver is forgotten.
_FORGET_NS: Final = 5_000_000_000
#: Longest message from a receiver, bytes; who sends more is disconnected.
_LISTEN_BYTES: Final = 256

M = TypeVar("M")


class _Broadcaster:
    """The sending end: it never waits."""

    def __init__(self, sockets: Sockets, address: str, waiting: int, name: str) -> None:
        self._socket = sockets.bind(zmq.ROUTER, address, waiting, max_part_bytes=_LISTEN_BYTES)
        self._socket.router_mandatory = True  # raise for a full queue or a lost connection
        self._socket.linger = 0
        self._name = name
        self._pace = LogPace()
        #: When each receiver has asked last, by socket identity.
        self._receivers: dict[bytes, int] = {}

    def update_receivers(self) -> bool:
        """Read what receivers have asked, and forget those that no longer do; returns whether there is one."""
        now = now_ns()
        for parts in receive_burst(self._socket):
            try:
                decode_to_broadcaster(parts[1])
            except (WireError, IndexError) as error:
                count_unreadable(self._name, error)
                continue
            if parts[0] in self._receivers or len(self._receivers) < MAX_RECEIVERS:
                self._receivers[parts[0]] = now
            else:
                DROPPED.labels("receiver").inc()
                if self._pace.due(now) is not None:
                    log.warning("%s: %d receivers are served, no further one", self._name, MAX_RECEIVERS)
        for receiver, asked_ns in list(self._receivers.items()):
            if now - asked_ns > _FORGET_NS:
                del self._receivers[receiver]
        return bool(self._receivers)

    def send(self, message: ToDashboard | ToListener, attachments: Sequence[bytes]) -> bool:
        """Send a message to every receiver that has room for it; False when one has not."""
        parts = [encode(message), *attachments]
        had_room = True
        for receiver in list(self._receivers):
            try:
                self._socket.send_multipart([receiver, *parts], zmq.NOBLOCK)
            except zmq.ZMQError as error:
                if error.errno == zmq.EHOSTUNREACH:
                    del self._receivers[receiver]
                elif error.errno == zmq.EAGAIN:
                    had_room = False
                else:
                    raise
        return had_room


class _Receiver(Generic[M]):
    """The receiving end, which connects now or as soon as its peer appears."""

    def __init__(self, sockets: Sockets, address: str, waiting: int, decoder: Decoder[M], name: str) -> None:
        self._socket = sockets.connect(zmq.DEALER, address, waiting)
        self._socket.linger = 0
        self._decoder = decoder
        self._name = name
        self._next_listen_ns = now_ns() + _LISTEN_NS
        self._ask()

    def poll(self, timeout_ms: int) -> bool:
        """Wait for a message, at most `timeout_ms`, and ask for more meanwhile."""
        until_ns = now_ns() + timeout_ms * 1_000_000
        while True:
            now = now_ns()
            if now >= self._next_listen_ns:
                self._next_listen_ns = now + _LISTEN_NS
                self._ask()
            wait_ns = max(0, min(until_ns, self._next_listen_ns) - now)
            if self._socket.poll(-(-wait_ns // 1_000_000)):
                return True
            if now_ns() >= until_ns:
                return False

    def _ask(self) -> None:
        try:
            self._socket.send(encode(Listen()), zmq.NOBLOCK)
        except zmq.Again:
            log.debug("%s: the sender is away", self._name)

    def decode(self, parts: list[bytes]) -> Received[M] | None:
        """Return a message; None, counted, when it cannot be read."""
        try:
            return Received(self._decoder(parts[0]), parts[1:])
        except WireError as error:
            count_unreadable(self._name, error)
            return None

    def burst(self) -> list[Received[M]]:
        """Return the messages that have arrived, oldest first."""
        return [message for parts in receive_burst(self._socket) if (message := self.decode(parts)) is not None]

    def next(self) -> Received[M] | None:
        """Return the oldest message that has arrived; None when it cannot be read."""
        return self.decode(self._socket.recv_multipart())


class FeedServer:
    """The sink's end of the live feed: it never waits, and drops what a dashboard is too slow for."""

    def __init__(self, sockets: Sockets, address: str) -> None:
        """Listen on the feed's address; raises TransportError."""
        self._broadcaster = _Broadcaster(sockets, address, FEED_WAITING, "feed")

    def has_subscribers(self) -> bool:
        """Whether a dashboard is connected, by what has arrived so far."""
        return self._broadcaster.update_receivers()

    def send(self, message: ToDashboard, attachments: Sequence[bytes] = ()) -> None:
        """Send a message to every dashboard that has room for it."""
        if not self._broadcaster.send(message, attachments):
            log.debug("live feed: message dropped: a queue is full")


class FeedClient:
    """A dashboard's end of the live feed."""

    def __init__(self, sockets: Sockets, address: str) -> None:
        """Connect to the sink's feed, now or as soon as it appears."""
        self._receiver = _Receiver(sockets, address, FEED_WAITING, decode_to_dashboard, "feed")

    def receive(self, timeout_ms: int) -> list[Received[ToDashboard]]:
        """Return the messages that have arrived, oldest first; waits at most `timeout_ms` for one."""
        return self._receiver.burst() if self._receiver.poll(timeout_ms) else []


class Tap:
    """Capture's end of a camera's tap, which sends whole frames: it never waits, and is idle without a listener."""

    def __init__(self, sockets: Sockets, address: str) -> None:
        """Listen on the camera's address; raises TransportError."""
        self._broadcaster = _Broadcaster(sockets, address, TAP_FRAMES_WAITING, "tap")
        #: Whether a listener was connected at the last `update_listeners`.
        self.has_listeners = False

    def update_listeners(self) -> None:
        """Read what the listeners have asked."""
        self.has_listeners = self._broadcaster.update_receivers()

    def send(self, frame: TapFrame, pixels: bytes) -> bool:
        """Send a frame to the listeners; False when one of them is too slow and misses it."""
        return self._broadcaster.send(frame, [pixels])


class TapListener:
    """The receiving end of a camera's tap."""

    def __init__(self, sockets: Sockets, address: str) -> None:
        """Connect to the camera's address, now or as soon as its process appears."""
        self._receiver = _Receiver(sockets, address, TAP_FRAMES_WAITING, decode_to_listener, "tap")

    def receive(self, timeout_ms: int) -> Received[TapFrame] | None:
        """Return the next frame; None when none arrives within `timeout_ms`, or it cannot be read."""
        return self._receiver.next() if self._receiver.poll(timeout_ms) else None
