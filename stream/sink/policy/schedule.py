"""When an output is switched: on at a pulse's moment, within its tolerance or not at all; off when the last one ends.

Pure: the clock is passed in, and what to do is returned.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from stream.devices.actuators.actuator import RejectCommand


class Due(NamedTuple):
    """What is to be done at a moment, in this order.

    Attributes:
        fire: commands whose moment has come.
        late: commands whose tolerance has passed; they would hit another part.
        end: whether the last pulse is over.
    """

    fire: list[RejectCommand]
    late: list[RejectCommand]
    end: bool = False


class Schedule:
    """Commands of one actuator in the order of their planned moments, and when its output goes off.

    Pulses may overlap: the output stays on until the last of them ends.
    """

    def __init__(self, check_ahead_ns: int = 0) -> None:
        """Have the output's liveness checked `check_ahead_ns` before a pulse; 0: never."""
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
        self._added += 1  # commands of equal moments keep the order in which they were planned
        heapq.heappush(self._heap, (command.planned_ns, self._added, command))

    def commands(self) -> list[RejectCommand]:
        """Return the planned commands in the order of their moments."""
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

    def check_due(self, now_ns: int) -> RejectCommand | None:
        """Return the command for which a liveness check is due now; pulses close behind it need no separate one."""
        if not self._check_ahead_ns or not self._heap:
            return None
        planned_ns, _, command = self._heap[0]
        if command.pulse_ns == 0 or planned_ns <= self._checked_until_ns or now_ns < planned_ns - self._check_ahead_ns:
            return None
        self._checked_until_ns = max(now_ns, planned_ns) + self._check_ahead_ns
        return command if now_ns <= command.expires_ns else None

    def due(self, now_ns: int) -> Due:
        """Take what is to be done now; report each command that was fired to `started`."""
        fire: list[RejectCommand] = []
        late: list[RejectCommand] = []
        while self._heap and self._heap[0][0] <= now_ns:
            command = heapq.heappop(self._heap)[2]
            if command.pulse_ns == 0:  # off is safe, however late; a pulse for a part before it no longer is
                late, fire = late + fire, []
                self._on_until_ns = None if self._on_until_ns is None else min(self._on_until_ns, now_ns)
            else:
                (fire if now_ns <= command.expires_ns else late).append(command)
        end = not fire and self._on_until_ns is not None and self._on_until_ns <= now_ns
        if end:
            self._on_until_ns = None
        return Due(fire, late, end)

    def started(self, command: RejectCommand, fired_ns: int) -> None:
        """Note that a pulse was started, acknowledged or not: an output that may be on is switched off later."""
        self._on_until_ns = max(self._on_until_ns or 0, fired_ns + command.pulse_ns)


class Heartbeat:
    """The level by which a PLC monitors the line: it toggles as long as the line reports that it is healthy."""

    def __init__(self, period_ns: int | None, *, clear_ns: int) -> None:
        """Toggle every `period_ns` (None: never); postponed rather than within `clear_ns` before a pulse."""
        self._period_ns = period_ns
        self._clear_ns = clear_ns
        self._next_ns = 0
        self._latest_ns = 0
        self._alive_until_ns = 0
        self._level = False

    def keep_alive(self, until_ns: int) -> None:
        """Take the line for healthy until then, or longer if this is called again."""
        self._alive_until_ns = until_ns

    @property
    def next_ns(self) -> int | None:
        """When the level toggles next; None: without a new report of a healthy line it does not."""
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
        self._latest_ns = self._next_ns + self._period_ns  # frequent pulses postpone it by one period at most
        self._level = not self._level
        return self._level
