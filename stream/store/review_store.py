"""What users decide: acknowledged alarms, marks on events, changes of bundles, and the audit log of it all.

A separate SQLite file beside the event store, which the sink alone writes.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from stream.core.errors import StoreError

#: Name of the file below `store.path`.
FILE_NAME = "review.sqlite"

#: Raised with every change of the tables or of the JSON in them; other versions are refused.
SCHEMA_VERSION = 2

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS acknowledged (
    kind TEXT NOT NULL, subject TEXT NOT NULL, raised_realtime_ns INTEGER NOT NULL, who TEXT NOT NULL,
    at_s REAL NOT NULL, PRIMARY KEY (raised_realtime_ns, kind, subject)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (
    station TEXT NOT NULL, seq INTEGER NOT NULL, mark TEXT NOT NULL, note TEXT NOT NULL, who TEXT NOT NULL,
    at_s REAL NOT NULL, PRIMARY KEY (station, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at_s REAL NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, station TEXT NOT NULL, body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS scores (
    station TEXT NOT NULL, seq INTEGER NOT NULL, scale TEXT NOT NULL, score REAL NOT NULL,
    PRIMARY KEY (station, seq, scale)
) WITHOUT ROWID;
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""


class Review:
    """The open file; any thread may call."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises StoreError, also where another release wrote it."""
        self._path = path
        self._turn = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()  # SQLite gives its files the rights of this one; made by itself it has fewer
            self._connection = sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            if self._is_empty():
                self._connection.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{path}: cannot be opened ({error}); repair it or move it away") from None

    def _is_empty(self) -> bool:
        """Whether the file has no tables yet; raises StoreError where another release made them."""
        questions = ("PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        version, tables = (self._connection.execute(question).fetchone()[0] for question in questions)
        if not tables:
            return True
        if version != SCHEMA_VERSION:
            self._connection.close()
            age = "a newer" if version > SCHEMA_VERSION else "an older"
            raise StoreError(
                f"{self._path}: schema {version} of {age} PatchLine, this release uses {SCHEMA_VERSION}; "
                "move the file away, or run that release"
            )
        return False

    def acknowledge(self, alarm: AlarmName, user: str, at_s: float) -> None:
        """Record the user who acknowledges an alarm; the first one stays. Raises StoreError."""
        name = (alarm.kind, alarm.subject, int(alarm.raised_ns))
        self._change(
            "INSERT OR IGNORE INTO acknowledged VALUES (?, ?, ?, ?, ?)",
            (*name, user, at_s),
            AuditEntry(at_s=at_s, who=user, what="acknowledge", detail=f"{alarm.kind} {alarm.subject}"),
        )

    def acknowledged(self, alarms: Iterable[tuple[str, str, int]]) -> dict[tuple[str, str, int], tuple[str, float]]:
        """Return (user, s) for the acknowledged of these (kind, subject, raised_realtime_ns). Raises StoreError."""
        query = "SELECT who, at_s FROM acknowledged WHERE kind = ? AND subject = ? AND raised_realtime_ns = ?"
        rows = {alarm: self._rows(query, alarm) for alarm in alarms}
        return {alarm: row[0] for alarm, row in rows.items() if row}

    def mark(self, mark: Mark) -> None:
        """Record a mark on an event, in place of an earlier one. Raises StoreError."""
        values = (mark.station, mark.seq, mark.mark, mark.note, mark.who, mark.at_s)
        detail = f"{mark.station} {mark.seq}: {mark.mark} {mark.note}".strip()
        self._change(
            "INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?, ?, ?)",
            values,
            AuditEntry(at_s=mark.at_s, who=mark.who, what="mark", detail=detail),
        )

    def marks(self, parts: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Mark]:
        """Return the marks on these (station, seq). Raises StoreError."""
        query = "SELECT station, seq, mark, note, who, at_s FROM marks WHERE station = ? AND seq = ?"
        rows = [row for part in parts for row in self._rows(query, part)]
        return {(row[0], row[1]): Mark(**dict(zip(Mark.model_fields, row, strict=True))) for row in rows}

    def marks_of(self, station: str, limit: int) -> list[Mark]:
        """Return the latest marks on a station's events, latest first. Raises StoreError."""
        query = "SELECT station, seq, mark, note, who, at_s FROM marks WHERE station = ? ORDER BY at_s DESC LIMIT ?"
        return [Mark(**dict(zip(Mark.model_fields, row, strict=True))) for row in self._rows(query, (station, limit))]

    def add_change(self, station: str, body: str, entry: AuditEntry) -> int:
        """Store a change of a station's bundle, as JSON; returns its number. Raises StoreError."""
        return self._change("INSERT INTO changes (station, body) VALUES (?, ?)", (station, body), entry)

    def save_change(self, number: int, body: str, entry: AuditEntry) -> None:
        """Store the new state of a change. Raises StoreError."""
        self._change("UPDATE changes SET body = ? WHERE id = ?", (body, number), entry)

    def changes(self, station: str, limit: int) -> list[tuple[int, str]]:
        """Return numbers and JSON of a station's last changes, latest first. Raises StoreError."""
        query = "SELECT id, body FROM changes WHERE station = ? ORDER BY id DESC LIMIT ?"
        return [(row[0], row[1]) for row in self._rows(query, (station, limit))]

    def change(self, number: int) -> str | None:
        """Return the JSON of a change, or None. Raises StoreError."""
        rows = self._rows("SELECT body FROM changes WHERE id = ?", (number,))
        return rows[0][0] if rows else None

    def add_scores(self, station: str, scale: str, scores: Iterable[tuple[int, float]]) -> None:
        """Store the image scores of parts (seq, score) by bundles of this scale. Raises StoreError."""
        statement = "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)"
        if rows := [(statement, (station, seq, scale, score)) for seq, score in scores]:
            self._write(rows)

    def scores(self, station: str, scale: str) -> dict[int, float]:
        """Return the stored image scores of a station's parts, by seq. Raises StoreError."""
        return dict(self._rows("SELECT seq, score FROM scores WHERE station = ? AND scale = ?", (station, scale)))

    def note(self, entry: AuditEntry) -> None:
        """Add to the audit log. Raises StoreError."""
        self._write([_audited(entry)])

    def audit(self, limit: int) -> list[AuditEntry]:
        """Return the latest entries, latest first. Raises StoreError."""
        rows = self._rows("SELECT at_s, who, what, detail FROM audit ORDER BY id DESC LIMIT ?", (limit,))
        return [AuditEntry(at_s=row[0], who=row[1], what=row[2], detail=row[3]) for row in rows]

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._connection.close()

    def _change(self, statement: str, values: Sequence[object], entry: AuditEntry) -> int:
        """Execute a statement and add to the audit log: both or neither. Returns the number of a new row."""
        return self._write([(statement, values), _audited(entry)])

    def _write(self, statements: Sequence[tuple[str, Sequence[object]]]) -> int:
        """Execute all statements or none; returns the number of the row that the first one made."""
        with self._turn:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    made = [self._connection.execute(*statement).lastrowid for statement in statements]
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except (sqlite3.Error, OverflowError) as error:
                raise StoreError(
                    f"{self._path}: not written ({error}); check the space and rights of its folder"
                ) from None
        return made[0] or 0

    def _rows(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._turn:
            try:
                return self._connection.execute(query, values).fetchall()
            except (sqlite3.Error, OverflowError) as error:
                raise StoreError(f"{self._path}: cannot be read ({error})") from None


def marked_among(path: Path, parts: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
    """Return which of these (station, seq) are marked in the review file; none where there is no file yet.

    For a reader beside the dashboard, which alone writes the file. Raises StoreError.
    """
    if not path.exists():
        return set()
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=2.0)) as connection:
            query = "SELECT 1 FROM marks WHERE station = ? AND seq = ?"
            return {part for part in parts if connection.execute(query, part).fetchone() is not None}
    except sqlite3.Error as error:
        raise StoreError(f"{path}: the marks cannot be read ({error})") from None


def _audited(entry: AuditEntry) -> tuple[str, Sequence[object]]:
    insert = "INSERT INTO audit (at_s, who, what, detail) VALUES (?, ?, ?, ?)"
    return insert, (entry.at_s, entry.who, entry.what, entry.detail)


#: What users find: on a part that was not GOOD a false alarm or a true defect, on a GOOD one a missed defect or good.
MarkKind = Literal["false_alarm", "true_defect", "missed_defect", "good"]
#: Marks of GOOD parts; the others are of all others.
OF_GOOD: tuple[MarkKind, ...] = ("missed_defect", "good")
#: Marks by which a part is defective, whatever its verdict.
DEFECTIVE: tuple[MarkKind, ...] = ("true_defect", "missed_defect")


class Mark(BaseModel):
    """A user's finding on an event, and why."""

    station: str
    seq: int
    mark: MarkKind
    note: str
    who: str
    at_s: float


class AlarmName(BaseModel):
    """The identity of an alarm."""

    kind: Annotated[str, Field(max_length=64)]
    subject: Annotated[str, Field(max_length=64)]
    raised_ns: Annotated[str, Field(pattern=r"^[0-9]{1,18}$|^[0-8][0-9]{18}$")]


class AuditEntry(BaseModel):
    """What a user changed."""

    at_s: float
    who: str
    what: str
    detail: str
