"""When rejects are fired: at their planned moment, within their tolerance, or not at all."""

from __future__ import annotations

import heapq
from typing import NamedTuple

from stream.actuators.command import RejectCommand


class Due(NamedTuple):
    """What a moment asks for.

    Attributes:
        fire: commands whose moment has come.
        late: commands whose tolerance has passed; they would hit another part.
    """

    fire: list[RejectCommand]
    late: list[RejectCommand]


class Schedule:
    """Commands of one actuator in the order of their planned moments."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, RejectCommand]] = []
        self._added = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, command: RejectCommand) -> None:
        """Plan a command."""
        self._added += 1  # equal moments keep the order of planning
        heapq.heappush(self._heap, (command.planned_ns, self._added, command))

    def commands(self) -> list[RejectCommand]:
        """Return what is planned, in the order of the moments."""
        return [entry[2] for entry in sorted(self._heap)]

    @property
    def next_ns(self) -> int | None:
        """The next planned moment, or None."""
        return self._heap[0][0] if self._heap else None

    def due(self, now_ns: int) -> Due:
        """Take out what is to be fired now and what has become too late."""
        due = Due([], [])
        while self._heap and self._heap[0][0] <= now_ns:
            command = heapq.heappop(self._heap)[2]
            (due.fire if now_ns <= command.expires_ns else due.late).append(command)
        return due
