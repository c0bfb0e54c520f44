"""Search of events as SQL queries, each a single range of one index. Pure: returns text and values."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from stream.core.good_parts import hour_of
from stream.core.verdict import Cause, Verdict
from stream.store.records import Event
from stream.store.schema import COLUMNS

LARGEST = 2**63 - 1  # the largest number SQLite knows


class Place(NamedTuple):
    """Position of an event in time, the cursor of a page: moment of exposure, then id."""

    captured_realtime_ns: int
    event_id: int


class NearMissPlace(NamedTuple):
    """Position of a kept GOOD part in the order by hour and score: the cursor of a page."""

    hour: int
    score: float
    event_id: int


class Query(NamedTuple):
    """An SQL statement and the values of its placeholders."""

    text: str
    values: tuple[Any, ...]


def queries(
    wanted: dict[str, Any],
    *,
    verdicts: Collection[Verdict],
    cause: Cause | None,
    within_spec: bool,
    skipped: bool,
    within_ns: tuple[int, int],
    before: Place | None,
    after: Place | None,
    limit: int,
) -> list[Query]:
    """Return queries whose rows together contain one page of events; see `EventStore.search` for the arguments.

    `wanted` are columns and their values, None for any; `within_ns` is of exposure, both ends included.
    """
    # One bound on each side: of two, SQLite would start at the looser one and read everything between.
    low = max(Place(within_ns[0], -1), after or Place(0, -1))
    high = min(Place(within_ns[1], LARGEST), before or Place(LARGEST, LARGEST))
    order = "ASC" if after is not None else "DESC"
    pages = []
    for kind in [{}] if within_spec else _kinds(verdicts, cause, skipped=skipped):
        columns = {column: value for column, value in (wanted | kind).items() if value is not None}
        # Few events share a seq or part_id: the unary plus keeps SQLite from using another column's index.
        narrow = next((column for column in ("seq", "part_id") if column in columns), None)
        where = "".join(f" AND {'' if narrow in (None, column) else '+'}{column} = ?" for column in columns)
        where += " AND within_spec" if within_spec else ""
        text = (
            f"SELECT id, {', '.join(COLUMNS)} FROM events "
            f"WHERE (captured_realtime_ns, id) > (?, ?) AND (captured_realtime_ns, id) < (?, ?){where} "
            f"ORDER BY captured_realtime_ns {order}, id {order} LIMIT ?"
        )
        pages.append(Query(text, (*low, *high, *columns.values(), limit)))
    return pages


def near_misses_query(
    station: str | None,
    *,
    within_ns: tuple[int, int],
    before: NearMissPlace | None,
    after: NearMissPlace | None,
    limit: int,
) -> Query:
    """Return a query of one page of the GOOD parts kept; see `EventStore.near_misses` for the arguments."""
    order = "ASC" if after is not None else "DESC"
    low = max(NearMissPlace(hour_of(within_ns[0]) - 1, 0.0, 0), after or NearMissPlace(-1, 0.0, 0))
    high = min(NearMissPlace(hour_of(within_ns[1]) + 1, 0.0, 0), before or NearMissPlace(LARGEST, 0.0, 0))
    where, values = ("", []) if station is None else (" AND station = ?", [station])
    text = (
        f"SELECT id, {', '.join(COLUMNS)} FROM events WHERE kept_as IS NOT NULL{where} "
        "AND (captured_hour, score, id) > (?, ?, ?) AND (captured_hour, score, id) < (?, ?, ?) "
        "AND +captured_realtime_ns BETWEEN ? AND ? "
        f"ORDER BY captured_hour {order}, score {order}, id {order} LIMIT ?"
    )
    return Query(text, (*values, *low, *high, *within_ns, limit))


def near_miss_place(event: Event) -> NearMissPlace:
    """Return where a kept GOOD part is in the order by hour and score."""
    assert event.event_id is not None, "it was read from the store"
    assert event.part.score is not None, "a GOOD part has a score"
    return NearMissPlace(hour_of(event.captured_realtime_ns), event.part.score, event.event_id)


def merged(events: Collection[Event], *, after: Place | None, limit: int) -> list[Event]:
    """Merge the events of several queries into one page, the newest exposure first."""
    ordered = sorted(events, key=_place, reverse=True)
    return ordered[-limit:] if after is not None else ordered[:limit]


def _kinds(verdicts: Collection[Verdict], cause: Cause | None, *, skipped: bool) -> list[dict[str, Any]]:
    """Return disjoint conditions, each a single range of an index; their pages are merged."""
    if cause is not None:
        return [{"cause": cause}]
    if skipped:
        return [{"verdict": verdict} for verdict in verdicts] or [{}]
    wanted = set(verdicts or Verdict)
    inspected = [{"verdict": verdict} for verdict in wanted - {Verdict.UNINSPECTED}]
    causes = (
        [{"cause": cause} for cause in Cause if cause is not Cause.SKIPPED] if Verdict.UNINSPECTED in wanted else []
    )
    return [*inspected, *causes]


def _place(event: Event) -> Place:
    assert event.event_id is not None, "it was read from the store"
    return Place(event.captured_realtime_ns, event.event_id)
