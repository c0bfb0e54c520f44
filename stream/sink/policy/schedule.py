"""When an output is switched: on at a pulse's moment, within its tolerance or not at all; off when the last one ends.

Pure: the clock is passed in, and what to do comes out.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from stream.devices.actuators.actuator import RejectCommand


class Due(NamedTuple):
    """What a moment asks for, in this order.

    Attributes:
        fire: commands whose moment has come.
        late: commands whose tolerance has passed; they would hit another part.
        end: whether the last pulse is over.
    """

    fire: list[RejectCommand]
    late: list[RejectCommand]
    end: bool = False


class Schedule:
    """Commands of one actuator in the order of their planned moments, and until when its output is on.

    Pulses may overlap: the output stays on until the last of them ends.
    """

    def __init__(self, check_ahead_ns: int = 0) -> None:
        """Ask for a sign of life `check_ahead_ns` before a pulse; 0: never."""
        self._heap: list[tuple[int, int, RejectCommand]] = []
        self._added = 0
        self._check_ahead_ns = check_ahead_ns
        self._checked_until_ns = 0
        self._on_until_ns: int | None = None

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def on(self) -> bool:
        """Whether a pulse has begun and not ended."""
        return self._on_until_ns is not None

    def add(self, command: RejectCommand) -> None:
        """Plan a command."""
        self._added += 1  # equal moments keep the order of planning
        heapq.heappush(self._heap, (command.planned_ns, self._added, command))

    def commands(self) -> list[RejectCommand]:
        """Return what is planned, in the order of the moments."""
        return [entry[2] for entry in sorted(self._heap)]

    @property
    def next_pulse_ns(self) -> int | None:
        """When the next pulse begins, or None."""
        return self._heap[0][0] if self._heap else None

    @property
    def next_ns(self) -> int | None:
        """The next moment at which there is something to do, or None."""
        moments = [] if self._on_until_ns is None else [self._on_until_ns]
        if self._heap:
            planned_ns, _, command = self._heap[0]
            checked = command.pulse_ns == 0 or planned_ns <= self._checked_until_ns
            moments.append(planned_ns if checked else planned_ns - self._check_ahead_ns)
        return min(moments, default=None)

    def check(self, now_ns: int) -> RejectCommand | None:
        """Return the command before which a sign of life is due now; what follows it closely needs none of its own."""
        if not self._check_ahead_ns or not self._heap:
            return None
        planned_ns, _, command = self._heap[0]
        if command.pulse_ns == 0 or planned_ns <= self._checked_until_ns or now_ns < planned_ns - self._check_ahead_ns:
            return None
        self._checked_until_ns = max(now_ns, planned_ns) + self._check_ahead_ns
        return command if now_ns <= command.expires_ns else None

    def due(self, now_ns: int) -> Due:
        """Take out what is to be done now; whoever fires a command says `began`."""
        fire: list[RejectCommand] = []
        late: list[RejectCommand] = []
        while self._heap and self._heap[0][0] <= now_ns:
            command = heapq.heappop(self._heap)[2]
            if command.pulse_ns == 0:  # off is safe, however late; on for a part before it no more
                late, fire = late + fire, []
                self._on_until_ns = None if self._on_until_ns is None else min(self._on_until_ns, now_ns)
            else:
                (fire if now_ns <= command.expires_ns else late).append(command)
        end = not fire and self._on_until_ns is not None and self._on_until_ns <= now_ns
        if end:
            self._on_until_ns = None
        return Due(fire, late, end)

    def began(self, command: RejectCommand, fired_ns: int) -> None:
        """Note that a pulse was begun, acknowledged or not: an output that may be on is switched off."""
        self._on_until_ns = max(self._on_until_ns or 0, fired_ns + command.pulse_ns)


class Heartbeat:
    """The level that tells a PLC of a healthy line: it toggles for as long as the line says that it is well."""

    def __init__(self, period_ns: int | None, *, clear_ns: int) -> None:
        """Toggle every `period_ns` (None: never), but rather later than less than `clear_ns` before a pulse."""
        self._period_ns = period_ns
        self._clear_ns = clear_ns
        self._next_ns = 0
        self._latest_ns = 0
        self._alive_until_ns = 0
        self._level = False

    def alive(self, until_ns: int) -> None:
        """Note that the line is well, and holds for well until then unless it says so again."""
        self._alive_until_ns = until_ns

    @property
    def next_ns(self) -> int | None:
        """When the level is to toggle next, should the line be well; None: it is not to."""
        if self._period_ns is None or self._next_ns > self._alive_until_ns:
            return None
        return self._next_ns

    def due(self, now_ns: int, next_pulse_ns: int | None) -> bool | None:
        """Return the level to set now, or None."""
        if self._period_ns is None or now_ns < self._next_ns:
            return None
        if now_ns > self._alive_until_ns:
            self._next_ns = max(self._next_ns, self._alive_until_ns + 1)
            return None
        if next_pulse_ns is not None and now_ns > next_pulse_ns - self._clear_ns and now_ns < self._latest_ns:
            self._next_ns = min(max(next_pulse_ns, now_ns) + 1, self._latest_ns)
            return None
        self._next_ns = now_ns + self._period_ns
        self._latest_ns = self._next_ns + self._period_ns  # a fast line does not put it off for ever
        self._level = not self._level
        return self._level
