"""Writes events, ledger and overlays in its own thread; may fall behind, verdicts never wait for it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import defaultdict, deque
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from stream.core import metrics
from stream.core.errors import StoreError
from stream.core.files import write_atomically
from stream.core.parts import LedgerCounts
from stream.core.verdict import Verdict
from stream.devices.actuators.actuator import RejectCommand
from stream.line.sections import StoreOptions
from stream.model.visualization import draw
from stream.sink.good_parts import GoodPartKeeper
from stream.sink.policy.reorder import Reorder
from stream.sink.policy.time_budget import TimeBudget
from stream.store.event_store import EventStore
from stream.store.overlay import overlay
from stream.store.records import AlarmRecord, Event, EventImages

log = logging.getLogger(__name__)

#: Entries that may wait; above half of it images are left out, above all of it events are dropped (and counted).
WAITING = 4_096
#: Entries above which network inputs are left out: one of 224 px has 150 kB, one of 512 px 786 kB.
INPUTS_WAITING = 128
#: Entries of this interval are written in one transaction.
_COMMIT_S = 0.05
#: Interval of the store's retention.
_RETAIN_S = 10.0
#: Share of one core for the overlays of each station and verdict: a large one takes 50 ms, and verdicts need the core.
_OVERLAYS_SHARE = 0.01


class PartRecord(NamedTuple):
    """A settled part on its way to the store; `first_seq` is the first number of its station in this process."""

    event: Event
    first_seq: int


class Snapshot(NamedTuple):
    """The ledger by station and the pending rejects by actuator, after everything that was recorded before."""

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
        self._unwritten_snapshot: Snapshot | None = None
        self._first_seq: dict[str, int] = {}
        self._overlays = _Overlays(options.path / "overlays", options.overlays)
        self._good = GoodPartKeeper(store, options)
        self._next_retention_s = 0.0
        self.fault: str | None = None

    def record(self, entry: PartRecord | AlarmRecord | Snapshot) -> bool:
        """Queue an entry; never blocks. A full queue drops it, counted; returns False then."""
        if isinstance(entry, PartRecord):
            entry = entry._replace(event=_within_limits(entry.event, self._queue.qsize()))
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            metrics.DROPPED.labels("event").inc()
            if isinstance(entry, PartRecord):
                self._lost.append(entry)  # the parts after it must not wait for it
            return False
        return True

    def end(self, timeout_s: float) -> None:
        """Write everything that was queued, then close the store."""
        until_s = time.monotonic() + timeout_s
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            log.error("the event store hangs: %d entries are lost", self._queue.qsize())  # noqa: TRY400
            return
        self.join(max(0.0, until_s - time.monotonic()))

    def run(self) -> None:
        """Collect entries for a moment, write them in one transaction, draw overlays; repeat."""
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
                    # An event is written together with the ledger that counts it. If it were written earlier, a sink
                    # restarted from the older ledger would give the part a second, different verdict.
                    self._unwritten_snapshot = entry
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
                    # Damaged previews and full disks raise many kinds; all that is lost is an overlay.
                    metrics.DROPPED.labels("overlay").inc()
                    log.warning("overlay of %s %d not written: %s", event.part.station, event.part.seq, error)
            self._retain()
        self._store.close()

    def _collect(self) -> list[PartRecord | AlarmRecord | Snapshot | None]:
        """Wait for the first entry, then take what follows within a commit's interval."""
        entries = [self._queue.get()]
        until_s = time.monotonic() + _COMMIT_S
        while entries[-1] is not None and len(entries) < 256:
            left_s = until_s - time.monotonic()
            try:
                entries.append(self._queue.get(timeout=max(0.0, left_s)))
            except queue.Empty:
                break
        return entries

    def _in_order(self, part: PartRecord, event: Event | None) -> list[Event]:
        """Take a part's event, None if it was lost, and return the events that are in order now."""
        station = part.event.part.station
        if part.event.part.seq < part.first_seq:
            return _present([event])  # pending since before a restart: it has no place in the order
        released: list[Event | None] = []
        if self._first_seq.get(station) != part.first_seq:
            # The station's numbers start here, or start again after a gap without events.
            if station in self._first_seq:
                released = self._reorder.flush()
            self._first_seq[station] = part.first_seq
            self._reorder.start(station, part.first_seq)
        return _present(released + self._reorder.add(station, part.event.part.seq, event))

    def _write(self, events: list[Event], alarms: list[AlarmRecord]) -> None:
        chosen = [self._good.choose(event) if event.part.verdict is Verdict.GOOD else event for event in events]
        kept = [
            event
            for event in chosen
            if self._options.record == "all" or event.part.verdict is not Verdict.GOOD or event.kept_as is not None
        ]
        if not (kept or alarms or self._unwritten_snapshot):
            return
        ledger, planned = self._unwritten_snapshot or ({}, None)
        try:
            self._store.record(kept, alarms, ledger, planned)
            self._unwritten_snapshot = None
        except StoreError as error:
            metrics.DROPPED.labels("event").inc(len(kept))
            self._note_fault(error)
            return
        try:
            self._good.on_recorded(kept, time.monotonic())
            self.fault = None
        except StoreError as error:
            self._note_fault(error)

    def _note_fault(self, error: StoreError) -> None:
        metrics.STORE_ERRORS.inc()
        log.error("%s", error)  # one line is enough: it may come every 0.1 s
        self.fault = str(error)

    def _retain(self) -> None:
        now = time.monotonic()
        if now < self._next_retention_s:
            return
        self._next_retention_s = now + _RETAIN_S
        try:
            deleted = self._store.retain(
                keep_events=self._options.keep_events,
                keep_days=self._options.keep_days,
                keep_bytes=int(self._options.keep_gib * 2**30),
                now_realtime_ns=time.time_ns(),
                at_most=2_000,
            )
            if deleted:
                self._good.on_deleted()
            metrics.STORE_BYTES.set(self._store.size_bytes())
        except StoreError as error:
            self._note_fault(error)


class _Overlays:
    """The newest overlays of every station as JPEG files."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep
        self._budget = TimeBudget(_OVERLAYS_SHARE)
        self._files: dict[str, deque[Path]] = defaultdict(deque)
        for station in folder.glob("*/"):
            self._files[station.name] = deque(sorted(station.glob("*.jpg")))

    def warm_up(self) -> None:
        """Draw a blank: the first text drawn by a thread loads a font, which takes as long as thirty overlays."""
        blank = np.zeros((64, 64, 3), np.uint8)
        measures = {"score": None, "threshold": None, "pixel_threshold": None}
        draw(blank, None, verdict=Verdict.GOOD, title="", cause=None, **measures)

    def save(self, event: Event) -> None:
        """Draw and write one part; skipped without a preview, or once the budget of its verdict is spent."""
        if not self._keep or not event.preview_jpeg:
            return
        key = (event.part.station, event.part.verdict)
        if not self._budget.allows(key, time.monotonic_ns()):
            metrics.DROPPED.labels("overlay_pace").inc()
            return
        started_ns = time.thread_time_ns()
        try:
            self._draw(event)
        finally:
            self._budget.spend(key, time.thread_time_ns() - started_ns)

    def _draw(self, event: Event) -> None:
        data = overlay(event, EventImages(event.preview_jpeg, event.patch_distances))
        if data is None:
            raise ValueError("the preview is no JPEG")
        path = self._folder / event.part.station / f"{event.part.seq:09d}_{event.part.verdict}.jpg"
        write_atomically(path, data, durable=False)
        files = self._files[event.part.station]
        files.append(path)
        while len(files) > self._keep:
            files.popleft().unlink(missing_ok=True)


def _present(events: list[Event | None]) -> list[Event]:
    return [event for event in events if event is not None]


def _within_limits(event: Event, waiting: int) -> Event:
    """Leave out, and count, the images that are too large for this many waiting entries: the network input first."""
    if waiting > INPUTS_WAITING and event.network_input is not None:
        metrics.DROPPED.labels("input").inc()
        event = replace(event, network_input=None)
    if waiting > WAITING // 2 and event.preview_jpeg:
        metrics.DROPPED.labels("picture").inc()
        event = event.without_images()
    return event
