"""Writes events, ledger and overlays in its own thread; may fall behind, verdicts never wait for it."""

from __future__ import annotations

import logging
import threading
import time

from stream.core import metrics
from stream.core.backoff import Backoff, LogPace
from stream.core.errors import StoreError, UnfitValueError
from stream.core.verdict import Verdict
from stream.line.sections import StoreOptions
from stream.sink.good_parts import GoodPartKeeper
from stream.sink.overlays import Overlays, UnjudgedArea
from stream.sink.policy.write_queue import WAITING, Batch, LeftOut, Snapshot, WriteQueue
from stream.store.event_store import EventStore
from stream.store.records import AlarmRecord, Event

log = logging.getLogger(__name__)

#: Entries of this interval are written in one transaction.
_COMMIT_S = 0.05
#: Pauses before a transaction that failed is tried again.
_RETRY = Backoff(first_s=0.05, longest_s=2.0)
#: Interval of the store's retention.
_RETAIN_S = 10.0
#: How long the loss of events stays a fault after the last one.
_LOSS_SHOWN_NS = 1_000_000_000


class Recorder(threading.Thread):
    """Writes the event store and the overlays; what cannot be written waits, bounded, until it can."""

    def __init__(self, store: EventStore, options: StoreOptions, unjudged: UnjudgedArea) -> None:
        """Take over an open store; `unjudged` is what overlays hatch."""
        super().__init__(name="recorder", daemon=True)
        self._store = store
        self._options = options
        self._changed = threading.Condition()
        self._queue = WriteQueue()
        self._end_by_s: float | None = None
        self._overlays = Overlays(options.path / "overlays", options.overlays, unjudged)
        self._good = GoodPartKeeper(store, options)
        self._next_retention_s = 0.0
        self._failures = 0
        self._write_fault: str | None = None
        self._retention_fault: str | None = None
        self._lost_ns: int | None = None
        self._lost = 0
        self._error_pace = LogPace()
        self._retention_pace = LogPace()
        self._lost_pace = LogPace()

    @property
    def fault(self) -> str | None:
        """What keeps the store from being written at present, or None; any thread may ask."""
        return self._write_fault or self._retention_fault

    @property
    def loss(self) -> str | None:
        """How many events were lost until now, while that goes on, or None; any thread may ask."""
        lost_ns = self._lost_ns
        if lost_ns is None or time.monotonic_ns() - lost_ns > _LOSS_SHOWN_NS:
            return None
        return f"{self._lost} events are lost; {len(self._queue)} wait for the event store"

    def record(self, entry: Event | AlarmRecord | Snapshot) -> None:
        """Take an entry; never blocks. A snapshot counts the events recorded before it.

        What has no room is left out and counted: images first, then events.
        """
        with self._changed:
            match entry:
                case Snapshot():
                    self._queue.cover(entry)
                    left_out: list[LeftOut] = []
                case AlarmRecord():
                    left_out = self._queue.add_alarm(entry)
                case Event():
                    left_out = self._queue.add_event(entry, needless=self._is_needless(entry))
            metrics.QUEUE_DEPTH.labels("recorder").set(len(self._queue))
            self._changed.notify()
        for what in left_out:
            metrics.DROPPED.labels(what).inc()
        if "event" in left_out:
            self._note_lost(1, f"{WAITING} events wait already")

    def end(self, timeout_s: float) -> None:
        """Write what the last snapshot counts, for as long as the timeout, then close the store."""
        with self._changed:
            self._end_by_s = time.monotonic() + timeout_s
            self._changed.notify()
        self.join(timeout_s)
        if self.is_alive():
            self._give_up("the event store hangs")

    def run(self) -> None:
        """Write what is ready in one transaction, draw overlays; repeat."""
        self._overlays.warm_up()
        try:
            while self._wait():
                with self._changed:
                    batch = self._queue.take()
                if batch is not None and self._write(batch):
                    with self._changed:
                        self._queue.written()
                        metrics.QUEUE_DEPTH.labels("recorder").set(len(self._queue))
                    for event in batch.events:
                        self._overlays.save(event)
                if self._end_by_s is None:
                    self._retain()
        finally:
            self._store.close()

    def _wait(self) -> bool:
        """Wait until something is to be written, tried again or deleted; returns whether to go on."""
        with self._changed:
            if self._failures and self._end_by_s is not None:
                self._changed.wait(_RETRY.first_s)
            elif self._failures:
                self._changed.wait_for(lambda: self._end_by_s is not None, _RETRY.pause_s(self._failures))
            else:
                until_retention_s = max(0.0, self._next_retention_s - time.monotonic())
                self._changed.wait_for(lambda: self._queue.ready or self._end_by_s is not None, until_retention_s)
                if len(self._queue) < WAITING // 4:
                    self._changed.wait_for(lambda: self._end_by_s is not None, _COMMIT_S)
            if self._end_by_s is None or (self._queue.ready and time.monotonic() < self._end_by_s):
                return True
        self._give_up(self._write_fault or "no ledger counts them")
        return False

    def _give_up(self, why: str) -> None:
        """Count what is not written at the end. Neither is the ledger that counts it: the next sink books it."""
        with self._changed:
            left = len(self._queue)
        if left:
            metrics.DROPPED.labels("event").inc(left)
            self._note_lost(left, f"the line has ended: {why}")

    def _note_lost(self, count: int, why: str) -> None:
        self._lost_ns = time.monotonic_ns()
        self._lost += count
        if self._lost_pace.due(self._lost_ns) is not None:
            log.error("events are lost, %d so far: %s", self._lost, why)

    def _write(self, batch: Batch) -> bool:
        """Write one transaction; returns False when it is to be tried again."""
        chosen = [self._good.choose(event) if _is_plain_good(event) else event for event in batch.events]
        kept = [event for event in chosen if not self._is_needless(event) or event.kept_as is not None]
        ledger, planned = batch.snapshot or ({}, None)
        try:
            self._store.record(kept, batch.alarms, ledger, planned)
        except StoreError as error:
            self._failures += 1
            self._write_fault = str(error)
            _note_error(error, self._error_pace)
            if isinstance(error, UnfitValueError):
                self._discard_unfit(kept, error)
            return False
        if self._failures and self._error_pace.over():
            log.info("the event store is written again, %d events wait", len(self._queue) - len(batch.events))
        if len(self._queue) < WAITING // 4:
            self._lost_pace.over()
        self._failures, self._write_fault = 0, None
        try:
            self._good.on_recorded(kept, time.monotonic())
        except StoreError as error:
            self._retention_fault = str(error)
            _note_error(error, self._retention_pace)
        return True

    def _discard_unfit(self, kept: list[Event], error: UnfitValueError) -> None:
        """Drop the events that no store can hold, counted; where there is none, it must be an alarm."""
        try:
            unfit = {(event.part.station, event.part.seq) for event in self._store.unfit(kept)}
        except StoreError as other:
            _note_error(other, self._error_pace)
            return
        with self._changed:
            lost = self._queue.discard(unfit)
        for what in lost:
            metrics.DROPPED.labels(what).inc()
        self._note_lost(lost.count("event"), str(error))

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
            self._retention_fault = None
            self._retention_pace.over()
        except StoreError as error:
            self._next_retention_s = now + _RETRY.longest_s
            self._retention_fault = str(error)
            _note_error(error, self._retention_pace)

    def _is_needless(self, event: Event) -> bool:
        """Whether the store keeps an event only if its images are worth it."""
        return _is_plain_good(event) and self._options.record != "all"


def _is_plain_good(event: Event) -> bool:
    """Whether a part is GOOD by its score; what rules let pass is kept like a DEFECT."""
    return event.part.verdict is Verdict.GOOD and not event.part.within_spec


def _note_error(error: StoreError, pace: LogPace) -> None:
    """Count an error of the store, and log it at growing intervals."""
    metrics.STORE_ERRORS.inc()
    silent = pace.due(time.monotonic_ns())
    if silent is not None:
        log.error("%s (%d more before)", error, silent)
