"""The event store: every settled part with its images, alarms, the ledger and the planned rejects.

One SQLite file in WAL mode: one thread of the sink writes, other processes read meanwhile. Images
have a separate table, so that paging over a million events touches none of them.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.core.clock import boot_id
from stream.core.errors import StoreError
from stream.core.images import pixels_of, png_of
from stream.core.parts import LedgerCounts, PartResult
from stream.core.verdict import Cause, Verdict
from stream.devices.actuators.actuator import RejectCommand
from stream.store.records import AlarmRecord, Event, EventImages
from stream.store.schema import (
    APPLICATION_ID,
    COLUMNS,
    EVENT_COLUMNS,
    INDICES,
    INSERT_ALARM,
    INSERT_EVENT,
    INSERT_IMAGES,
    PART_COLUMNS,
    REPLACE_LEDGER,
    SCHEMA,
    SCHEMA_VERSION,
)
from stream.store.search import LARGEST, NearMissPlace, Place, merged, near_misses_query, queries

#: Name of the store's file below `store.path`.
FILE_NAME = "events.sqlite"

_DAY_NS = 86_400 * 10**9
#: Longest wait of a checkpoint for readers, and of a reader for recovery after a crash.
_BUSY_S = 2.0
#: Rows read at once: a read transaction left open would keep the WAL from shrinking.
_PAGE_ROWS = 1000
#: Events deleted in one transaction: readers and new events never wait long.
_DELETE_EVENTS = 64
#: Pages given back to the file system in one step.
_VACUUM_PAGES = 4096

#: Size of a row's images. SQLite knows the length of a blob without reading it.
_IMAGES_BYTES = "length(preview_jpeg) + ifnull(length(patch_distances), 0) + ifnull(length(network_input_png), 0)"


class EventStore:
    """The open file; used by one thread at a time. `open` writes, `read` only reads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> EventStore:
        """Open the file at `path` for writing; creates it and its folders. Raises StoreError."""
        with _store_errors(path, "cannot be opened; repair it, or move it away to start a new store"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with _connected(path, "rwc") as connection:
                _prepare(path, connection)
        return cls(path, connection)

    @classmethod
    def read(cls, path: Path) -> EventStore:
        """Open the file at `path` for reading while the line writes it. Raises StoreError."""
        nothing = f"{path}: no event store yet; start the line first, or correct store.path"
        if not path.exists():
            raise StoreError(nothing)
        problem = "cannot be opened; check the rights of the file and its folder"
        with _store_errors(path, problem), _connected(path, "ro") as connection:
            if _is_empty(path, connection):
                raise StoreError(nothing)
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

        Raises StoreError, for example when the disk is full; the store is unchanged then.
        """
        with _store_errors(self._path, "not recorded; check the space and rights of its folder"):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for event in events:
                    self._insert(event)
                for alarm in alarms:
                    self._connection.execute(INSERT_ALARM, asdict(alarm))
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

    def _insert(self, event: Event) -> None:
        part = {name: getattr(event.part, name) for name in PART_COLUMNS}
        columns = part | {name: getattr(event, name) for name in EVENT_COLUMNS} | {"stages": _json(event.stages)}
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

        `keep_bytes` counts pages in use; `at_most` limits the events of one call, so that a writer
        can serve its queue in between. Alarms follow `keep_days`. Raises StoreError.
        """
        oldest_ns = max(0, now_realtime_ns - round(keep_days * _DAY_NS))
        by_time = f"WHERE captured_realtime_ns < {oldest_ns} ORDER BY captured_realtime_ns"
        left = at_most
        with _store_errors(self._path, "old events not deleted; check the space and rights of its folder"):
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

    def size_bytes(self) -> int:
        """Return the size on disk, bytes: the file and its write-ahead log. Raises StoreError."""
        files = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        with _store_errors(self._path, "cannot be measured"):
            return sum(file.stat().st_size for file in files if file.exists())

    def ledger(self) -> dict[str, LedgerCounts]:
        """Return the counts of each station, by station. Raises StoreError."""
        with _store_errors(self._path, "the ledger cannot be read"):
            rows = self._connection.execute("SELECT station, counts FROM ledger ORDER BY station").fetchall()
            return {station: _counts.decode(counts) for station, counts in rows}

    def planned(self) -> dict[str, list[RejectCommand]]:
        """Return the rejects that waited for their moment, by actuator, of this boot. Raises StoreError."""
        with _store_errors(self._path, "the planned rejects cannot be read"):
            query = "SELECT actuator, command FROM planned WHERE boot_id = ?"
            planned: dict[str, list[RejectCommand]] = {}
            for actuator, command in self._connection.execute(query, (boot_id(),)).fetchall():
                planned.setdefault(actuator, []).append(_command.decode(command))
            return planned

    def events(
        self,
        *,
        station: str | None = None,
        after_id: int = 0,
        before_id: int = LARGEST,
        newest_first: bool = False,
        limit: int = LARGEST,
    ) -> Iterator[Event]:
        """Yield events between two ids (both excluded) without their images, oldest first.

        Reads page by page, so an unfinished iterator does not block the writer. Raises StoreError.
        """
        where, names = ("TRUE", []) if station is None else ("station = ?", [station])
        query = f"SELECT id, {', '.join(COLUMNS)} FROM events WHERE {where}"
        for row in self._pages(query, names, (after_id, before_id), newest_first, limit):
            with _store_errors(self._path, f"event {row[0]} was written by another release"):
                event = _event(row)
            yield event

    def search(
        self,
        *,
        station: str | None = None,
        verdicts: Collection[Verdict] = (),
        cause: Cause | None = None,
        skipped: bool = True,
        seq: int | None = None,
        part_id: str | None = None,
        since_ns: int = 0,
        until_ns: int = LARGEST,
        before: Place | None = None,
        after: Place | None = None,
        limit: int = 100,
    ) -> list[Event]:
        """Return one page of the events that match, without their images, the newest exposure first.

        Args:
            station, verdicts, cause, seq, part_id: only these; empty or None: any. A cause implies UNINSPECTED.
            skipped: False leaves out the frames that a free-running camera skipped, unless `cause` is SKIPPED.
            since_ns, until_ns: of exposure, real time, both included.
            before: only events older than this place, the newest of them.
            after: only events newer than this place, the oldest of them: the page before the one that starts here.
            limit: most events of the page.

        Raises:
            StoreError: the file cannot be read.
        """
        statements = queries(
            {"station": station, "seq": seq, "part_id": part_id},
            verdicts=verdicts,
            cause=cause,
            skipped=skipped,
            within_ns=(since_ns, until_ns),
            before=before,
            after=after,
            limit=limit,
        )
        with _store_errors(self._path, "cannot be searched"):
            rows = [row for statement in statements for row in self._connection.execute(*statement).fetchall()]
            return merged([_event(row) for row in rows], after=after, limit=limit)

    def near_misses(
        self,
        *,
        station: str | None = None,
        since_ns: int = 0,
        until_ns: int = LARGEST,
        before: NearMissPlace | None = None,
        after: NearMissPlace | None = None,
        limit: int = 100,
    ) -> list[Event]:
        """Return one page of the GOOD parts kept with their images: the latest hour first, in it the highest score.

        Args:
            station: only its parts; None: any.
            since_ns, until_ns: of exposure, real time, both included.
            before: only what comes after this place in that order.
            after: only what comes before it, the nearest to it.
            limit: most events of the page.

        Raises:
            StoreError: the file cannot be read.
        """
        statement = near_misses_query(station, within_ns=(since_ns, until_ns), before=before, after=after, limit=limit)
        with _store_errors(self._path, "cannot be searched"):
            page = [_event(row) for row in self._connection.execute(*statement).fetchall()]
            return page[::-1] if after is not None else page

    def with_network_input(
        self,
        station: str,
        *,
        verdict: Verdict | None = None,
        since_ns: int = 0,
        above: float = -math.inf,
        up_to: float = math.inf,
        limit: int = LARGEST,
    ) -> list[Event]:
        """Return a station's events that have a network input, the newest exposure first, without their images.

        Args:
            station: its name.
            verdict: only these; None: any.
            since_ns: of exposure, real time.
            above, up_to: of the image score; a part without one is left out.
            limit: most events.

        Raises:
            StoreError: the file cannot be read.
        """
        where, values = ("", []) if verdict is None else (" AND verdict = ?", [verdict])
        query = (
            f"SELECT id, {', '.join(COLUMNS)} FROM events WHERE station = ?{where} AND captured_realtime_ns >= ? "
            "AND score > ? AND score <= ? AND EXISTS (SELECT 1 FROM images WHERE event_id = events.id AND "
            "network_input_png IS NOT NULL) ORDER BY captured_realtime_ns DESC, id DESC LIMIT ?"
        )
        with _store_errors(self._path, "cannot be searched"):
            found = self._connection.execute(query, (station, *values, since_ns, above, up_to, limit)).fetchall()
            return [_event(row) for row in found]

    def kept_good_parts(self) -> list[tuple[Event, int]]:
        """Return the GOOD parts kept, without their images, and the bytes of these. Raises StoreError."""
        query = f"SELECT id, {', '.join(COLUMNS)}, {_IMAGES_BYTES} FROM events JOIN images ON event_id = id WHERE "
        with _store_errors(self._path, "the kept good parts cannot be read"):
            rows = self._connection.execute(f"{query} kept_as IS NOT NULL").fetchall()
            return [(_event(row[:-1]), row[-1]) for row in rows]

    def images_bytes(self, station: str, seq: int) -> int:
        """Return the size of a part's images as stored, 0 where it has none. Raises StoreError."""
        query = f"SELECT {_IMAGES_BYTES} FROM events JOIN images ON event_id = id WHERE station = ? AND seq = ?"
        with _store_errors(self._path, f"the images of {station} {seq} cannot be measured"):
            row = self._connection.execute(query, (station, seq)).fetchone()
            return 0 if row is None else int(row[0])

    def remove_kept(self, parts: Collection[tuple[str, int]], *, events: bool) -> None:
        """Remove the images of these (station, seq), kept GOOD parts; with `events` also their events.

        Raises StoreError; nothing is removed then.
        """
        with _store_errors(self._path, "good parts not removed; check the space and rights of its folder"):
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

    def event(self, event_id: int) -> Event | None:
        """Return an event without its images, or None when it is not in the store. Raises StoreError."""
        return next(self.events(after_id=event_id - 1, before_id=event_id + 1), None)

    def event_of(self, station: str, seq: int) -> Event | None:
        """Return the event of one part, without its images, or None. Raises StoreError."""
        query = f"SELECT id, {', '.join(COLUMNS)} FROM events WHERE station = ? AND seq = ?"
        with _store_errors(self._path, f"the event of {station} {seq} cannot be read"):
            row = self._connection.execute(query, (station, seq)).fetchone()
            return None if row is None else _event(row)

    def alarms(
        self, *, after_id: int = 0, before_id: int = LARGEST, newest_first: bool = False, limit: int = LARGEST
    ) -> Iterator[AlarmRecord]:
        """Yield alarms between two ids (both excluded), oldest first. Raises StoreError."""
        query = "SELECT id, raised_realtime_ns, kind, subject, text, id FROM alarms WHERE TRUE"
        for row in self._pages(query, [], (after_id, before_id), newest_first, limit):
            yield AlarmRecord(*row[1:])

    def _pages(
        self, query: str, names: list[str], between: tuple[int, int], newest_first: bool, limit: int
    ) -> Iterator[tuple[Any, ...]]:
        low, high = between
        query += f" AND id > ? AND id < ? ORDER BY id {'DESC' if newest_first else 'ASC'} LIMIT ?"
        while limit > 0:
            wanted = min(limit, _PAGE_ROWS)
            with _store_errors(self._path, "cannot be read"):
                page = self._connection.execute(query, (*names, low, high, wanted)).fetchall()
            yield from page
            if len(page) < wanted:
                return
            limit -= wanted
            low, high = (low, page[-1][0]) if newest_first else (page[-1][0], high)

    def images(self, event_id: int) -> EventImages | None:
        """Return the images of an event, or None if it has none. Raises StoreError."""
        query = "SELECT preview_jpeg, patch_distances, grid_height, grid_width FROM images WHERE event_id = ?"
        with _store_errors(self._path, f"the images of event {event_id} cannot be read"):
            row = self._connection.execute(query, (event_id,)).fetchone()
            if row is None:
                return None
            preview_jpeg, values, *grid = row
            return EventImages(preview_jpeg, None if values is None else np.frombuffer(values, "<f2").reshape(grid))

    def network_input(self, event_id: int) -> NDArray[np.uint8] | None:
        """Return the network's exact input, (H, W, 3) uint8 RGB, or None if the event has none.

        A DEFECT and a kept GOOD part have one, unless the recorder could not keep up. Raises StoreError.
        """
        png = self.network_input_png(event_id)
        with _store_errors(self._path, f"the network input of event {event_id} is damaged"):
            return None if png is None else pixels_of(png)

    def network_input_png(self, event_id: int) -> bytes | None:
        """Return what `network_input` returns as a PNG file. Raises StoreError."""
        query = "SELECT network_input_png FROM images WHERE event_id = ?"
        with _store_errors(self._path, f"the network input of event {event_id} cannot be read"):
            row = self._connection.execute(query, (event_id,)).fetchone()
            return None if row is None else row[0]

    def __enter__(self) -> Self:
        """Return the store; the `with` block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; the last writer to close merges the write-ahead log into it."""
        self._connection.close()

    def _scalar(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])


_counts = msgspec.json.Decoder(LedgerCounts)
_command = msgspec.json.Decoder(RejectCommand)


@contextmanager
def _connected(path: Path, mode: Literal["rwc", "ro"]) -> Iterator[sqlite3.Connection]:
    """Connect; an error inside the block closes the connection, otherwise it stays open."""
    # Opened in one thread and used in another, one at a time, hence no check_same_thread.
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        yield connection
    except BaseException:
        connection.close()
        raise


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    if _is_empty(path, connection):
        # Takes effect only before the first page is written, so before WAL mode and the tables.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
        raise StoreError(f"{path}: its file system has no shared memory; put store.path on a local disk")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    if _is_empty(path, connection):
        connection.executescript(SCHEMA)
    connection.executescript(INDICES)


def _is_empty(path: Path, connection: sqlite3.Connection) -> bool:
    """Return whether the file is empty; raises StoreError when it belongs to another program or release."""
    pragmas = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    application, version, tables = (connection.execute(pragma).fetchone()[0] for pragma in pragmas)
    if (application, version, tables) == (0, 0, 0):
        return True
    if application != APPLICATION_ID:
        raise StoreError(f"{path}: a database of another program; point store.path to a separate folder")
    if version != SCHEMA_VERSION:
        age = "a newer" if version > SCHEMA_VERSION else "an older"
        raise StoreError(
            f"{path}: schema {version} of {age} PatchLine, this release uses {SCHEMA_VERSION}; "
            "move the file away, or run that release"
        )
    return False


def _event(row: tuple[Any, ...]) -> Event:
    values = dict(zip(("event_id", *COLUMNS), row, strict=True))
    part = {name: values.pop(name) for name in PART_COLUMNS}
    part["verdict"] = Verdict(part["verdict"])
    part["cause"] = None if part["cause"] is None else Cause(part["cause"])
    values["stages"] = msgspec.json.decode(values["stages"])
    return Event(part=PartResult(**part), **values)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


@contextmanager
def _store_errors(path: Path, problem: str) -> Iterator[None]:
    """Turn an error of SQLite, the file system or a value's type or range into a StoreError."""
    try:
        yield
    except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
        raise StoreError(f"{path}: {problem} ({error})") from error
