"""The clocks of the cameras' hosts: measured over the wire, and whether they may place a reject."""

from __future__ import annotations

from collections import deque

from stream.core import metrics
from stream.core.clock import Clock, local_clock, now_ns
from stream.core.clock_skew import ClockExchange, PeerClock
from stream.line.config import LineConfig
from stream.line.sections import RejectOptions
from stream.transport.pipeline import SinkInbox

#: Interval between two questions for the time, and while there are few answers yet, ns.
_ASK_NS, _ASK_FIRST_NS = 250_000_000, 20_000_000
_FEW = 8
#: Time within which a camera's process must have answered for the first time, ns.
_ANSWER_NS = 2_000_000_000
#: Skew allowed where no reject by time has a tolerance that it must keep: half of the default tolerance, ms.
_ALLOWED_MS = RejectOptions.model_fields["tolerance_ms"].default / 2


class CameraClocks:
    """Asks the capture processes on other hosts what time it is. Used by the sink's loop."""

    def __init__(self, config: LineConfig, inbox: SinkInbox) -> None:
        """Ask through the sink's inbox."""
        self._inbox = inbox
        self._addresses = {camera: config.frames_address(camera) for camera in config.cameras}
        #: By camera, the largest skew with which its times may place a reject.
        self.allowed_ns = {camera: _allowed_ns(config, camera) for camera in config.cameras}
        self._clocks = {camera: PeerClock() for camera in config.cameras}
        #: By camera on another host, its last clock and when that host first appeared.
        self._remote: dict[str, tuple[Clock, int]] = {}
        #: By camera, the questions that may still be answered.
        self._asked_ns: dict[str, deque[int]] = {camera: deque(maxlen=64) for camera in config.cameras}
        self._next_ns: dict[str, int] = {}

    def note(self, camera: str, clock: Clock, now: int) -> None:
        """Note the clock in a message of a camera's process."""
        here = local_clock()
        if clock.boot_id == here.boot_id:
            self._remote.pop(camera, None)
        else:
            known, since_ns = self._remote.get(camera, (clock, now))
            self._remote[camera] = clock, since_ns if known.boot_id == clock.boot_id else now
        skew_ns = self._clocks[camera].skew_ns(clock, here)
        if skew_ns is not None:
            metrics.CLOCK_OFFSET_SECONDS.labels(camera).set(skew_ns / 1e9)

    def step(self) -> None:
        """Take the answers that have arrived, and ask again where it is time."""
        now = now_ns()
        for camera, reply in self._inbox.clock_replies():
            if reply.asked_ns in self._asked_ns[camera]:
                self._asked_ns[camera].remove(reply.asked_ns)
                exchange = ClockExchange(reply.asked_ns, reply.received_ns, reply.answered_ns, now)
                self._clocks[camera].add(reply.clock.boot_id, exchange)
        for camera in self._remote:
            if now >= self._next_ns.get(camera, 0):
                few = self._clocks[camera].exchanges < _FEW
                self._next_ns[camera] = now + (_ASK_FIRST_NS if few else _ASK_NS)
                self._asked_ns[camera].append(self._inbox.ask_clock(camera))

    @property
    def next_ns(self) -> int | None:
        """When the next question is due; None: all cameras are on this host."""
        return min((self._next_ns.get(camera, 0) for camera in self._remote), default=None)

    def to_local_ns(self, camera: str, time_ns: int, clock: Clock) -> int:
        """Translate a time of a camera's process by the measured offset, or through real time before the first."""
        return self._clocks[camera].to_local_ns(time_ns, clock, local_clock())

    def trusts(self, camera: str, clock: Clock) -> bool:
        """Whether the times in a message with this clock may place a reject."""
        skew_ns = self._clocks[camera].skew_ns(clock, local_clock())
        return skew_ns is not None and abs(skew_ns) <= self.allowed_ns[camera]

    def fault(self, camera: str, now: int) -> str | None:
        """Return what is wrong with the clock of a camera's host, for the alarm."""
        if camera not in self._remote:
            return None
        clock, since_ns = self._remote[camera]
        skew_ns = self._clocks[camera].skew_ns(clock, local_clock())
        if skew_ns is None:
            if now - since_ns < _ANSWER_NS:
                return None
            return (
                f"the clock of camera {camera}'s host cannot be compared with this host's: no answer from "
                f"{self._addresses[camera]}; its parts are inspected, and not rejected by time"
            )
        text = skew_text(f"camera {camera}", "the sink", skew_ns, self.allowed_ns[camera])
        return None if text is None else f"{text}; until then its parts are not rejected by time"


def skew_text(ahead: str, of: str, skew_ns: int, allowed_ns: int) -> str | None:
    """Return the alarm's text about a skew, None for one that is allowed."""
    if abs(skew_ns) <= allowed_ns:
        return None
    direction = "ahead of" if skew_ns > 0 else "behind"
    return (
        f"the clock of {ahead}'s host is {abs(skew_ns) / 1e6:.1f} ms {direction} that of {of}'s host, "
        f"{allowed_ns / 1e6:g} ms are allowed: synchronise the clocks (PTP, NTP)"
    )


def _allowed_ns(config: LineConfig, camera: str) -> int:
    """Return half of the smallest tolerance of the camera's rejects by time."""
    rejects = [station.reject for station in config.stations_of(camera).values() if station.reject is not None]
    allowed_ms = [reject.tolerance_ms / 2 for reject in rejects if reject.transport_delay_ms is not None]
    return round(min(allowed_ms, default=_ALLOWED_MS) * 1e6)
