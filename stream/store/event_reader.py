"""The event store as it is read: parts with their images, alarms, the ledger and the planned rejects.

One SQLite file in WAL mode: one thread of the sink writes (`event_store.py`), other processes read meanwhile. Images
have a separate table, so that paging over a million events touches none of them.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.core.clock import boot_id
from stream.core.errors import StoreError
from stream.core.images import pixels_of
from stream.core.parts import LedgerCounts, PartResult, Placement
from stream.core.spots import Spot
from stream.core.verdict import Cause, Verdict
from stream.devices.actuators.actuator import RejectCommand
from stream.store.database import connected, is_empty, store_errors
from stream.store.records import AlarmRecord, Event, EventImages
from stream.store.schema import COLUMNS, PART_COLUMNS, PLACEMENT_COLUMNS
from stream.store.search import LARGEST, NearMissPlace, Place, merged, near_misses_query, queries

#: Name of the store's file below `store.path`.
FILE_NAME = "events.sqlite"

#: Rows read at once: a read transaction left open would keep the WAL from shrinking.
_PAGE_ROWS = 1000

#: Size of a row's images. SQLite knows the length of a blob without reading it.
_IMAGES_BYTES = "length(preview_jpeg) + ifnull(length(patch_distances), 0) + ifnull(length(network_input_png), 0)"


class EventReader:
    """The open file, which is only read; used by one thread at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file at `path` for reading while the line writes it. Raises StoreError."""
        nothing = f"{path}: no event store yet; start the line first, or correct store.path"
        if not path.exists():
            raise StoreError(nothing)
        problem = "cannot be opened; check the rights of the file and its folder"
        with store_errors(path, problem), connected(path, "ro") as connection:
            if is_empty(path, connection):
                raise StoreError(nothing)
        return cls(path, connection)

    def size_bytes(self) -> int:
        """Return the size on disk, bytes: the file and its write-ahead log. Raises StoreError."""
        files = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        with store_errors(self._path, "cannot be measured"):
            return sum(file.stat().st_size for file in files if file.exists())

    def ledger(self) -> dict[str, LedgerCounts]:
        """Return the counts of each station, by station. Raises StoreError."""
        with store_errors(self._path, "the ledger cannot be read"):
            rows = self._connection.execute("SELECT station, counts FROM ledger ORDER BY station").fetchall()
            return {station: _counts.decode(counts) for station, counts in rows}

    def planned(self) -> dict[str, list[RejectCommand]]:
        """Return the rejects that waited for their moment, by actuator, of this boot. Raises StoreError."""
        with store_errors(self._path, "the planned rejects cannot be read"):
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
        """Yield events between two ids (both excluded) without their images, in the order of their settlement.

        Reads page by page, so an unfinished iterator does not block the writer. Raises StoreError.
        """
        where, names = ("TRUE", []) if station is None else ("station = ?", [station])
        query = f"SELECT id, {', '.join(COLUMNS)} FROM events WHERE {where}"
        for row in self._pages(query, names, (after_id, before_id), newest_first, limit):
            with store_errors(self._path, f"event {row[0]} was written by another release"):
                event = _event(row)
            yield event

    def search(
        self,
        *,
        station: str | None = None,
        verdicts: Collection[Verdict] = (),
        cause: Cause | None = None,
        within_spec: bool = False,
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
            within_spec: True: only the parts that rules let pass.
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
            within_spec=within_spec,
            skipped=skipped,
            within_ns=(since_ns, until_ns),
            before=before,
            after=after,
            limit=limit,
        )
        with store_errors(self._path, "cannot be searched"):
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
        with store_errors(self._path, "cannot be searched"):
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
        with store_errors(self._path, "cannot be searched"):
            found = self._connection.execute(query, (station, *values, since_ns, above, up_to, limit)).fetchall()
            return [_event(row) for row in found]

    def kept_good_parts(self) -> list[tuple[Event, int]]:
        """Return the GOOD parts kept, without their images, and the bytes of these. Raises StoreError."""
        query = f"SELECT id, {', '.join(COLUMNS)}, {_IMAGES_BYTES} FROM events JOIN images ON event_id = id WHERE "
        with store_errors(self._path, "the kept good parts cannot be read"):
            rows = self._connection.execute(f"{query} kept_as IS NOT NULL").fetchall()
            return [(_event(row[:-1]), row[-1]) for row in rows]

    def images_bytes(self, station: str, seq: int) -> int:
        """Return the size of a part's images as stored, 0 where it has none. Raises StoreError."""
        query = f"SELECT {_IMAGES_BYTES} FROM events JOIN images ON event_id = id WHERE station = ? AND seq = ?"
        with store_errors(self._path, f"the images of {station} {seq} cannot be measured"):
            row = self._connection.execute(query, (station, seq)).fetchone()
            return 0 if row is None else int(row[0])

    def event(self, event_id: int) -> Event | None:
        """Return an event without its images, or None when it is not in the store. Raises StoreError."""
        return next(self.events(after_id=event_id - 1, before_id=event_id + 1), None)

    def event_of(self, station: str, seq: int) -> Event | None:
        """Return the event of one part, without its images, or None. Raises StoreError."""
        query = f"SELECT id, {', '.join(COLUMNS)} FROM events WHERE station = ? AND seq = ?"
        with store_errors(self._path, f"the event of {station} {seq} cannot be read"):
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
            with store_errors(self._path, "cannot be read"):
                page = self._connection.execute(query, (*names, low, high, wanted)).fetchall()
            yield from page
            if len(page) < wanted:
                return
            limit -= wanted
            low, high = (low, page[-1][0]) if newest_first else (page[-1][0], high)

    def images(self, event_id: int) -> EventImages | None:
        """Return the images of an event, or None if it has none. Raises StoreError."""
        query = "SELECT preview_jpeg, patch_distances, grid_height, grid_width FROM images WHERE event_id = ?"
        with store_errors(self._path, f"the images of event {event_id} cannot be read"):
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
        with store_errors(self._path, f"the network input of event {event_id} is damaged"):
            return None if png is None else pixels_of(png)

    def network_input_png(self, event_id: int) -> bytes | None:
        """Return what `network_input` returns as a PNG file. Raises StoreError."""
        query = "SELECT network_input_png FROM images WHERE event_id = ?"
        with store_errors(self._path, f"the network input of event {event_id} cannot be read"):
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


_counts = msgspec.json.Decoder(LedgerCounts)
_command = msgspec.json.Decoder(RejectCommand)
_spots = msgspec.json.Decoder(tuple[Spot, ...])


def _event(row: tuple[Any, ...]) -> Event:
    values = dict(zip(("event_id", *COLUMNS), row, strict=True))
    part = {name: values.pop(name) for name in PART_COLUMNS}
    part["verdict"] = Verdict(part["verdict"])
    part["within_spec"] = bool(part["within_spec"])
    part["spots"] = () if part["spots"] is None else _spots.decode(part["spots"])
    part["cause"] = None if part["cause"] is None else Cause(part["cause"])
    values["stages"] = msgspec.json.decode(values["stages"])
    placed = {name: values.pop(name) for name in PLACEMENT_COLUMNS}
    placement = None if placed["match"] is None else Placement(**placed)
    return Event(part=PartResult(**part), placement=placement, **values)
