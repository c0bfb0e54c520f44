"""Which connections belong to the line's workers: bounded, whoever connects. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

#: Connections of one worker that are remembered. One that has ended is noticed when a frame is sent over it.
_REMEMBERED = 4


class WorkerConnections:
    """The newest connections of each worker of the configuration, by socket identity."""

    def __init__(self, workers: Iterable[str]) -> None:
        self._identities: dict[str, deque[bytes]] = {name: deque() for name in workers}

    def note(self, worker: str, identity: bytes) -> bytes | None:
        """Note a message of a worker; returns the connection that is to be forgotten in turn, if any.

        Raises KeyError for a worker that the line does not have.
        """
        known = self._identities[worker]
        if identity in known:
            return None
        known.append(identity)
        return known.popleft() if len(known) > _REMEMBERED else None
