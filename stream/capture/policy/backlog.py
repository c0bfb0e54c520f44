"""Parts that wait in capture for a worker: triggered ones all and in order, free-running ones only the newest."""

from __future__ import annotations

from collections import deque
from typing import Generic, NamedTuple, TypeVar

from stream.core.verdict import Mode

T = TypeVar("T")


class WaitingPart(NamedTuple, Generic[T]):
    """One part that waits for a worker."""

    station: str
    deadline_ns: int
    payload: T


class Backlog(Generic[T]):
    """The bounded queues of one camera's stations."""

    def __init__(self, capacities: dict[str, int], modes: dict[str, Mode]) -> None:
        """Take the triggered stations' capacities and every station's mode."""
        self._capacities = capacities
        self._modes = modes
        self._triggered: deque[WaitingPart[T]] = deque()
        self._counts = dict.fromkeys(modes, 0)
        self._newest: dict[str, WaitingPart[T]] = {}

    def __len__(self) -> int:
        return len(self._triggered) + len(self._newest)

    def full(self, station: str) -> bool:
        """Whether a triggered station has no room for another part: it is overrun."""
        return self._counts[station] >= self._capacities[station]

    def add(self, waiting: WaitingPart[T]) -> WaitingPart[T] | None:
        """Queue a part; returns the older free-running part that it replaces, if any."""
        if self._modes[waiting.station] == "freerun":
            replaced = self._newest.pop(waiting.station, None)
            self._newest[waiting.station] = waiting
            return replaced
        self._counts[waiting.station] += 1
        self._triggered.append(waiting)
        return None

    def expire(self, now_ns: int) -> int:
        """Drop triggered parts past their deadline, which the sink books by itself; returns how many."""
        kept = deque(waiting for waiting in self._triggered if waiting.deadline_ns > now_ns)
        expired = len(self._triggered) - len(kept)
        if expired:
            self._triggered = kept
            self._counts = dict.fromkeys(self._counts, 0)
            for waiting in kept:
                self._counts[waiting.station] += 1
        return expired

    def next_triggered(self) -> WaitingPart[T] | None:
        """Return the oldest triggered part without removing it."""
        return self._triggered[0] if self._triggered else None

    def pop_triggered(self) -> None:
        """Remove the oldest triggered part: it was sent to a worker."""
        self._counts[self._triggered.popleft().station] -= 1

    def newest(self) -> list[WaitingPart[T]]:
        """Return the newest part of every free-running station without removing it."""
        return list(self._newest.values())

    def take_newest(self) -> list[WaitingPart[T]]:
        """Remove and return the newest part of every free-running station."""
        taken = self.newest()
        self._newest.clear()
        return taken

    def take_station(self, station: str) -> WaitingPart[T] | None:
        """Remove and return the newest part of one free-running station, if there is one."""
        return self._newest.pop(station, None)
