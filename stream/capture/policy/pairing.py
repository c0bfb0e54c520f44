"""Which frame belongs to which trigger event, when a camera runs freely and a trigger signals each part.

A trigger event takes the first frame exposed at or after it. Two events before the same exposure are two parts, and
both get that frame. Pure: the clock is passed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from stream.core.verdict import Cause
from stream.devices.triggers.trigger import TriggerEvent

#: Trigger events that may wait for a frame; no belt has more, so the sender must be faulty.
MAX_WAITING = 1000
#: Newest frames kept for a trigger event that is received after its frame.
_FRAMES_KEPT = 8

F = TypeVar("F")


class Paired(NamedTuple, Generic[F]):
    """A part: a trigger event with its frame, or with the reason why it has none."""

    trigger: TriggerEvent
    frame: F | None
    cause: Cause = Cause.CAMERA_FAULT
    reason: str = ""


class TriggerDebounce:
    """Drops the repetitions of a bouncing trigger."""

    def __init__(self, debounce_ns: int) -> None:
        """Regard an event with the same `part_id` within this time of the last new one as its repetition."""
        self._debounce_ns = debounce_ns
        self._last: TriggerEvent | None = None

    def is_new(self, trigger: TriggerEvent) -> bool:
        """Whether this event is another part, and no repetition."""
        last = self._last
        if last is not None and trigger.part_id == last.part_id and abs(trigger.at_ns - last.at_ns) < self._debounce_ns:
            return False
        self._last = trigger
        return True


class Pairing(Generic[F]):
    """The trigger events that wait for their frame, and the newest frames."""

    def __init__(self, wait_ns: int, *, software_trigger: bool = False) -> None:
        """Begin without events and frames.

        Args:
            wait_ns: an event without a frame by then is a part without one.
            software_trigger: every event makes the camera expose. A frame then belongs to the newest event before it;
                the frames of older events that still wait were lost.
        """
        self._wait_ns = wait_ns
        self._software_trigger = software_trigger
        self._waiting: list[TriggerEvent] = []
        self._frames: deque[tuple[int, F]] = deque()
        self._dropped_ns: int | None = None  # exposure of the newest frame that is no longer kept

    def trigger(self, trigger: TriggerEvent) -> list[Paired[F]]:
        """Add a trigger event; returns its part if that is known at once."""
        if trigger.fault:
            return [Paired(trigger, None, reason=trigger.fault)]
        if not self._software_trigger:
            if self._dropped_ns is not None and trigger.at_ns <= self._dropped_ns:
                return [Paired(trigger, None, reason="the trigger was received after its frame had been dropped")]
            for exposed_ns, frame in self._frames:
                if self._fits(trigger, exposed_ns):
                    return [Paired(trigger, frame)]
        if len(self._waiting) >= MAX_WAITING:
            return [Paired(trigger, None, Cause.OVERRUN, f"{MAX_WAITING} triggers were already waiting for a frame")]
        self._waiting.append(trigger)
        return []

    def frame(self, exposed_ns: int, frame: F) -> list[Paired[F]]:
        """Add the next frame; returns the parts that it settles, in the order of their events; often none."""
        if not self._software_trigger:
            if len(self._frames) == _FRAMES_KEPT:
                self._dropped_ns = self._frames.popleft()[0]
            self._frames.append((exposed_ns, frame))
        triggers = self._take(lambda trigger: self._fits(trigger, exposed_ns))
        if not self._software_trigger:
            return [Paired(trigger, frame) for trigger in triggers]
        lost = [Paired[F](trigger, None, reason="the camera lost its frame") for trigger in triggers[:-1]]
        return lost + [Paired(trigger, frame) for trigger in triggers[-1:]]

    def give_up(self, trigger: TriggerEvent, reason: str) -> list[Paired[F]]:
        """Return an event as a part without a frame, if it still waits."""
        return [Paired(lost, None, reason=reason) for lost in self._take(lambda waiting: waiting is trigger)]

    def expire(self, now_ns: int) -> list[Paired[F]]:
        """Return the parts whose frame did not come in time."""
        expired = self._take(lambda trigger: now_ns > trigger.at_ns + self._wait_ns)
        reason = f"the camera gave no frame within {self._wait_ns / 1e6:g} ms of the trigger"
        return [Paired(trigger, None, reason=reason) for trigger in expired]

    def end(self) -> list[Paired[F]]:
        """Return all waiting events as parts without a frame: the camera has ended."""
        return [Paired(trigger, None, reason="the camera ended") for trigger in self._take(lambda _: True)]

    @property
    def next_expiry_ns(self) -> int | None:
        """The earliest time at which `expire` may return a part; None: no event waits."""
        return min((trigger.at_ns + self._wait_ns for trigger in self._waiting), default=None)

    def _fits(self, trigger: TriggerEvent, exposed_ns: int) -> bool:
        return trigger.at_ns <= exposed_ns <= trigger.at_ns + self._wait_ns

    def _take(self, matches: Callable[[TriggerEvent], bool]) -> list[TriggerEvent]:
        """Remove the waiting events that match, and return them in the order of their times."""
        taken = [trigger for trigger in self._waiting if matches(trigger)]
        if taken:
            self._waiting = [trigger for trigger in self._waiting if not matches(trigger)]
        return sorted(taken, key=lambda trigger: trigger.at_ns)
