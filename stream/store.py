"""The event store: what became of which part, with its picture, and how far each station has come.

One SQLite file in WAL mode: one thread of the sink writes, other processes read meanwhile. Pictures
have a table of their own, so that paging over a million events touches none of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from stream.actuators.command import RejectCommand
from stream.clock import boot_id
from stream.errors import StoreError
from stream.line.ledger import Counts
from stream.messages import Cause, Verdict
from stream.records import AlarmRecord, Event, Picture

#: Name of the store's file below `store.path`.
FILE_NAME = "events.sqlite"

_SCHEMA_VERSION = 1
_APPLICATION_ID = 0x50_4C_4E_45  # "PLNE": tells our file from any other SQLite file
_DAY_NS = 86_400 * 10**9
_ALL = 2**63 - 1  # the largest number SQLite knows
_BUSY_S = 2.0  # how long a checkpoint waits for readers, and a reader for recovery after a crash
_PAGE_ROWS = 1000  # read at once: a read transaction left open would keep the WAL from shrinking
_DELETE_EVENTS = 64  # deleted in one transaction: readers and new events never wait long
_VACUUM_PAGES = 4096

_COLUMNS = (
    *("station", "seq", "part_id", "verdict", "cause", "detail", "action", "score", "threshold"),
    *("pixel_threshold", "captured_realtime_ns", "worker", "bundle", "stages", "total_ms"),
)
_INSERT_EVENT = (
    f"INSERT INTO events ({', '.join(_COLUMNS)}) VALUES (:{', :'.join(_COLUMNS)}) ON CONFLICT (station, seq) DO NOTHING"
)
_INSERT_ALARM = (
    "INSERT INTO alarms (raised_realtime_ns, kind, subject, text) VALUES (:raised_realtime_ns, :kind, :subject, :text)"
)
_REPLACE_LEDGER = "INSERT OR REPLACE INTO ledger (station, counts) VALUES (?, ?)"

# AUTOINCREMENT: a number is never used twice, so a reader that follows `after_id` misses nothing
# even after retention has emptied the table.
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    station TEXT NOT NULL, seq INTEGER NOT NULL, part_id TEXT,
    verdict TEXT NOT NULL, cause TEXT, detail TEXT NOT NULL, action TEXT NOT NULL,
    score REAL, threshold REAL, pixel_threshold REAL,
    captured_realtime_ns INTEGER NOT NULL, worker TEXT, bundle TEXT,
    stages TEXT NOT NULL, total_ms REAL,
    UNIQUE (station, seq)
);
CREATE INDEX IF NOT EXISTS events_by_station ON events (station, id);
CREATE INDEX IF NOT EXISTS events_by_time ON events (captured_realtime_ns);
CREATE TABLE IF NOT EXISTS pictures (
    event_id INTEGER PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    grid_height INTEGER NOT NULL, grid_width INTEGER NOT NULL, map BLOB, view BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS alarms (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    raised_realtime_ns INTEGER NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS alarms_by_time ON alarms (raised_realtime_ns);
CREATE TABLE IF NOT EXISTS ledger (
    station TEXT PRIMARY KEY, counts TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS planned (boot_id TEXT NOT NULL, actuator TEXT NOT NULL, command TEXT NOT NULL);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_SCHEMA_VERSION};
COMMIT;
"""


class EventStore:
    """The open file; used by one thread at a time. `open` writes, `read` only reads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> EventStore:
        """Open the file at `path` for writing; makes its folders and itself. Raises StoreError."""
        with _one_line(path, "cannot be opened; repair it or move it away, and a new store is begun"):
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
        with _one_line(path, problem), _connected(path, "ro") as connection:
            if _is_empty(path, connection):
                raise StoreError(nothing)
        return cls(path, connection)

    def record(
        self,
        events: Sequence[Event],
        alarms: Sequence[AlarmRecord],
        ledger: Mapping[str, Counts],
        planned: Mapping[str, Sequence[RejectCommand]] | None = None,
    ) -> None:
        """Write all of it or nothing; a part (station, seq) that is there already stays as it is.

        `planned` replaces the rejects that wait for their moment, by actuator; None leaves them.

        Raises StoreError, for example when the disk is full; the store then stands as before.
        """
        with _one_line(self._path, "not recorded; check the space and rights of its folder"):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for event in events:
                    self._insert(event)
                for alarm in alarms:
                    self._connection.execute(_INSERT_ALARM, asdict(alarm))
                for station, counts in ledger.items():
                    self._connection.execute(_REPLACE_LEDGER, (station, _json(counts)))
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
        columns = {name: getattr(event, name) for name in _COLUMNS} | {"stages": _json(event.stages)}
        cursor = self._connection.execute(_INSERT_EVENT, columns)
        if cursor.rowcount == 0 or (not event.view and event.anomaly_map is None):
            return
        grid, values = (0, 0), None
        if event.anomaly_map is not None:
            height, width = event.anomaly_map.shape
            grid, values = (height, width), event.anomaly_map.astype("<f2").tobytes()
        self._connection.execute(
            "INSERT INTO pictures (event_id, grid_height, grid_width, map, view) VALUES (?, ?, ?, ?, ?)",
            (cursor.lastrowid, *grid, values, event.view),
        )

    def retain(
        self,
        *,
        keep_events: int,
        keep_days: float,
        keep_bytes: int,
        now_realtime_ns: int,
        at_most: int = _ALL,
    ) -> int:
        """Delete the oldest events beyond any of the limits, give their space back, return their number.

        `keep_bytes` counts pages in use; `at_most` bounds the events of one call, so that a writer
        with a queue can take turns. Alarms follow `keep_days`. Raises StoreError.
        """
        oldest_ns = max(0, now_realtime_ns - round(keep_days * _DAY_NS))
        by_time = f"WHERE captured_realtime_ns < {oldest_ns} ORDER BY captured_realtime_ns"
        left = at_most
        with _one_line(self._path, "old events not deleted; check the space and rights of its folder"):
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
        """Delete the next few of `which` events with their pictures, in a transaction of its own."""
        chunk = f"SELECT id FROM events {which} LIMIT {min(at_most, _DELETE_EVENTS)}"
        return self._connection.execute(f"DELETE FROM events WHERE id IN ({chunk})").rowcount

    def _shrink(self) -> None:
        before, free_pages = _ALL, self._scalar("PRAGMA freelist_count")
        if free_pages == 0:
            return
        while 0 < free_pages < before:
            # Each row read frees one page, so all rows must be fetched.
            self._connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
            before, free_pages = free_pages, self._scalar("PRAGMA freelist_count")
        # Only the checkpoint cuts the file. With a reader in its way it leaves the rest to the next one.
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _used_bytes(self) -> int:
        pages = self._scalar("PRAGMA page_count") - self._scalar("PRAGMA freelist_count")
        return int(pages * self._scalar("PRAGMA page_size"))

    def size_bytes(self) -> int:
        """Return what the store takes on disk: the file and its write-ahead log."""
        files = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        with _one_line(self._path, "cannot be measured"):
            return sum(file.stat().st_size for file in files if file.exists())

    def ledger(self) -> dict[str, Counts]:
        """Return how far each station has come, by station. Raises StoreError."""
        with _one_line(self._path, "the ledger cannot be read"):
            rows = self._connection.execute("SELECT station, counts FROM ledger ORDER BY station").fetchall()
            return {station: _counts.decode(counts) for station, counts in rows}

    def planned(self) -> dict[str, list[RejectCommand]]:
        """Return the rejects that waited for their moment, by actuator; those of an earlier boot are void."""
        with _one_line(self._path, "the planned rejects cannot be read"):
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
        before_id: int = _ALL,
        newest_first: bool = False,
        limit: int = _ALL,
    ) -> Iterator[Event]:
        """Yield events between two ids (both excluded) without their pictures, oldest first.

        Reads page by page: an iterator that nobody finishes hinders no one. Raises StoreError.
        """
        where, names = ("TRUE", []) if station is None else ("station = ?", [station])
        query = f"SELECT id, {', '.join(_COLUMNS)} FROM events WHERE {where}"
        for row in self._pages(query, names, (after_id, before_id), newest_first, limit):
            with _one_line(self._path, f"event {row[0]} was written by another release"):
                event = _event(row)
            yield event

    def event(self, station: str, seq: int) -> Event | None:
        """Return the event of one part, without its picture, or None. Raises StoreError."""
        query = f"SELECT id, {', '.join(_COLUMNS)} FROM events WHERE station = ? AND seq = ?"
        with _one_line(self._path, f"the event of {station} {seq} cannot be read"):
            row = self._connection.execute(query, (station, seq)).fetchone()
            return None if row is None else _event(row)

    def alarms(self, *, after_id: int = 0, newest_first: bool = False, limit: int = _ALL) -> Iterator[AlarmRecord]:
        """Yield alarms after an id, oldest first. Raises StoreError."""
        query = "SELECT id, raised_realtime_ns, kind, subject, text, id FROM alarms WHERE TRUE"
        for row in self._pages(query, [], (after_id, _ALL), newest_first, limit):
            yield AlarmRecord(*row[1:])

    def _pages(
        self, query: str, names: list[str], between: tuple[int, int], newest_first: bool, limit: int
    ) -> Iterator[tuple[Any, ...]]:
        low, high = between
        query += f" AND id > ? AND id < ? ORDER BY id {'DESC' if newest_first else 'ASC'} LIMIT ?"
        while limit > 0:
            wanted = min(limit, _PAGE_ROWS)
            with _one_line(self._path, "cannot be read"):
                page = self._connection.execute(query, (*names, low, high, wanted)).fetchall()
            yield from page
            if len(page) < wanted:
                return
            limit -= wanted
            low, high = (low, page[-1][0]) if newest_first else (page[-1][0], high)

    def picture(self, event_id: int) -> Picture | None:
        """Return the picture of an event, or None where it has none (any more). Raises StoreError."""
        query = "SELECT view, map, grid_height, grid_width FROM pictures WHERE event_id = ?"
        with _one_line(self._path, f"the picture of event {event_id} cannot be read"):
            row = self._connection.execute(query, (event_id,)).fetchone()
            if row is None:
                return None
            view, values, *grid = row
            return Picture(view, None if values is None else np.frombuffer(values, "<f2").reshape(grid))

    def close(self) -> None:
        """Close the file; the last one to close a writable store folds the log into it."""
        self._connection.close()

    def _scalar(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])


_counts = msgspec.json.Decoder(Counts)
_command = msgspec.json.Decoder(RejectCommand)


@contextmanager
def _connected(path: Path, mode: Literal["rwc", "ro"]) -> Iterator[sqlite3.Connection]:
    """Connect; an error inside the block closes the connection again, otherwise it stays open."""
    # Opened in one thread and used in another, one at a time, hence no check of the thread.
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        yield connection
    except BaseException:
        connection.close()
        raise


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    if _is_empty(path, connection):
        # Only the first page ever written can turn it on, so before WAL mode and the tables.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
        raise StoreError(f"{path}: its file system has no shared memory; put store.path on a local disk")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    if _is_empty(path, connection):
        connection.executescript(_SCHEMA)


def _is_empty(path: Path, connection: sqlite3.Connection) -> bool:
    """Return whether nothing is in the file yet; raises StoreError when it is not ours to use."""
    questions = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    application, version, tables = (connection.execute(question).fetchone()[0] for question in questions)
    if (application, version, tables) == (0, 0, 0):
        return True
    if application != _APPLICATION_ID:
        raise StoreError(f"{path}: a database of another program; point store.path to a folder of its own")
    if version != _SCHEMA_VERSION:
        age = "a newer" if version > _SCHEMA_VERSION else "an older"
        raise StoreError(
            f"{path}: schema {version} of {age} PatchLine, this release uses {_SCHEMA_VERSION}; "
            "move the file away, or run that release"
        )
    return False


def _event(row: tuple[Any, ...]) -> Event:
    values = dict(zip(("event_id", *_COLUMNS), row, strict=True))
    values["verdict"] = Verdict(values["verdict"])
    values["cause"] = None if values["cause"] is None else Cause(values["cause"])
    values["stages"] = msgspec.json.decode(values["stages"])
    return Event(**values)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


@contextmanager
def _one_line(path: Path, problem: str) -> Iterator[None]:
    """Turn what SQLite, the file system or a value it cannot hold raises into a StoreError."""
    try:
        yield
    except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
        raise StoreError(f"{path}: {problem} ({error})") from error
