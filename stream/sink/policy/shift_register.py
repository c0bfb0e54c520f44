"""A shift register by the belt's encoder: readings (time, count) in, commands with the moment of their reject out.

Pure: the clock is passed in. The count may wrap, the belt may stop or run backwards. When readings stay away, or the
count jumps, the positions of parts are unknown: everything that was tracked is dropped and returned as lost.
"""

from __future__ import annotations

import bisect
import heapq
from collections import deque
from typing import NamedTuple

from stream.devices.actuators.actuator import RejectCommand

#: Readings over which the speed is measured: a single step of a coarse encoder would not do.
_SPEED_SAMPLES = 5


class Tracked(NamedTuple):
    """A command whose moment depends on the belt.

    Attributes:
        command: its `planned_ns` is 0 until the moment is known.
        captured_ns: exposure of the part.
        transport_counts: from the exposure to the reject.
        tolerance_counts: how far past the reject the pulse may still begin.
    """

    command: RejectCommand
    captured_ns: int
    transport_counts: int
    tolerance_counts: int


class SampleOutcome(NamedTuple):
    """Result of one encoder reading.

    Attributes:
        fire: commands with their moment, between this reading and about the next.
        lost: commands that can no longer be placed, with the reason.
    """

    fire: list[RejectCommand]
    lost: list[tuple[RejectCommand, str]]


class _Sample(NamedTuple):
    at_ns: int
    position: int


class ShiftRegister:
    """The parts between camera and reject, by their position on the belt in counts that never wrap."""

    def __init__(self, *, wrap: int, poll_ns: int, stale_ns: int, keep_ns: int) -> None:
        """Count modulo `wrap`; lose all parts in a gap above `stale_ns`; place exposures up to `keep_ns` old."""
        self._wrap = wrap
        self._poll_ns = poll_ns
        self._stale_ns = stale_ns
        self._keep_ns = keep_ns
        self._samples: deque[_Sample] = deque()
        self._unplaced: list[Tracked] = []
        self._heap: list[tuple[int, int, int, RejectCommand]] = []  # target, order, tolerance, command
        self._added = 0

    def __len__(self) -> int:
        return len(self._unplaced) + len(self._heap)

    def commands(self) -> list[RejectCommand]:
        """Return the tracked commands; one with a known position has the count of its reject as `due_count`."""
        return [entry[3] for entry in sorted(self._heap)] + [tracked.command for tracked in self._unplaced]

    def add(self, tracked: Tracked) -> None:
        """Track a part from now on; the next reading determines its position."""
        self._unplaced.append(tracked)

    def restore(self, command: RejectCommand, tolerance_counts: int) -> bool:
        """Track a command of before a restart; False before the first reading, or without a `due_count`."""
        if command.due_count is None or not self._samples:
            return False
        here = self._samples[-1].position
        self._enter(command, here + self._difference(command.due_count - here), tolerance_counts)
        return True

    def sample(self, at_ns: int, count: int) -> SampleOutcome:
        """Take one reading of the encoder."""
        lost: list[tuple[RejectCommand, str]] = []
        if self._samples:
            last = self._samples[-1]
            if at_ns <= last.at_ns:
                return SampleOutcome([], [])
            moved = self._difference(count - last.position)
            if at_ns - last.at_ns > self._stale_ns:
                lost = self.drop(f"the encoder was silent for {(at_ns - last.at_ns) / 1e6:.0f} ms")
            elif abs(moved) > self._wrap // 4:
                lost = self.drop(f"the encoder jumped by {moved} counts")
        position = count if not self._samples else self._samples[-1].position + moved
        self._samples.append(_Sample(at_ns, position))
        while self._samples[0].at_ns < at_ns - self._keep_ns:
            self._samples.popleft()
        lost += self._place()
        fire, late = self._due()
        return SampleOutcome(fire, lost + late)

    def silent(self, now_ns: int) -> list[tuple[RejectCommand, str]]:
        """Drop what is tracked when the last reading is too old; returns the lost commands with the reason."""
        if self._samples and now_ns - self._samples[-1].at_ns <= self._stale_ns:
            return []
        old_ns = now_ns - self._stale_ns
        if self._samples:
            return self.drop("the encoder is silent")
        lost = [tracked.command for tracked in self._unplaced if tracked.captured_ns < old_ns]
        self._unplaced = [tracked for tracked in self._unplaced if tracked.captured_ns >= old_ns]
        return [(command, "the encoder is silent") for command in lost]

    def drop(self, reason: str) -> list[tuple[RejectCommand, str]]:
        """Stop tracking everything; returns the lost commands with the reason."""
        lost = [(command, reason) for command in self.commands()]
        self._heap, self._unplaced = [], []
        self._samples.clear()
        return lost

    def _difference(self, counts: int) -> int:
        """Return the shortest distance between two counts modulo wrap, positive forwards."""
        return (counts + self._wrap // 2) % self._wrap - self._wrap // 2

    def _enter(self, command: RejectCommand, target: int, tolerance: int) -> None:
        self._added += 1
        heapq.heappush(self._heap, (target, self._added, tolerance, command._replace(due_count=target % self._wrap)))

    def _place(self) -> list[tuple[RejectCommand, str]]:
        """Interpolate the positions of exposures, except those after the newest reading; returns the lost."""
        waiting: list[Tracked] = []
        lost: list[tuple[RejectCommand, str]] = []
        for tracked in self._unplaced:
            if tracked.captured_ns > self._samples[-1].at_ns:
                waiting.append(tracked)
            elif tracked.captured_ns < self._samples[0].at_ns:
                lost.append((tracked.command, "the encoder had no reading at its exposure"))
            else:
                target = self._position(tracked.captured_ns) + tracked.transport_counts
                self._enter(tracked.command, target, tracked.tolerance_counts)
        self._unplaced = waiting
        return lost

    def _position(self, at_ns: int) -> int:
        after = bisect.bisect_left(self._samples, at_ns, key=lambda sample: sample.at_ns)
        later = self._samples[after]
        if later.at_ns == at_ns:
            return later.position
        before = self._samples[after - 1]
        share = (at_ns - before.at_ns) / (later.at_ns - before.at_ns)
        return before.position + round(share * (later.position - before.position))

    def _due(self) -> tuple[list[RejectCommand], list[tuple[RejectCommand, str]]]:
        """Take the commands that are at their reject or will be before about the next reading; returns (fire, late)."""
        fire: list[RejectCommand] = []
        late: list[tuple[RejectCommand, str]] = []
        if len(self._samples) < 2:
            return fire, late
        newest, base = self._samples[-1], self._samples[-min(_SPEED_SAMPLES, len(self._samples))]
        stopped = newest.position <= self._samples[-2].position
        speed = 0.0 if stopped else (newest.position - base.position) / (newest.at_ns - base.at_ns)
        reached = newest.position + max(0.0, speed) * self._poll_ns
        while self._heap and self._heap[0][0] <= reached:
            target, _, tolerance, command = heapq.heappop(self._heap)
            past = newest.position - target
            if past > tolerance:
                late.append((command, f"it was {past} counts past the reject"))
            elif speed <= 0:  # the belt has stopped right at the reject: now or never
                fire.append(command._replace(planned_ns=newest.at_ns, tolerance_ns=self._poll_ns))
            else:
                moment_ns = newest.at_ns - round(past / speed)
                fire.append(command._replace(planned_ns=moment_ns, tolerance_ns=max(1, round(tolerance / speed))))
        return fire, late
