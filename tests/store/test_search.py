from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.events import changed

from stream.core.good_parts import HOUR_NS
from stream.core.parts import PartResult
from stream.core.spots import Spot
from stream.core.verdict import Cause, Verdict
from stream.store.event_reader import FILE_NAME
from stream.store.event_store import EventStore
from stream.store.records import AlarmRecord, Event
from stream.store.search import NearMissPlace, Place, near_miss_place

NOW_NS = 1_795_555_350_097_892_208


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with EventStore.open(tmp_path / FILE_NAME) as opened:
        yield opened


def night(count: int) -> list[Event]:
    """Parts of two stations, exposed in another order than recorded, with nine part ids in turn.

    One is a defect in five, one late in seven, one skipped in three.
    """
    events = []
    for number in range(count):
        cause = Cause.TIMEOUT if number % 7 == 0 else Cause.SKIPPED if number % 3 == 0 else None
        verdict = Verdict.UNINSPECTED if cause else Verdict.DEFECT if number % 5 == 0 else Verdict.GOOD
        moment = NOW_NS + 100 * (number // 3) - number % 3
        events.append(
            Event(
                part=PartResult(
                    station=f"s{number % 2}",
                    seq=number,
                    part_id=None if number % 13 == 0 else f"part{number % 9}",
                    verdict=verdict,
                    cause=cause,
                ),
                decision="reject",
                captured_realtime_ns=moment,
            )
        )
    return events


def newest_first(events: list[Event]) -> list[int]:
    numbered = sorted(
        ((event.captured_realtime_ns, index, event.part.seq) for index, event in enumerate(events)), reverse=True
    )
    return [seq for *_, seq in numbered]


@pytest.mark.parametrize(
    ("which", "matches"),
    [
        ({}, lambda _: True),
        ({"station": "s1"}, lambda e: e.part.station == "s1"),
        ({"verdicts": [Verdict.DEFECT]}, lambda e: e.part.verdict is Verdict.DEFECT),
        (
            {"verdicts": [Verdict.DEFECT, Verdict.UNINSPECTED], "station": "s0"},
            lambda e: e.part.verdict is not Verdict.GOOD and e.part.station == "s0",
        ),
        ({"cause": Cause.TIMEOUT}, lambda e: e.part.cause is Cause.TIMEOUT),
        ({"cause": Cause.TIMEOUT, "verdicts": [Verdict.UNINSPECTED]}, lambda e: e.part.cause is Cause.TIMEOUT),
        ({"cause": Cause.OVERRUN}, lambda _: False),
        ({"skipped": False}, lambda e: e.part.cause is not Cause.SKIPPED),
        (
            {"skipped": False, "verdicts": [Verdict.DEFECT, Verdict.UNINSPECTED], "station": "s1"},
            lambda e: (
                e.part.verdict is not Verdict.GOOD and e.part.cause is not Cause.SKIPPED and e.part.station == "s1"
            ),
        ),
        ({"skipped": False, "verdicts": [Verdict.DEFECT]}, lambda e: e.part.verdict is Verdict.DEFECT),
        ({"skipped": False, "cause": Cause.SKIPPED}, lambda e: e.part.cause is Cause.SKIPPED),
        ({"seq": 17}, lambda e: e.part.seq == 17),
        ({"seq": 17, "station": "s0"}, lambda _: False),
        ({"part_id": "part4"}, lambda e: e.part.part_id == "part4"),
        ({"part_id": "part"}, lambda _: False),
        (
            {"part_id": "part4", "station": "s1", "verdicts": [Verdict.GOOD, Verdict.DEFECT]},
            lambda e: (
                e.part.part_id == "part4" and e.part.station == "s1" and e.part.verdict is not Verdict.UNINSPECTED
            ),
        ),
        (
            {"since_ns": NOW_NS + 300, "until_ns": NOW_NS + 900},
            lambda e: NOW_NS + 300 <= e.captured_realtime_ns <= NOW_NS + 900,
        ),
    ],
)
def test_a_search_paged_to_its_end_and_back_finds_every_match_once(store, which, matches):
    store.record(events := night(100), [], {})
    expected = newest_first([event for event in events if matches(event)])
    numbers, before = [], None
    while page := store.search(**which, before=before, limit=7):
        numbers += [event.part.seq for event in page]
        before = Place(page[-1].captured_realtime_ns, page[-1].event_id)
    assert numbers == expected
    numbers, after = [], Place(0, 0)
    while page := store.search(**which, after=after, limit=7):
        numbers = [event.part.seq for event in page] + numbers
        after = Place(page[0].captured_realtime_ns, page[0].event_id)
    assert numbers == expected


def plans(store: EventStore, searches: list[dict[str, object]]) -> list[tuple[str, str]]:
    """(query, SQLite's plan) of every query of these searches."""
    queries: list[str] = []
    store._connection.set_trace_callback(queries.append)
    for search in searches:
        store.search(**search)
    store._connection.set_trace_callback(None)
    return [(q, " | ".join(row[3] for row in store._connection.execute(f"EXPLAIN QUERY PLAN {q}"))) for q in queries]


MIDDLE = Place(NOW_NS + 50_000, 1500)
WHERES = ({}, {"before": MIDDLE}, {"after": MIDDLE}, {"since_ns": NOW_NS, "until_ns": NOW_NS + 70_000})


def test_no_search_reads_more_of_the_store_than_its_page(store):
    store.record(night(3000), [], {})
    kinds = ({}, {"verdicts": list(Verdict)}, {"cause": Cause.TIMEOUT}, {"skipped": False})
    query_plans = plans(
        store, [{"station": s} | kind | where for s in (None, "s1") for kind in kinds for where in WHERES]
    )
    assert len(query_plans) == 2 * (1 + 3 + 1 + 12) * 4
    for query, plan in query_plans:
        assert plan.startswith("SEARCH"), query
        assert "captured_realtime_ns>? AND captured_realtime_ns<?" in plan
        assert plan.count("=?") == query.count(" = "), "every condition is part of the index"
        assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize(("narrow", "index"), [("seq", "events_by_seq_time"), ("part_id", "events_by_part_time")])
def test_a_search_by_number_or_id_reads_only_the_parts_that_have_it_whatever_the_other_filters(store, narrow, index):
    store.record(night(3000), [], {})
    which = {narrow: 17 if narrow == "seq" else "part4"}
    kinds = ({}, {"verdicts": list(Verdict)}, {"cause": Cause.TIMEOUT}, {"skipped": False}, {"station": "s1"})
    for query, plan in plans(store, [which | kind | where for kind in kinds for where in WHERES]):
        assert (
            plan
            == f"SEARCH events USING INDEX {index} ({narrow}=? AND captured_realtime_ns>? AND captured_realtime_ns<?)"
        ), query


def kept_goods(count: int) -> list[Event]:
    """GOOD parts of two stations over six hours, with scores that repeat, two of three of them kept."""
    return [
        Event(
            part=PartResult(
                station=f"s{number % 2}", seq=number, verdict=Verdict.GOOD, score=float(number * 37 % 50) - 20
            ),
            decision="pass",
            captured_realtime_ns=number * 7 % count * 6 * HOUR_NS // count,
            kept_as=(None, "near_miss", "sample")[number % 3],
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    "which",
    [{}, {"station": "s1"}, {"since_ns": HOUR_NS + 9, "until_ns": 4 * HOUR_NS}],
    ids=["all", "station", "period"],
)
def test_kept_good_parts_are_paged_by_hour_and_in_it_by_score(store: EventStore, which: dict[str, object]):
    store.record(events := kept_goods(200), [], {})
    since_ns, until_ns = int(which.get("since_ns", 0)), int(which.get("until_ns", 2**62))
    expected = [
        event.part.seq
        for _, event in sorted(enumerate(events), key=lambda item: (order(item[1]), item[0]), reverse=True)
        if event.kept_as
        and which.get("station") in (None, event.part.station)
        and since_ns <= event.captured_realtime_ns <= until_ns
    ]
    assert expected
    numbers, before = [], None
    while page := store.near_misses(**which, before=before, limit=7):
        numbers += [event.part.seq for event in page]
        before = near_miss_place(page[-1])
    assert numbers == expected
    numbers, after = [], NearMissPlace(-1, 0.0, 0)
    while page := store.near_misses(**which, after=after, limit=7):
        numbers = [event.part.seq for event in page] + numbers
        after = near_miss_place(page[0])
    assert numbers == expected


def order(event: Event) -> tuple[int, float]:
    return event.captured_realtime_ns // HOUR_NS, event.part.score


def test_a_page_of_kept_good_parts_is_one_range_of_an_index(store: EventStore):
    store.record(kept_goods(3000), [], {})
    queries: list[str] = []
    store._connection.set_trace_callback(queries.append)
    for station in (None, "s1"):
        for where in ({}, {"before": NearMissPlace(3, 0.5, 9)}, {"after": NearMissPlace(3, 0.5, 9)}):
            store.near_misses(station=station, **where)
    store._connection.set_trace_callback(None)
    for query in queries:
        (row,) = store._connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
        index = "events_kept_by_station (station=? AND " if "station = 's1'" in query else "events_kept ("
        within = "(captured_hour,score)>(?,?) AND (captured_hour,score)<(?,?))"
        assert row[3] == f"SEARCH events USING INDEX {index}{within}", query


def test_an_event_is_found_by_its_number(store):
    store.record(night(5), [], {})
    assert store.event(3).part.seq == 2
    assert store.event(99) is None


def test_alarms_are_paged_by_number(store):
    store.record([], [AlarmRecord(NOW_NS + number, "defect", "cap", str(number)) for number in range(5)], {})
    assert [alarm.text for alarm in store.alarms(before_id=4, newest_first=True, limit=2)] == ["2", "1"]


def test_parts_that_rules_let_pass_are_found_alone_and_come_back_with_rule_and_spots(store: EventStore):
    spot = Spot(
        x_px=5, y_px=6.5, area_px=30, length_px=9, width_px=4, box_px=(1, 2, 9, 5), peak=1.2, place="top", rule="dust"
    )
    events = night(40)
    chosen = [event.part.seq for event in events if event.part.verdict is Verdict.GOOD][::3]
    events = [
        changed(event, within_spec=True, rule="dust", spot=1, spots=(spot,)) if event.part.seq in chosen else event
        for event in events
    ]
    store.record(events, [], {})
    found = store.search(within_spec=True)
    assert [event.part.seq for event in found] == newest_first([e for e in events if e.part.seq in chosen])
    assert {(event.part.within_spec, event.part.rule, event.part.spot, event.part.spots) for event in found} == {
        (True, "dust", 1, (spot,))
    }
    assert {event.part.station for event in store.search(within_spec=True, station="s1")} == {"s1"}
    others = [event for event in store.search() if event.part.seq not in chosen]
    assert {(event.part.within_spec, event.part.rule, event.part.spots) for event in others} == {(False, None, ())}
