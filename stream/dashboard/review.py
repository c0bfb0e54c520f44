"""What people say about the line's work: alarms seen to, marks on events, and who changed what.

A SQLite file of its own beside the event store, which belongs to the sink alone.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from stream.dashboard.answers import AlarmName, AuditEntry, Mark
from stream.errors import StoreError

#: Name of the file below `store.path`.
FILE_NAME = "review.sqlite"

MarkKind = Literal["false_alarm", "true_defect"]

_SCHEMA = """
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
"""


class Review:
    """The open file; any thread may call."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; raises StoreError."""
        self._path = path
        self._turn = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{path}: cannot be opened ({error}); repair it or move it away") from None

    def acknowledge(self, alarm: AlarmName, who: str, at_s: float) -> None:
        """Note who has seen to an alarm; the first one stays. Raises StoreError."""
        name = (alarm.kind, alarm.subject, int(alarm.raised_ns))
        self._change(
            "INSERT OR IGNORE INTO acknowledged VALUES (?, ?, ?, ?, ?)",
            (*name, who, at_s),
            AuditEntry(at_s=at_s, who=who, what="acknowledge", detail=f"{alarm.kind} {alarm.subject}"),
        )

    def acknowledged(self, alarms: Iterable[tuple[str, str, int]]) -> dict[tuple[str, str, int], tuple[str, float]]:
        """Return who saw to which of these (kind, subject, raised_realtime_ns), and when. Raises StoreError."""
        query = "SELECT who, at_s FROM acknowledged WHERE kind = ? AND subject = ? AND raised_realtime_ns = ?"
        found = {alarm: self._rows(query, alarm) for alarm in alarms}
        return {alarm: rows[0] for alarm, rows in found.items() if rows}

    def mark(self, mark: Mark) -> None:
        """Note what a person found at an event, in place of what stood there. Raises StoreError."""
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

    def note(self, entry: AuditEntry) -> None:
        """Add to the audit log. Raises StoreError."""
        self._change(None, (), entry)

    def audit(self, limit: int) -> list[AuditEntry]:
        """Return the newest entries, the newest first. Raises StoreError."""
        rows = self._rows("SELECT at_s, who, what, detail FROM audit ORDER BY id DESC LIMIT ?", (limit,))
        return [AuditEntry(at_s=row[0], who=row[1], what=row[2], detail=row[3]) for row in rows]

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._connection.close()

    def _change(self, statement: str | None, values: Sequence[object], entry: AuditEntry) -> None:
        """Change something and say so in the audit log: both or neither."""
        with self._turn:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    if statement is not None:
                        self._connection.execute(statement, values)
                    self._connection.execute(
                        "INSERT INTO audit (at_s, who, what, detail) VALUES (?, ?, ?, ?)",
                        (entry.at_s, entry.who, entry.what, entry.detail),
                    )
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except (sqlite3.Error, OverflowError) as error:
                raise StoreError(
                    f"{self._path}: not written ({error}); check the space and rights of its folder"
                ) from None

    def _rows(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._turn:
            try:
                return self._connection.execute(query, values).fetchall()
            except (sqlite3.Error, OverflowError) as error:
                raise StoreError(f"{self._path}: cannot be read ({error})") from None
