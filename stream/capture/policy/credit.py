"""Which worker gets the next frame: only one that said it has room, and has not been sent it since."""

from __future__ import annotations

from stream.transport.messages import CreditGrant


class _Worker:
    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.free = 0
        self.reported_idle = False
        self.last_sent = 0
        self.accepts: dict[str, tuple[str, ...]] = {}

    @property
    def available(self) -> int:
        return self.free - (self.sent - self.received)

    @property
    def idle(self) -> bool:
        return self.reported_idle and self.sent == self.received


class Credit:
    """The workers' credit as one capture process sees it. Workers are known by their socket identity."""

    def __init__(self, epoch: str) -> None:
        """Name this capture process; counts of an earlier one are void."""
        self._epoch = epoch
        self._workers: dict[bytes, _Worker] = {}
        self._clock = 0

    def update(self, identity: bytes, grant: CreditGrant) -> None:
        """Take in what a worker says of itself."""
        received = grant.received if grant.epoch == self._epoch else 0
        worker = self._workers.setdefault(identity, _Worker())
        worker.received = received
        # A known worker on a new connection has had, and may still read, frames sent over the one before.
        worker.sent = max(worker.sent, received)
        worker.free = grant.free
        worker.reported_idle = grant.idle
        worker.accepts = grant.accepts

    def best(self, *cuts: tuple[str, str]) -> bytes | None:
        """Return an idle worker, or else the one with most room; among equals the one that waited longest.

        None: nobody has room who accepts `cuts`, the (station, bundle) of what is to be sent. Where
        nobody at all accepts them, anybody will do, who then says so.
        """
        accepting = self._accepting(cuts).items()
        ready = [(not w.idle, -w.available, w.last_sent, name) for name, w in accepting if w.available > 0]
        return min(ready)[-1] if ready else None

    def idle_worker(self, *cuts: tuple[str, str]) -> bytes | None:
        """Return a worker that has nothing at all to do, for free-running frames; None: all are busy."""
        idle = [(w.last_sent, name) for name, w in self._accepting(cuts).items() if w.idle]
        return min(idle)[-1] if idle else None

    def _accepting(self, cuts: tuple[tuple[str, str], ...]) -> dict[bytes, _Worker]:
        accepting = {
            name: worker
            for name, worker in self._workers.items()
            if all(bundle_sha256 in worker.accepts.get(station, ()) for station, bundle_sha256 in cuts)
        }
        return accepting or self._workers

    def sent(self, identity: bytes) -> None:
        """Count a frame on its way."""
        worker = self._workers[identity]
        self._clock += 1
        worker.sent += 1
        worker.last_sent = self._clock

    def gone(self, identity: bytes) -> None:
        """Forget a worker whose connection has ended."""
        self._workers.pop(identity, None)
