"""What waits in capture for a worker: every triggered part in order, only the newest free-running frame."""

from __future__ import annotations

from collections import deque
from typing import Generic, NamedTuple, TypeVar

from stream.core.verdict import Mode

T = TypeVar("T")


class Waiting(NamedTuple, Generic[T]):
    """One part that waits."""

    station: str
    deadline_ns: int
    payload: T


class Backlog(Generic[T]):
    """Bounded queues of one camera's stations."""

    def __init__(self, capacities: dict[str, int], modes: dict[str, Mode]) -> None:
        """Take the triggered stations' capacities and every station's mode."""
        self._capacities = capacities
        self._modes = modes
        self._triggered: deque[Waiting[T]] = deque()
        self._counts = dict.fromkeys(modes, 0)
        self._newest: dict[str, Waiting[T]] = {}

    def __len__(self) -> int:
        return len(self._triggered) + len(self._newest)

    def full(self, station: str) -> bool:
        """Whether a triggered station has no room for one more part: it is overrun."""
        return self._counts[station] >= self._capacities[station]

    def add(self, waiting: Waiting[T]) -> Waiting[T] | None:
        """Queue a part; returns the free-running frame that it displaces, if any."""
        if self._modes[waiting.station] == "freerun":
            displaced = self._newest.pop(waiting.station, None)
            self._newest[waiting.station] = waiting
            return displaced
        self._counts[waiting.station] += 1
        self._triggered.append(waiting)
        return None

    def expire(self, now_ns: int) -> int:
        """Forget triggered parts past their deadline (the sink has judged them); returns how many."""
        kept = deque(waiting for waiting in self._triggered if waiting.deadline_ns > now_ns)
        expired = len(self._triggered) - len(kept)
        if expired:
            self._triggered = kept
            self._counts = dict.fromkeys(self._counts, 0)
            for waiting in kept:
                self._counts[waiting.station] += 1
        return expired

    def next_triggered(self) -> Waiting[T] | None:
        """Return the oldest triggered part without taking it out."""
        return self._triggered[0] if self._triggered else None

    def sent(self) -> None:
        """Take out the oldest triggered part: a worker has it."""
        self._counts[self._triggered.popleft().station] -= 1

    def newest(self) -> list[Waiting[T]]:
        """Return the newest frame of every free-running station without taking it out."""
        return list(self._newest.values())

    def take_newest(self) -> list[Waiting[T]]:
        """Take out the newest frame of every free-running station."""
        taken = self.newest()
        self._newest.clear()
        return taken

    def take_station(self, station: str) -> Waiting[T] | None:
        """Take out the newest frame of one free-running station, if there is one."""
        return self._newest.pop(station, None)
