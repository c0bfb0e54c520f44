"""Health of the line's cameras and workers, from the reports that the sink receives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple


class PeerHealth(NamedTuple):
    """Health of one camera or worker at a moment.

    Attributes:
        kind, name: which one.
        up: its last report is recent and without a fault, it has not ended, and does not wait for the line.
        down: it is silent or faulty. Before the first report it is neither up nor down, for a grace period.
        text: what is wrong, for the alarm; without one, why it is not up.
        last_frame_age_ns: age of a camera's newest frame, if it had one.
    """

    kind: Literal["camera", "worker"]
    name: str
    up: bool
    down: bool
    text: str
    last_frame_age_ns: int | None


class _Peer:
    def __init__(self) -> None:
        self.last_report_ns: int | None = None
        self.fault: str | None = None
        self.ended = False
        self.pid: int | None = None
        self.replaced = False
        self.waits = False
        self.last_frame_ns: int | None = None

    def reported(self, pid: int, now_ns: int) -> None:
        self.replaced = self.replaced or (self.pid not in (None, pid) and not self.ended)
        self.pid, self.last_report_ns = pid, now_ns


class PeerMonitor:
    """Monitors the reports of every camera and worker. Pure: the clock is passed in."""

    def __init__(
        self,
        cameras: Iterable[str],
        workers: Iterable[str],
        *,
        since_ns: int,
        grace_ns: int,
        silent_ns: dict[str, int],
    ) -> None:
        """Expect reports from these; `silent_ns` is the longest silence by kind (`camera`, `worker`) before down.

        One that never reports is down `grace_ns` after `since_ns`.
        """
        self._expected_by_ns = since_ns + grace_ns
        self._cameras = {name: _Peer() for name in cameras}
        self._workers = {name: _Peer() for name in workers}
        self._silent_ns = silent_ns

    def camera_reported(
        self, name: str, *, pid: int, fault: str | None, last_frame_ns: int | None, now_ns: int, waits: bool = False
    ) -> None:
        """Note a camera's report.

        `last_frame_ns` is on this host's clock; `waits` says that its parts have not begun.
        """
        peer = self._cameras[name]
        peer.reported(pid, now_ns)
        peer.fault, peer.ended, peer.waits = fault, False, waits
        peer.last_frame_ns = last_frame_ns or peer.last_frame_ns

    def camera_ended(self, name: str) -> None:
        """Note that a camera has ended on purpose: its silence is no fault."""
        self._cameras[name].ended = True

    def worker_reported(self, name: str, *, pid: int, ending: bool, now_ns: int) -> None:
        """Note a worker's report; with `ending`, its silence from now on is no fault."""
        peer = self._workers[name]
        peer.reported(pid, now_ns)
        peer.ended = ending

    def knows(self, kind: Literal["camera", "worker"], name: str) -> bool:
        """Whether the configuration has such a camera or worker."""
        return name in (self._cameras if kind == "camera" else self._workers)

    def health(self, now_ns: int) -> list[PeerHealth]:
        """Return the health of all cameras, then of all workers.

        One whose process was replaced is down once, even if that took less than the longest silence.
        """
        cameras = [self._assess("camera", name, peer, now_ns) for name, peer in self._cameras.items()]
        return cameras + [self._assess("worker", name, peer, now_ns) for name, peer in self._workers.items()]

    def _assess(self, kind: Literal["camera", "worker"], name: str, peer: _Peer, now_ns: int) -> PeerHealth:
        if peer.last_report_ns is None:
            silent = now_ns > self._expected_by_ns
        else:
            silent = now_ns - peer.last_report_ns > self._silent_ns[kind]
        replaced, peer.replaced = peer.replaced, False
        down = not peer.ended and (silent or replaced or peer.fault is not None)
        reason = "its process is silent" if silent else "its process died" if replaced else peer.fault
        text = "waits for the line to be ready" if peer.waits and not peer.ended else "not there"
        age_ns = None if peer.last_frame_ns is None else max(0, now_ns - peer.last_frame_ns)
        return PeerHealth(
            kind=kind,
            name=name,
            up=peer.last_report_ns is not None and not (down or peer.ended or peer.waits),
            down=down,
            text=f"{kind} {name} is down: {reason}" if down else text,
            last_frame_age_ns=age_ns,
        )


def parts_may_be_missed(peers: Iterable[PeerHealth], before: bool) -> bool:
    """Return whether parts may pass without a frame: at the start and when a camera is down, until all are up at once.

    `before` is the last value; True at the start.
    """
    cameras = [peer for peer in peers if peer.kind == "camera"]
    if any(peer.down for peer in cameras):
        return True
    return before and not all(peer.up for peer in cameras)
