"""Who of the line's cameras and workers is well, judged from what the sink hears of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple


class PeerHealth(NamedTuple):
    """How one camera or worker stands at a moment.

    Attributes:
        kind, name: who.
        up: it was heard of lately, reports no fault, and has not ended.
        down: it was heard of once and now is silent or faulty; neither before it was first heard, for a while.
        text: what is wrong, for a person.
        last_frame_age_ns: of a camera's newest frame, if it had one.
    """

    kind: Literal["camera", "worker"]
    name: str
    up: bool
    down: bool
    text: str
    last_frame_age_ns: int | None


class _Peer:
    def __init__(self) -> None:
        self.heard_ns: int | None = None
        self.fault: str | None = None
        self.ended = False
        self.pid: int | None = None
        self.replaced = False
        self.last_frame_ns: int | None = None

    def heard(self, pid: int, now_ns: int) -> None:
        self.replaced = self.replaced or (self.pid not in (None, pid) and not self.ended)
        self.pid, self.heard_ns = pid, now_ns


class PeerMonitor:
    """The last that was heard of every camera and worker. Pure: the clock is passed in."""

    def __init__(
        self,
        cameras: Iterable[str],
        workers: Iterable[str],
        *,
        since_ns: int,
        grace_ns: int,
        silent_ns: dict[str, int],
    ) -> None:
        """Know the names, and after how long a silence of each kind (`camera`, `worker`) means down.

        Who was never heard of is down `grace_ns` after `since_ns`.
        """
        self._expected_by_ns = since_ns + grace_ns
        self._cameras = {name: _Peer() for name in cameras}
        self._workers = {name: _Peer() for name in workers}
        self._silent_ns = silent_ns

    def camera_heard(self, name: str, *, pid: int, fault: str | None, last_frame_ns: int | None, now_ns: int) -> None:
        """Note a camera's report; `last_frame_ns` is on this host's clock."""
        peer = self._cameras[name]
        peer.heard(pid, now_ns)
        peer.fault, peer.ended = fault, False
        peer.last_frame_ns = last_frame_ns or peer.last_frame_ns

    def camera_ended(self, name: str) -> None:
        """Note that a camera said goodbye: its silence means nothing."""
        self._cameras[name].ended = True

    def worker_heard(self, name: str, *, pid: int, ending: bool, now_ns: int) -> None:
        """Note a worker's report; with `ending`, its silence from now on means nothing."""
        peer = self._workers[name]
        peer.heard(pid, now_ns)
        peer.ended = ending

    def knows(self, kind: Literal["camera", "worker"], name: str) -> bool:
        """Whether the configuration has such a camera or worker."""
        return name in (self._cameras if kind == "camera" else self._workers)

    def health(self, now_ns: int) -> list[PeerHealth]:
        """Return how everyone stands now.

        Someone whose process was replaced is down once, even if that took less than the silence allowed.
        """
        cameras = [self._judge("camera", name, peer, now_ns) for name, peer in self._cameras.items()]
        return cameras + [self._judge("worker", name, peer, now_ns) for name, peer in self._workers.items()]

    def _judge(self, kind: Literal["camera", "worker"], name: str, peer: _Peer, now_ns: int) -> PeerHealth:
        if peer.heard_ns is None:
            silent = now_ns > self._expected_by_ns
        else:
            silent = now_ns - peer.heard_ns > self._silent_ns[kind]
        replaced, peer.replaced = peer.replaced, False
        down = not peer.ended and (silent or replaced or peer.fault is not None)
        reason = "its process is silent" if silent else "its process died" if replaced else peer.fault or "no fault"
        age_ns = None if peer.last_frame_ns is None else max(0, now_ns - peer.last_frame_ns)
        return PeerHealth(
            kind=kind,
            name=name,
            up=peer.heard_ns is not None and not down and not peer.ended,
            down=down,
            text=f"{kind} {name} is down: {reason}",
            last_frame_age_ns=age_ns,
        )


def blind(peers: Iterable[PeerHealth], before: bool) -> bool:
    """Return whether parts may pass unseen: from the start and when a camera is down, until all are up at once."""
    cameras = [health for health in peers if health.kind == "camera"]
    if any(health.down for health in cameras):
        return True
    return before and not all(health.up for health in cameras)
