"""The event store as the sink writes it: every settled part with its images, alarms, ledger and planned rejects."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Self

import msgspec

from stream.core.clock import boot_id, uptime_ns
from stream.core.images import png_of
from stream.core.parts import LedgerCounts
from stream.devices.actuators.actuator import RejectCommand
from stream.store.believed_time import BelievedTime, believed
from stream.store.database import UNFIT_VALUE, connected, prepare, store_errors
from stream.store.event_reader import EventReader
from stream.store.records import AlarmRecord, Event
from stream.store.schema import (
    EVENT_COLUMNS,
    INSERT_ALARM,
    INSERT_EVENT,
    INSERT_IMAGES,
    PART_COLUMNS,
    PLACEMENT_COLUMNS,
    REPLACE_LEDGER,
)
from stream.store.search import LARGEST

_DAY_NS = 86_400 * 10**9
#: Events deleted in one transaction: readers and new events never wait long.
_DELETE_EVENTS = 64
#: Pages given back to the file system in one step.
_VACUUM_PAGES = 4096


class EventStore(EventReader):
    """The open file, which is written; used by one thread at a time."""

    #: Whether this process has looked at the clock.
    _has_time = False

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file at `path` for writing; creates it and its folders. Raises StoreError."""
        with store_errors(path, "cannot be opened; repair it, or move it away to start a new store"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()  # SQLite gives its files the rights of this one; made by itself it has fewer
            with connected(path, "rwc") as connection:
                prepare(path, connection)
        return cls(path, connection)

    def record(
        self,
        events: Sequence[Event],
        alarms: Sequence[AlarmRecord],
        ledger: Mapping[str, LedgerCounts],
        planned: Mapping[str, Sequence[RejectCommand]] | None = None,
    ) -> None:
        """Write everything in one transaction; a part (station, seq) that is recorded already stays as it is.

        `planned` replaces the rejects that wait for their moment, by actuator; None keeps them.

        Raises StoreError, for example when the disk is full; the store is unchanged then. UnfitValueError: trying again
        is in vain, since one of the values does not fit into any store.
        """
        with store_errors(self._path, "not recorded; check the space and rights of its folder"):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for event in events:
                    self._insert(event)
                for alarm in alarms:
                    self._connection.execute(INSERT_ALARM, asdict(alarm))
                dates = [event.captured_realtime_ns for event in events] + [one.raised_realtime_ns for one in alarms]
                if dates and not self._has_time:
                    self._believe(max(dates))
                for station, counts in ledger.items():
                    self._connection.execute(REPLACE_LEDGER, (station, _json(counts)))
                if planned is not None:
                    self._connection.execute("DELETE FROM planned")
                    for actuator, commands in planned.items():
                        rows = [(boot_id(), actuator, _json(command)) for command in commands]
                        self._connection.executemany("INSERT INTO planned VALUES (?, ?, ?)", rows)
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite rolls back by itself after some errors, a full disk among them.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def unfit(self, events: Sequence[Event]) -> list[Event]:
        """Return which of these events no store can hold; nothing is written. Raises StoreError."""
        found: list[Event] = []
        with store_errors(self._path, "not recorded; check the space and rights of its folder"):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for event in events:
                    try:
                        self._insert(event)
                    except UNFIT_VALUE:
                        found.append(event)
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
        return found

    def _insert(self, event: Event) -> None:
        part = {name: getattr(event.part, name) for name in PART_COLUMNS}
        part["spots"] = _json(event.part.spots) if event.part.spots else None
        placed = {
            name: None if event.placement is None else getattr(event.placement, name) for name in PLACEMENT_COLUMNS
        }
        columns = (
            part | placed | {name: getattr(event, name) for name in EVENT_COLUMNS} | {"stages": _json(event.stages)}
        )
        cursor = self._connection.execute(INSERT_EVENT, columns)
        has_images = event.preview_jpeg or event.patch_distances is not None or event.network_input is not None
        if cursor.rowcount == 0 or not has_images:
            return
        png = None if event.network_input is None else png_of(event.network_input)
        grid, values = (0, 0), None
        if event.patch_distances is not None:
            height, width = event.patch_distances.shape
            grid, values = (height, width), event.patch_distances.astype("<f2").tobytes()
        self._connection.execute(INSERT_IMAGES, (cursor.lastrowid, *grid, values, event.preview_jpeg, png))

    def retain(
        self,
        *,
        keep_events: int,
        keep_days: float,
        keep_bytes: int,
        now_realtime_ns: int,
        at_most: int = LARGEST,
    ) -> int:
        """Delete the oldest events beyond any of the limits, free their space, return their number.

        The days count back from the newest entry, from `now_realtime_ns`, or from the time that is believed
        (`believed_time.py`), whichever is earliest, so that a clock that steps makes no event old. `keep_bytes` counts
        pages in use; `at_most` limits the events of one call, so that a writer can serve its queue in between. Alarms
        follow `keep_days`. Raises StoreError.
        """
        with store_errors(self._path, "old events not deleted; check the space and rights of its folder"):
            now_ns = min(now_realtime_ns, self._believe(now_realtime_ns), self._newest_ns() or now_realtime_ns)
        oldest_ns = max(0, now_ns - round(keep_days * _DAY_NS))
        by_time = f"WHERE captured_realtime_ns < {oldest_ns} ORDER BY captured_realtime_ns"
        left = at_most
        with store_errors(self._path, "old events not deleted; check the space and rights of its folder"):
            self._connection.execute("DELETE FROM alarms WHERE raised_realtime_ns < ?", (oldest_ns,))
            while deleted := self._delete(by_time, left):
                left -= deleted
            excess = self._scalar("SELECT count(*) FROM events") - keep_events
            while excess > 0 and (deleted := self._delete("ORDER BY id", min(left, excess))):
                left -= deleted
                excess -= deleted
            while self._used_bytes() > keep_bytes and (deleted := self._delete("ORDER BY id", left)):
                left -= deleted
            self._shrink()
        return at_most - left

    def _believe(self, realtime_ns: int) -> int:
        """Look at the clock, note what is believed about the date, and return that date."""
        row = self._connection.execute("SELECT value FROM believed_time").fetchone()
        before = None if row is None else msgspec.json.decode(row[0], type=BelievedTime)
        time = believed(before, boot_id(), uptime_ns(), realtime_ns, self._newest_ns())
        self._connection.execute("INSERT OR REPLACE INTO believed_time VALUES (0, ?)", (_json(time),))
        self._has_time = True
        return time.realtime_ns

    def _newest_ns(self) -> int | None:
        """Return the date of the newest event or alarm."""
        queries = ("SELECT max(captured_realtime_ns) FROM events", "SELECT max(raised_realtime_ns) FROM alarms")
        dates = [self._connection.execute(query).fetchone()[0] for query in queries]
        return max((date for date in dates if date is not None), default=None)

    def _delete(self, which: str, at_most: int) -> int:
        """Delete the next few of `which` events with their images in one transaction; returns their number."""
        chunk = f"SELECT id FROM events {which} LIMIT {min(at_most, _DELETE_EVENTS)}"
        return self._connection.execute(f"DELETE FROM events WHERE id IN ({chunk})").rowcount

    def _shrink(self) -> None:
        before, free_pages = LARGEST, self._scalar("PRAGMA freelist_count")
        if free_pages == 0:
            return
        while 0 < free_pages < before:
            # Each row read frees one page, so all rows must be fetched.
            self._connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
            before, free_pages = free_pages, self._scalar("PRAGMA freelist_count")
        # Only a checkpoint truncates the file. With a reader in its way it leaves the rest to the next one.
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _used_bytes(self) -> int:
        pages = self._scalar("PRAGMA page_count") - self._scalar("PRAGMA freelist_count")
        return int(pages * self._scalar("PRAGMA page_size"))

    def remove_kept(self, parts: Collection[tuple[str, int]], *, events: bool) -> None:
        """Remove the images of these (station, seq), kept GOOD parts; with `events` also their events.

        Raises StoreError; nothing is removed then.
        """
        with store_errors(self._path, "good parts not removed; check the space and rights of its folder"):
            for begin in range(0, len(parts), _DELETE_EVENTS):
                self._remove_kept(list(parts)[begin : begin + _DELETE_EVENTS], events=events)

    def _remove_kept(self, parts: Sequence[tuple[str, int]], *, events: bool) -> None:
        which = "station = ? AND seq = ? AND kept_as IS NOT NULL"
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            if events:
                self._connection.executemany(f"DELETE FROM events WHERE {which}", parts)
            else:
                chosen = f"(SELECT id FROM events WHERE {which})"
                self._connection.executemany(f"DELETE FROM images WHERE event_id IN {chosen}", parts)
                self._connection.executemany(f"UPDATE events SET kept_as = NULL WHERE {which}", parts)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _scalar(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
