"""The clocks of the cameras' hosts, measured by the worker: a skew must not make frames look too late."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from stream.core import metrics
from stream.core.clock import Clock, local_clock, now_ns
from stream.core.clock_skew import ClockExchange, PeerClock
from stream.transport.messages import ClockReply
from stream.transport.pipeline import FrameClients

#: Interval between two questions for the time, ns.
_ASK_NS = 250_000_000


class CameraClocks:
    """Asks the capture processes on other hosts what time it is. Used by the worker's loop."""

    def __init__(self, clients: FrameClients, cameras: Iterable[str]) -> None:
        """Ask through the worker's sockets."""
        self._clients = clients
        self._clocks = {camera: PeerClock() for camera in cameras}
        self._asked_ns: dict[str, deque[int]] = {camera: deque(maxlen=64) for camera in self._clocks}
        #: By camera whose process has answered or sent a frame, its last clock.
        self._known: dict[str, Clock] = {}
        self._next_ns = 0

    def ask(self, now: int) -> None:
        """Ask every camera that is not known to be on this host, several times a second."""
        if now < self._next_ns:
            return
        self._next_ns = now + _ASK_NS
        here = local_clock()
        for camera in self._clocks:
            known = self._known.get(camera)
            if known is None or known.boot_id != here.boot_id:
                self._asked_ns[camera].append(self._clients.ask_clock(camera))

    def on_reply(self, camera: str, reply: ClockReply) -> None:
        """Take an answer; one to a question that was not asked is left out."""
        if reply.asked_ns not in self._asked_ns[camera]:
            return
        self._asked_ns[camera].remove(reply.asked_ns)
        exchange = ClockExchange(reply.asked_ns, reply.received_ns, reply.answered_ns, now_ns())
        self._clocks[camera].add(reply.clock.boot_id, exchange)
        self.note(camera, reply.clock)

    def note(self, camera: str, clock: Clock) -> None:
        """Note the clock in a message of a camera's process."""
        self._known[camera] = clock

    def to_local_ns(self, camera: str, time_ns: int, clock: Clock) -> int:
        """Translate a time of a camera's process by the measured offset, or through real time before the first."""
        return self._clocks[camera].to_local_ns(time_ns, clock, local_clock())

    def skews_ns(self) -> dict[str, int]:
        """Return by how much the clocks of the cameras' hosts are ahead of this host's, where that was measured."""
        here = local_clock()
        skews = {camera: self._clocks[camera].skew_ns(clock, here) for camera, clock in self._known.items()}
        measured = {camera: skew_ns for camera, skew_ns in skews.items() if skew_ns is not None}
        for camera, skew_ns in measured.items():
            metrics.CLOCK_OFFSET_SECONDS.labels(camera).set(skew_ns / 1e9)
        return measured
