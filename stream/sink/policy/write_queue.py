"""What waits to be written to the event store: parts as they are settled, with the ledger that counts them.

An event and the ledger that counts it are written in one transaction, or neither is. If an event were written earlier,
a sink that is killed in between would continue from the older ledger and give the part a second, different verdict; if
the ledger were, the event with its images would be lost although the part is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from stream.core.parts import LedgerCounts
from stream.devices.actuators.actuator import RejectCommand
from stream.store.records import AlarmRecord, Event

#: Events that may wait; above half of it they wait without images, above all of it they are dropped.
WAITING = 4_096
#: Alarms that may wait.
ALARMS_WAITING = 1_024
#: Images that may wait, bytes. Above the first, network inputs are left out: one of 224 px has 150 kB, one of 512 px
#: 786 kB. Above the second, all images are.
INPUTS_BYTES = 96 * 2**20
IMAGES_BYTES = 256 * 2**20
#: Events after which a transaction takes no further ones, so that it stays short after a long wait.
BATCH = 256

LeftOut = Literal["event", "picture", "input", "alarm"]


class Snapshot(NamedTuple):
    """The ledger by station and the pending rejects by actuator, after everything that was settled before."""

    ledger: Mapping[str, LedgerCounts]
    planned: Mapping[str, Sequence[RejectCommand]] | None


@dataclass
class Batch:
    """One transaction: events, the snapshot that counts them (None without events), and alarms."""

    events: list[Event] = field(default_factory=list)
    alarms: list[AlarmRecord] = field(default_factory=list)
    snapshot: Snapshot | None = None


class WriteQueue:
    """Bounded in events and in bytes of images. Pure: values in, values out."""

    def __init__(self) -> None:
        self._settled: list[Event] = []  # not yet counted by a snapshot
        self._batches: deque[Batch] = deque()
        self._alarms: list[AlarmRecord] = []
        self._taken: Batch | None = None
        self._waiting = 0
        self._image_bytes = 0

    def __len__(self) -> int:
        """Return how many events are not written yet."""
        return self._waiting

    @property
    def ready(self) -> bool:
        """Whether there is something to write."""
        return bool(self._taken or self._batches or self._alarms)

    def add_event(self, event: Event, *, needless: bool = False) -> list[LeftOut]:
        """Take the event of a part that has just been settled; returns what of it is left out for lack of space.

        A `needless` event, which nothing but its images would give a place in the store, is left out with these.
        """
        left_out: list[LeftOut] = []
        if self._waiting >= WAITING:
            return [] if needless else ["event"]
        size = _image_bytes(event)
        if self._waiting >= WAITING // 2 or self._image_bytes + size > IMAGES_BYTES:
            if needless:
                return []
            left_out += ["picture"] if event.preview_jpeg else []
            left_out += ["input"] if event.network_input is not None else []
            event = event.without_images()
        elif event.network_input is not None and self._image_bytes + size > INPUTS_BYTES:
            left_out.append("input")
            event = replace(event, network_input=None)
        self._settled.append(event)
        self._waiting += 1
        self._image_bytes += _image_bytes(event)
        return left_out

    def add_alarm(self, alarm: AlarmRecord) -> list[LeftOut]:
        """Take an alarm, which needs no ledger; returns it as left out where too many wait."""
        taken = 0 if self._taken is None else len(self._taken.alarms)
        if taken + len(self._alarms) >= ALARMS_WAITING:
            return ["alarm"]
        self._alarms.append(alarm)
        return []

    def cover(self, snapshot: Snapshot) -> None:
        """Take the ledger that counts every event added so far: from now on these may be written, together with it."""
        last = self._batches[-1] if self._batches else None
        if last is None or (last.events and len(last.events) + len(self._settled) > BATCH):
            last = Batch()
            self._batches.append(last)
        last.events += self._settled
        last.snapshot = snapshot
        self._settled = []

    def take(self) -> Batch | None:
        """Return the next transaction, the oldest first; it counts as waiting until `written`."""
        if self._taken is None:
            if not self.ready:
                return None
            self._taken = self._batches.popleft() if self._batches else Batch()
        # Alarms go with whatever is written next, also when it is tried again.
        self._taken.alarms += self._alarms
        self._alarms = []
        return self._taken

    def written(self) -> None:
        """Forget what was taken: it is in the store. Without this call `take` returns it again."""
        assert self._taken is not None, "nothing was taken"
        self._forget(self._taken.events)
        self._taken = None

    def discard(self, parts: Collection[tuple[str, int]]) -> list[LeftOut]:
        """Drop these (station, seq) from what was taken, without one of them its alarms; returns what was dropped."""
        assert self._taken is not None, "nothing was taken"
        named = [((event.part.station, event.part.seq) in parts, event) for event in self._taken.events]
        dropped = [event for is_named, event in named if is_named]
        if not dropped:
            alarms, self._taken.alarms = self._taken.alarms, []
            return ["alarm"] * len(alarms)
        self._forget(dropped)
        self._taken.events = [
            event for event in self._taken.events if (event.part.station, event.part.seq) not in parts
        ]
        return ["event"] * len(dropped)

    def _forget(self, events: Sequence[Event]) -> None:
        self._waiting -= len(events)
        self._image_bytes -= sum(_image_bytes(event) for event in events)


def _image_bytes(event: Event) -> int:
    arrays = (event.patch_distances, event.network_input)
    return len(event.preview_jpeg) + sum(0 if array is None else array.nbytes for array in arrays)
