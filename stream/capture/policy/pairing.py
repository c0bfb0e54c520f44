"""Which frame belongs to which trigger, when the camera runs on its own and a trigger says that a part is there.

A trigger takes the first frame exposed at or after it. Two triggers before the same exposure are two
parts, and both get that frame. Pure: the clock is passed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from stream.core.verdict import Cause
from stream.devices.triggers.trigger import TriggerEvent

#: Triggers that may wait for a frame; more is no belt of parts but a fault of the sender.
MAX_WAITING = 1000
#: Newest frames that are kept for a trigger whose news came later than they did.
_KEPT = 8

F = TypeVar("F")


class Paired(NamedTuple, Generic[F]):
    """A part: a trigger with its frame, or with the reason why it has none."""

    trigger: TriggerEvent
    frame: F | None
    cause: Cause = Cause.CAMERA_FAULT
    why: str = ""


class TriggerDebounce:
    """Tells a new event from the echo of the last one."""

    def __init__(self, debounce_ns: int) -> None:
        """An event with the same part's name within this time of the last new one is an echo."""
        self._debounce_ns = debounce_ns
        self._last: TriggerEvent | None = None

    def is_new(self, trigger: TriggerEvent) -> bool:
        """Whether this event is a part of its own."""
        last = self._last
        if last is not None and trigger.part_id == last.part_id and abs(trigger.at_ns - last.at_ns) < self._debounce_ns:
            return False
        self._last = trigger
        return True


class Pairing(Generic[F]):
    """The triggers that wait for their frame, and the newest frames."""

    def __init__(self, wait_ns: int, *, one_each: bool = False) -> None:
        """Let a trigger wait so long for its frame.

        Args:
            wait_ns: a trigger without a frame by then is a part without one.
            one_each: every trigger makes the camera expose; a frame is the newest trigger's before it, and
                of older ones that still wait the frame was lost.
        """
        self._wait_ns = wait_ns
        self._one_each = one_each
        self._waiting: list[TriggerEvent] = []
        self._frames: deque[tuple[int, F]] = deque()
        self._gone_ns: int | None = None  # exposure of the newest frame that is not kept any more

    def trigger(self, trigger: TriggerEvent) -> list[Paired[F]]:
        """Take in an event; returns the part if it is one already."""
        if trigger.fault:
            return [Paired(trigger, None, why=trigger.fault)]
        if not self._one_each:
            if self._gone_ns is not None and trigger.at_ns <= self._gone_ns:
                return [Paired(trigger, None, why="the news of the trigger came after its frame was gone")]
            for exposed_ns, frame in self._frames:
                if self._fits(trigger, exposed_ns):
                    return [Paired(trigger, frame)]
        if len(self._waiting) >= MAX_WAITING:
            return [Paired(trigger, None, Cause.OVERRUN, f"{MAX_WAITING} triggers were waiting for a frame already")]
        self._waiting.append(trigger)
        return []

    def frame(self, exposed_ns: int, frame: F) -> list[Paired[F]]:
        """Take in the next frame; returns the parts that it is, in the order of their triggers; often none."""
        if not self._one_each:
            if len(self._frames) == _KEPT:
                self._gone_ns = self._frames.popleft()[0]
            self._frames.append((exposed_ns, frame))
        asked = self._take(lambda trigger: self._fits(trigger, exposed_ns))
        if not self._one_each:
            return [Paired(trigger, frame) for trigger in asked]
        lost = [Paired[F](trigger, None, why="the camera gave no frame of its own") for trigger in asked[:-1]]
        return lost + [Paired(trigger, frame) for trigger in asked[-1:]]

    def lose(self, trigger: TriggerEvent, why: str) -> list[Paired[F]]:
        """Give up a trigger, if it still waits."""
        return [Paired(lost, None, why=why) for lost in self._take(lambda waiting: waiting is trigger)]

    def expire(self, now_ns: int) -> list[Paired[F]]:
        """Return the parts whose frame did not come in time."""
        late = self._take(lambda trigger: now_ns > trigger.at_ns + self._wait_ns)
        why = f"the camera gave no frame within {self._wait_ns / 1e6:g} ms of the trigger"
        return [Paired(trigger, None, why=why) for trigger in late]

    def end(self) -> list[Paired[F]]:
        """Return all that still wait as parts without a frame: no frame will come any more."""
        return [Paired(trigger, None, why="the camera ended") for trigger in self._take(lambda _: True)]

    @property
    def next_ns(self) -> int | None:
        """The earliest moment at which `expire` may have something to return."""
        return min((trigger.at_ns + self._wait_ns for trigger in self._waiting), default=None)

    def _fits(self, trigger: TriggerEvent, exposed_ns: int) -> bool:
        return trigger.at_ns <= exposed_ns <= trigger.at_ns + self._wait_ns

    def _take(self, which: Callable[[TriggerEvent], bool]) -> list[TriggerEvent]:
        taken = [trigger for trigger in self._waiting if which(trigger)]
        if taken:
            self._waiting = [trigger for trigger in self._waiting if not which(trigger)]
        return sorted(taken, key=lambda trigger: trigger.at_ns)
