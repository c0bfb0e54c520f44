"""Where parts are on a belt by its encoder's count: fed with polled (time, count), it says when each is at its reject.

Pure: samples and commands in, commands with their moment out. A count that wraps, a belt that stands or runs
backwards are all part of it. Samples that stay away, or jump, leave nobody knowing where the parts are: what
was followed is dropped, and said to be.
"""

from __future__ import annotations

import bisect
import heapq
from collections import deque
from typing import NamedTuple

from stream.devices.actuators.actuator import RejectCommand

#: The speed is taken over so many readings: one step of a coarse encoder is none.
_SPEED_SAMPLES = 5


class Tracked(NamedTuple):
    """A command whose moment depends on the belt.

    Attributes:
        command: without a moment of its own.
        captured_ns: exposure of the part.
        transport_counts: from there to the reject.
        tolerance_counts: how far past it the pulse may still begin.
    """

    command: RejectCommand
    captured_ns: int
    transport_counts: int
    tolerance_counts: int


class Moved(NamedTuple):
    """What a sample brings.

    Attributes:
        fire: commands with their moment, which lies between this sample and about the next.
        lost: commands that can no longer be placed, with the reason.
    """

    fire: list[RejectCommand]
    lost: list[tuple[RejectCommand, str]]


class _Sample(NamedTuple):
    at_ns: int
    position: int


class ShiftRegister:
    """The parts between camera and reject, by the belt's position in counts that never wrap."""

    def __init__(self, *, wrap: int, poll_ns: int, stale_ns: int, keep_ns: int) -> None:
        """Count modulo `wrap`; a gap of more than `stale_ns` is a loss; exposures up to `keep_ns` old are placed."""
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
        """Return what is followed; what has its place knows the count (modulo wrap) at which it is due."""
        return [entry[3] for entry in sorted(self._heap)] + [tracked.command for tracked in self._unplaced]

    def add(self, tracked: Tracked) -> None:
        """Follow a part from now on; the next sample finds its place."""
        self._unplaced.append(tracked)

    def restore(self, command: RejectCommand, tolerance_counts: int) -> bool:
        """Follow again what was followed before a restart; False: before the first sample, or it has no place."""
        if command.due_count is None or not self._samples:
            return False
        here = self._samples[-1].position
        self._follow(command, here + self._difference(command.due_count - here), tolerance_counts)
        return True

    def sample(self, at_ns: int, count: int) -> Moved:
        """Take one reading of the encoder."""
        lost: list[tuple[RejectCommand, str]] = []
        if self._samples:
            last = self._samples[-1]
            if at_ns <= last.at_ns:
                return Moved([], [])
            moved = self._difference(count - last.position)
            if at_ns - last.at_ns > self._stale_ns:
                lost = self._forget(f"the encoder was silent for {(at_ns - last.at_ns) / 1e6:.0f} ms")
            elif abs(moved) > self._wrap // 4:
                lost = self._forget(f"the encoder jumped by {moved} counts")
        position = count if not self._samples else self._samples[-1].position + moved
        self._samples.append(_Sample(at_ns, position))
        while self._samples[0].at_ns < at_ns - self._keep_ns:
            self._samples.popleft()
        lost += self._place()
        fire, late = self._due()
        return Moved(fire, lost + late)

    def silent(self, now_ns: int) -> list[tuple[RejectCommand, str]]:
        """Drop what is followed when the last sample is too old."""
        if self._samples and now_ns - self._samples[-1].at_ns <= self._stale_ns:
            return []
        old_ns = now_ns - self._stale_ns
        if self._samples:
            return self._forget("the encoder is silent")
        lost = [tracked.command for tracked in self._unplaced if tracked.captured_ns < old_ns]
        self._unplaced = [tracked for tracked in self._unplaced if tracked.captured_ns >= old_ns]
        return [(command, "the encoder is silent") for command in lost]

    def drop(self, reason: str) -> list[tuple[RejectCommand, str]]:
        """Stop following everything."""
        return self._forget(reason)

    def _forget(self, reason: str) -> list[tuple[RejectCommand, str]]:
        lost = [(command, reason) for command in self.commands()]
        self._heap, self._unplaced = [], []
        self._samples.clear()
        return lost

    def _difference(self, counts: int) -> int:
        """Return the shortest way between two counts modulo wrap, forwards positive."""
        return (counts + self._wrap // 2) % self._wrap - self._wrap // 2

    def _follow(self, command: RejectCommand, target: int, tolerance: int) -> None:
        self._added += 1
        heapq.heappush(self._heap, (target, self._added, tolerance, command._replace(due_count=target % self._wrap)))

    def _place(self) -> list[tuple[RejectCommand, str]]:
        """Find the positions of exposures by interpolation; those after the newest sample wait for the next."""
        waiting: list[Tracked] = []
        lost: list[tuple[RejectCommand, str]] = []
        for tracked in self._unplaced:
            if tracked.captured_ns > self._samples[-1].at_ns:
                waiting.append(tracked)
            elif tracked.captured_ns < self._samples[0].at_ns:
                lost.append((tracked.command, "the encoder was not known at its exposure"))
            else:
                target = self._position(tracked.captured_ns) + tracked.transport_counts
                self._follow(tracked.command, target, tracked.tolerance_counts)
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
        """Take out what is at its reject or will be before about the next sample."""
        fire: list[RejectCommand] = []
        late: list[tuple[RejectCommand, str]] = []
        if len(self._samples) < 2:
            return fire, late
        newest, base = self._samples[-1], self._samples[-min(_SPEED_SAMPLES, len(self._samples))]
        stands = newest.position <= self._samples[-2].position
        speed = 0.0 if stands else (newest.position - base.position) / (newest.at_ns - base.at_ns)
        reached = newest.position + max(0.0, speed) * self._poll_ns
        while self._heap and self._heap[0][0] <= reached:
            target, _, tolerance, command = heapq.heappop(self._heap)
            past = newest.position - target
            if past > tolerance:
                late.append((command, f"it was {past} counts past the reject"))
            elif speed <= 0:  # a belt that stands on it: now or never
                fire.append(command._replace(planned_ns=newest.at_ns, tolerance_ns=self._poll_ns))
            else:
                moment_ns = newest.at_ns - round(past / speed)
                fire.append(command._replace(planned_ns=moment_ns, tolerance_ns=max(1, round(tolerance / speed))))
        return fire, late
