"""Parts settle out of order; the event store gets them in the order of their numbers."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Reorder(Generic[T]):
    """Holds back what settled early until every part before it has settled, for each station separately.

    Every part settles by its deadline at the latest, so every item is released in the end, and there are never
    more of them than parts pending.
    """

    def __init__(self) -> None:
        self._next_seq: dict[str, int] = {}
        self._waiting: dict[str, dict[int, T]] = {}

    def __len__(self) -> int:
        """Return how many items wait for an earlier part, over all stations."""
        return sum(len(waiting) for waiting in self._waiting.values())

    def start(self, station: str, next_seq: int) -> None:
        """Set a station's first number; raises ValueError while parts of it wait, since they would be lost."""
        if self._waiting.get(station):
            raise ValueError(f"station {station}: {len(self._waiting[station])} parts wait; flush before start")
        self._next_seq[station] = next_seq
        self._waiting[station] = {}

    def add(self, station: str, seq: int, item: T) -> list[T]:
        """Take the item of one settled part and return the items that are now in order, possibly none.

        Raises ValueError for a station that was not started and for a part that was added before.
        """
        if station not in self._next_seq:
            raise ValueError(f"station {station}: not started")
        waiting = self._waiting[station]
        if seq < self._next_seq[station] or seq in waiting:
            raise ValueError(f"station {station}: part {seq} has settled before")
        waiting[seq] = item
        released = []
        while self._next_seq[station] in waiting:
            released.append(waiting.pop(self._next_seq[station]))
            self._next_seq[station] += 1
        return released

    def flush(self) -> list[T]:
        """Return all items that wait, station by station in the order of the parts, and continue after them."""
        released = []
        for station, waiting in self._waiting.items():
            if not waiting:
                continue
            self._next_seq[station] = max(waiting) + 1
            released += [waiting[seq] for seq in sorted(waiting)]
            waiting.clear()
        return released
