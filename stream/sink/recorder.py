"""What is for people, in a thread of its own: events, ledger, overlays. It may fall behind; verdicts never wait."""

from __future__ import annotations

import dataclasses
import logging
import queue
import threading
import time
from collections import defaultdict, deque
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from stream.core import metrics
from stream.core.errors import StoreError
from stream.core.parts import LedgerCounts
from stream.core.verdict import Verdict
from stream.devices.actuators.actuator import RejectCommand
from stream.line.sections import StoreOptions
from stream.model.visualization import draw
from stream.sink.policy.reorder import Reorder
from stream.sink.policy.time_budget import TimeBudget
from stream.store.event_store import EventStore
from stream.store.overlay import overlay
from stream.store.records import AlarmRecord, Event, EventImages

log = logging.getLogger(__name__)

#: Entries that may wait; beyond half of it pictures are left out, beyond all of it events are lost (and counted).
WAITING = 4_096
#: Beyond so many entries network inputs are left out: of 224 px each has 150 kB, of 512 px 786 kB.
INPUTS_WAITING = 128
_COMMIT_S = 0.05
_RETAIN_S = 10.0
#: Of one core, for the overlays of each station and verdict: large pictures take 50 ms, and verdicts need the core.
_OVERLAYS_SHARE = 0.01


class PartRecord(NamedTuple):
    """A settled part on its way to the store; `first_seq` is where its station's numbers began in this process."""

    event: Event
    first_seq: int


class Snapshot(NamedTuple):
    """The ledger, and the rejects not yet fired by actuator, as they stand after everything recorded before."""

    ledger: dict[str, LedgerCounts]
    planned: dict[str, list[RejectCommand]]


class Recorder(threading.Thread):
    """Writes the event store and the overlays."""

    def __init__(self, store: EventStore, options: StoreOptions) -> None:
        """Take over an open store."""
        super().__init__(name="recorder", daemon=True)
        self._store = store
        self._options = options
        self._queue: queue.Queue[PartRecord | AlarmRecord | Snapshot | None] = queue.Queue(WAITING)
        self._reorder: Reorder[Event | None] = Reorder()
        self._lost: deque[PartRecord] = deque()
        self._uncovered: list[Event] = []
        self._unwritten: Snapshot | None = None
        self._stations: dict[str, int] = {}
        self._overlays = _Overlays(options.path / "overlays", options.overlays)
        self._next_retention_s = 0.0
        self.fault: str | None = None

    def record(self, entry: PartRecord | AlarmRecord | Snapshot) -> bool:
        """Queue an entry; never blocks. A full queue loses it, counted, and returns False."""
        if isinstance(entry, PartRecord):
            entry = entry._replace(event=_lightened(entry.event, self._queue.qsize()))
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            metrics.DROPPED.labels("event").inc()
            if isinstance(entry, PartRecord):
                self._lost.append(entry)  # so that the parts after it do not wait for it
            return False
        return True

    def end(self, timeout_s: float) -> None:
        """Write everything that was queued, then close the store."""
        until_s = time.monotonic() + timeout_s
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            log.error("the event store hangs; %d entries are lost", self._queue.qsize())  # noqa: TRY400
            return
        self.join(max(0.0, until_s - time.monotonic()))

    def run(self) -> None:
        """Collect for a moment, write in one transaction, draw; again."""
        cv2.setNumThreads(1)
        self._overlays.warm_up()
        ending = False
        while not ending:
            entries = self._collect()
            ending = entries[-1] is None if entries else False
            metrics.QUEUE_DEPTH.labels("recorder").set(self._queue.qsize())
            alarms = [entry for entry in entries if isinstance(entry, AlarmRecord)]
            events: list[Event] = []
            for entry in entries:
                if isinstance(entry, PartRecord):
                    self._uncovered += self._in_order(entry, entry.event)
                elif isinstance(entry, Snapshot):
                    # An event is written together with the ledger that counts it: were it written before, a
                    # sink restarted from the older ledger would give the part a second, different verdict.
                    self._unwritten = entry
                    events, self._uncovered = events + self._uncovered, []
            for part in [self._lost.popleft() for _ in range(len(self._lost))]:
                self._uncovered += self._in_order(part, None)
            if ending:
                events += self._uncovered + _present(self._reorder.flush())
            self._write(events, alarms)
            for event in events:
                try:
                    self._overlays.save(event)
                except Exception as error:  # noqa: BLE001
                    # Damaged pictures and full disks raise many kinds; a picture for people is all that is lost.
                    metrics.DROPPED.labels("overlay").inc()
                    log.warning("overlay of %s %d not written: %s", event.part.station, event.part.seq, error)
            self._retain()
        self._store.close()

    def _collect(self) -> list[PartRecord | AlarmRecord | Snapshot | None]:
        """Wait for the first entry, then take what follows within a commit's interval."""
        entries = [self._queue.get()]
        until = time.monotonic() + _COMMIT_S
        while entries[-1] is not None and len(entries) < 256:
            left = until - time.monotonic()
            try:
                entries.append(self._queue.get(timeout=max(0.0, left)))
            except queue.Empty:
                break
        return entries

    def _in_order(self, part: PartRecord, event: Event | None) -> list[Event]:
        """Take in a part's event, or that it was lost, and return the events whose turn it is."""
        station = part.event.part.station
        if part.event.part.seq < part.first_seq:
            return _present([event])  # left over from before a restart, out of any order
        released: list[Event | None] = []
        if self._stations.get(station) != part.first_seq:
            # Its numbers begin here, or begin anew after a gap that has no events.
            if station in self._stations:
                released = self._reorder.flush()
            self._stations[station] = part.first_seq
            self._reorder.start(station, part.first_seq)
        return _present(released + self._reorder.add(station, part.event.part.seq, event))

    def _write(self, events: list[Event], alarms: list[AlarmRecord]) -> None:
        if self._options.record == "non_good":
            kept = [event for event in events if event.part.verdict is not Verdict.GOOD]
        else:
            kept = [_without_picture(event) if event.part.verdict is Verdict.GOOD else event for event in events]
        if not (kept or alarms or self._unwritten):
            return
        ledger, planned = self._unwritten or ({}, None)
        try:
            self._store.record(kept, alarms, ledger, planned)
            self.fault = None
            self._unwritten = None
        except StoreError as error:
            metrics.STORE_ERRORS.inc()
            metrics.DROPPED.labels("event").inc(len(kept))
            log.error("%s", error)  # noqa: TRY400 - one line says it all, every 0.1 s
            self.fault = str(error)

    def _retain(self) -> None:
        now = time.monotonic()
        if now < self._next_retention_s:
            return
        self._next_retention_s = now + _RETAIN_S
        try:
            self._store.retain(
                keep_events=self._options.keep_events,
                keep_days=self._options.keep_days,
                keep_bytes=int(self._options.keep_gib * 2**30),
                now_realtime_ns=time.time_ns(),
                at_most=2_000,
            )
            metrics.STORE_BYTES.set(self._store.size_bytes())
        except StoreError as error:
            metrics.STORE_ERRORS.inc()
            log.error("%s", error)  # noqa: TRY400
            self.fault = str(error)


class _Overlays:
    """The last pictures of every station as files, for a person to look at."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep
        self._pace = TimeBudget(_OVERLAYS_SHARE)
        self._files: dict[str, deque[Path]] = defaultdict(deque)
        for station in folder.glob("*/"):
            self._files[station.name] = deque(sorted(station.glob("*.jpg")))

    def warm_up(self) -> None:
        """Draw nothing: the first text of a thread loads a font, for as long as thirty pictures take."""
        nothing = np.zeros((64, 64, 3), np.uint8)
        measures = {"score": None, "threshold": None, "pixel_threshold": None}
        draw(nothing, None, verdict=Verdict.GOOD, title="", cause=None, **measures)

    def save(self, event: Event) -> None:
        """Draw and write one part; without a picture, or when its verdict had many lately, it is left out."""
        if not self._keep or not event.preview_jpeg:
            return
        whose = (event.part.station, event.part.verdict)
        if not self._pace.allows(whose, time.monotonic_ns()):
            metrics.DROPPED.labels("overlay_pace").inc()
            return
        begun_ns = time.thread_time_ns()
        try:
            self._draw(event)
        finally:
            self._pace.spend(whose, time.thread_time_ns() - begun_ns)

    def _draw(self, event: Event) -> None:
        data = overlay(event, EventImages(event.preview_jpeg, event.patch_distances))
        if data is None:
            raise ValueError("the view is no JPEG")
        path = self._folder / event.part.station / f"{event.part.seq:09d}_{event.part.verdict}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        files = self._files[event.part.station]
        files.append(path)
        while len(files) > self._keep:
            files.popleft().unlink(missing_ok=True)


def _present(events: list[Event | None]) -> list[Event]:
    return [event for event in events if event is not None]


def _without_picture(event: Event) -> Event:
    return dataclasses.replace(event, preview_jpeg=b"", patch_distances=None, network_input=None)


def _lightened(event: Event, waiting: int) -> Event:
    """Leave out, and count, what is too large while so many entries wait: the network input first."""
    if waiting > INPUTS_WAITING and event.network_input is not None:
        metrics.DROPPED.labels("input").inc()
        event = dataclasses.replace(event, network_input=None)
    if waiting > WAITING // 2 and event.preview_jpeg:
        metrics.DROPPED.labels("picture").inc()
        event = _without_picture(event)
    return event
