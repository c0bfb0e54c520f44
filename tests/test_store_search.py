from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stream.messages import Cause, Verdict
from stream.records import AlarmRecord, Event
from stream.store import FILE_NAME, EventStore, Place

NOW_NS = 1_795_555_350_097_892_208


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with closing(EventStore.open(tmp_path / FILE_NAME)) as opened:
        yield opened


def night(count: int) -> list[Event]:
    """Parts of two stations, one defect in five and one timeout in seven, exposed in another order than recorded."""
    events = []
    for number in range(count):
        cause = Cause.TIMEOUT if number % 7 == 0 else None
        verdict = Verdict.UNINSPECTED if cause else Verdict.DEFECT if number % 5 == 0 else Verdict.GOOD
        moment = NOW_NS + 100 * (number // 3) - number % 3
        events.append(
            Event(
                station=f"s{number % 2}",
                seq=number,
                verdict=verdict,
                cause=cause,
                action="reject",
                captured_realtime_ns=moment,
            )
        )
    return events


def newest_first(events: list[Event]) -> list[int]:
    numbered = sorted(((each.captured_realtime_ns, index, each.seq) for index, each in enumerate(events)), reverse=True)
    return [seq for *_, seq in numbered]


@pytest.mark.parametrize(
    ("which", "matches"),
    [
        ({}, lambda _: True),
        ({"station": "s1"}, lambda e: e.station == "s1"),
        ({"verdicts": [Verdict.DEFECT]}, lambda e: e.verdict is Verdict.DEFECT),
        (
            {"verdicts": [Verdict.DEFECT, Verdict.UNINSPECTED], "station": "s0"},
            lambda e: e.verdict is not Verdict.GOOD and e.station == "s0",
        ),
        ({"cause": Cause.TIMEOUT}, lambda e: e.cause is Cause.TIMEOUT),
        ({"cause": Cause.TIMEOUT, "verdicts": [Verdict.UNINSPECTED]}, lambda e: e.cause is Cause.TIMEOUT),
        ({"cause": Cause.OVERRUN}, lambda _: False),
        ({"seq": 17}, lambda e: e.seq == 17),
        (
            {"since_ns": NOW_NS + 300, "until_ns": NOW_NS + 900},
            lambda e: NOW_NS + 300 <= e.captured_realtime_ns <= NOW_NS + 900,
        ),
    ],
)
def test_a_search_paged_to_its_end_and_back_finds_every_match_once(store, which, matches):
    store.record(events := night(100), [], {})
    expected = newest_first([each for each in events if matches(each)])
    found, before = [], None
    while page := store.search(**which, before=before, limit=7):
        found += [each.seq for each in page]
        before = Place(page[-1].captured_realtime_ns, page[-1].event_id)
    assert found == expected
    found, after = [], Place(0, 0)
    while page := store.search(**which, after=after, limit=7):
        found = [each.seq for each in page] + found
        after = Place(page[0].captured_realtime_ns, page[0].event_id)
    assert found == expected


def test_no_search_reads_more_of_the_store_than_its_page(store):
    store.record(night(3000), [], {})
    queries: list[str] = []
    store._connection.set_trace_callback(queries.append)
    middle = Place(NOW_NS + 50_000, 1500)
    for station in (None, "s1"):
        for which in ({}, {"verdicts": list(Verdict)}, {"cause": Cause.TIMEOUT}):
            for where in ({}, {"before": middle}, {"after": middle}, {"since_ns": NOW_NS, "until_ns": NOW_NS + 70_000}):
                store.search(station=station, **which, **where)
    store._connection.set_trace_callback(None)
    assert len(queries) == 2 * (1 + 3 + 1) * 4
    for query in queries:
        plan = " | ".join(row[3] for row in store._connection.execute(f"EXPLAIN QUERY PLAN {query}"))
        assert plan.startswith("SEARCH"), query
        assert "captured_realtime_ns>? AND captured_realtime_ns<?" in plan
        assert plan.count("=?") == query.count(" = "), "every condition is part of the index"
        assert "TEMP B-TREE" not in plan


def test_one_event_is_found_by_its_number(store):
    store.record(night(5), [], {})
    assert store.event(3).seq == 2
    assert store.event(99) is None


def test_alarms_are_paged_by_number(store):
    store.record([], [AlarmRecord(NOW_NS + number, "defect", "cap", str(number)) for number in range(5)], {})
    assert [alarm.text for alarm in store.alarms(before_id=4, newest_first=True, limit=2)] == ["2", "1"]
