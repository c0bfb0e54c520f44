"""What people ask the event store for, as queries that each read one place of one index. Pure: text and values."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from stream.core.verdict import Cause, Verdict
from stream.store.records import Event
from stream.store.schema import COLUMNS

LARGEST = 2**63 - 1  # the largest number SQLite knows


class Place(NamedTuple):
    """Where an event stands in time: moment of exposure, then number."""

    captured_realtime_ns: int
    event_id: int


class Query(NamedTuple):
    """A statement and the values of its marks."""

    text: str
    values: tuple[Any, ...]


def queries(
    wanted: dict[str, Any],
    *,
    verdicts: Collection[Verdict],
    cause: Cause | None,
    skipped: bool,
    within_ns: tuple[int, int],
    before: Place | None,
    after: Place | None,
    limit: int,
) -> list[Query]:
    """Return queries whose rows together hold one page of events; see `EventStore.search` for the arguments.

    `wanted` are columns and their values, None for any; `within_ns` is of exposure, both ends included.
    """
    # One bound on each side, or SQLite would begin at the looser one and read all that lies between.
    low = max(Place(within_ns[0], -1), after or Place(0, -1))
    high = min(Place(within_ns[1], LARGEST), before or Place(LARGEST, LARGEST))
    order = "ASC" if after is not None else "DESC"
    found = []
    for kind in _kinds(verdicts, cause, skipped=skipped):
        columns = {column: value for column, value in (wanted | kind).items() if value is not None}
        # Few events share a number or a part's id: the plus has the others compared there, not looked up elsewhere.
        narrow = next((column for column in ("seq", "part_id") if column in columns), None)
        where = "".join(f" AND {'' if narrow in (None, column) else '+'}{column} = ?" for column in columns)
        text = (
            f"SELECT id, {', '.join(COLUMNS)} FROM events "
            f"WHERE (captured_realtime_ns, id) > (?, ?) AND (captured_realtime_ns, id) < (?, ?){where} "
            f"ORDER BY captured_realtime_ns {order}, id {order} LIMIT ?"
        )
        found.append(Query(text, (*low, *high, *columns.values(), limit)))
    return found


def merged(events: Collection[Event], *, after: Place | None, limit: int) -> list[Event]:
    """Merge what several queries found to one page, the newest exposure first."""
    ordered = sorted(events, key=_place, reverse=True)
    return ordered[-limit:] if after is not None else ordered[:limit]


def _kinds(verdicts: Collection[Verdict], cause: Cause | None, *, skipped: bool) -> list[dict[str, Any]]:
    """Return conditions, each with a place of its own in an index; no event meets two, so their pages are merged."""
    if cause is not None:
        return [{"cause": cause}]
    if skipped:
        return [{"verdict": verdict} for verdict in verdicts] or [{}]
    wanted = set(verdicts or Verdict)
    judged = [{"verdict": verdict} for verdict in wanted - {Verdict.UNINSPECTED}]
    causes = [{"cause": each} for each in Cause if each is not Cause.SKIPPED] if Verdict.UNINSPECTED in wanted else []
    return [*judged, *causes]


def _place(event: Event) -> Place:
    assert event.event_id is not None, "it was read from the store"
    return Place(event.captured_realtime_ns, event.event_id)
