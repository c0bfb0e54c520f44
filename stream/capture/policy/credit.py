"""Which worker gets the next frame: only one whose credit covers it. Credit and frames are counted in totals."""

from __future__ import annotations

from collections import deque

from stream.transport.messages import CreditGrant

#: Time after which a worker that goes on granting credit would have counted a frame if it had arrived, ns.
OVERDUE_NS = 2_000_000_000
#: Grants that a worker must have sent since a frame for that frame to be overdue.
_GRANTS = 3


class _Worker:
    """One worker's last grant, and the frames sent to it since."""

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.free = 0
        self.reported_idle = False
        #: Number of the frame that was sent to it last, over all workers.
        self.last_sent = 0
        self.accepts: dict[str, tuple[str, ...]] = {}
        #: For each frame on its way: when it was sent, and how many grants had arrived by then.
        self.on_their_way: deque[tuple[int, int]] = deque()
        self.grants = 0

    @property
    def available(self) -> int:
        return self.free - (self.sent - self.received)

    @property
    def idle(self) -> bool:
        return self.reported_idle and self.sent == self.received


class Credit:
    """The workers' credit for the frames of one capture process. A worker is known by its socket identity."""

    def __init__(self, epoch: str) -> None:
        """Name this capture process; totals of an earlier one are void."""
        self._epoch = epoch
        self._workers: dict[bytes, _Worker] = {}
        self._sent = 0

    def update(self, identity: bytes, grant: CreditGrant) -> None:
        """Replace what is known of a worker by its newest grant."""
        received = grant.received if grant.epoch == self._epoch else 0
        worker = self._workers.setdefault(identity, _Worker())
        worker.grants += 1
        worker.received = received
        # On a new connection a known worker has received, and may still read, frames that were sent over the old one.
        worker.sent = max(worker.sent, received)
        worker.free = grant.free
        worker.reported_idle = grant.idle
        worker.accepts = grant.accepts
        while len(worker.on_their_way) > worker.sent - worker.received:
            worker.on_their_way.popleft()

    def forget_overdue(self, now_ns: int) -> int:
        """Give the credit of frames back that must have been lost on their way; returns how many.

        A worker counts frames in the order in which they were sent. One that sends grants and does not count a frame
        sent long ago will not count it any more; a worker that is silent altogether may still do so.
        """
        forgotten = 0
        for worker in self._workers.values():
            while worker.on_their_way:
                sent_ns, grants = worker.on_their_way[0]
                if now_ns - sent_ns < OVERDUE_NS or worker.grants - grants < _GRANTS:
                    break
                worker.on_their_way.popleft()
                worker.sent -= 1
                forgotten += 1
        return forgotten

    def best_worker(self, *parts: tuple[str, str]) -> bytes | None:
        """Return an idle worker, else the one with the most room; among equals the one that has waited longest.

        None: no worker has room that accepts all `parts`, given as (station, bundle_sha256). When no worker at all
        accepts them, any worker may be returned; it will answer MODEL_MISMATCH.
        """
        accepting = self._accepting(parts).items()
        candidates = [(not w.idle, -w.available, w.last_sent, name) for name, w in accepting if w.available > 0]
        return min(candidates)[-1] if candidates else None

    def idle_worker(self, *parts: tuple[str, str]) -> bytes | None:
        """Return a worker that has nothing at all to do, for free-running frames; None: all are busy."""
        idle = [(w.last_sent, name) for name, w in self._accepting(parts).items() if w.idle]
        return min(idle)[-1] if idle else None

    def _accepting(self, parts: tuple[tuple[str, str], ...]) -> dict[bytes, _Worker]:
        accepting = {
            name: worker
            for name, worker in self._workers.items()
            if all(bundle_sha256 in worker.accepts.get(station, ()) for station, bundle_sha256 in parts)
        }
        return accepting or self._workers

    def count_sent(self, identity: bytes, now_ns: int) -> None:
        """Count a frame that was sent to a worker."""
        worker = self._workers[identity]
        self._sent += 1
        worker.sent += 1
        worker.on_their_way.append((now_ns, worker.grants))
        worker.last_sent = self._sent

    def remove(self, identity: bytes) -> None:
        """Forget a worker whose connection has ended."""
        self._workers.pop(identity, None)
