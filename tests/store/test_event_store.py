from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.events import changed

from stream.core.errors import StoreError
from stream.core.parts import LedgerCounts, PartResult, Placement
from stream.core.verdict import Cause, Verdict
from stream.store.event_reader import FILE_NAME, EventReader
from stream.store.event_store import EventStore
from stream.store.records import AlarmRecord, Event

DAY_NS = 86_400 * 10**9
NOW_NS = 20_000 * DAY_NS
NO_LIMIT = {"keep_events": 10**9, "keep_days": 10_000.0, "keep_bytes": 2**60, "now_realtime_ns": NOW_NS}
PICTURE = bytes(range(256)) * 64
INPUT = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)


def event(seq: int, station: str = "cap", **changes: object) -> Event:
    made = Event(
        part=PartResult(
            station=station, seq=seq, verdict=Verdict.DEFECT, score=31.25, threshold=28.5, pixel_threshold=12.5
        ),
        decision="reject",
        captured_realtime_ns=NOW_NS - DAY_NS + seq,
        worker="worker0",
        bundle_sha256="0f3c",
        stages={"backbone": 7.25, "search": 1.5},
        total_ms=42.5,
    )
    return changed(made, **changes)


def seqs(store: EventReader, **which: object) -> list[int]:
    return [event.part.seq for event in store.events(**which)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events" / FILE_NAME


@pytest.fixture
def store(path: Path) -> Iterator[EventStore]:
    with EventStore.open(path) as opened:
        yield opened


def test_an_event_comes_back_as_it_was_recorded(store):
    good = event(1, verdict=Verdict.GOOD, decision="pass", part_id="A-17 \u00e9", detail="seen")
    lost = Event(
        part=PartResult(
            station="cap", seq=2, verdict=Verdict.UNINSPECTED, cause=Cause.TIMEOUT, detail="no result by the deadline"
        ),
        decision="reject",
        captured_realtime_ns=NOW_NS,
    )
    store.record([good, lost], [], {})
    expected = [dataclasses.replace(part, event_id=number) for number, part in enumerate([good, lost], 1)]
    events = list(store.events())
    assert events == expected
    assert isinstance(events[1].part.cause, Cause)


def test_a_preview_is_read_back_with_its_patch_distances_bit_for_bit(store):
    patch_distances = np.linspace(0, 60, 12, dtype=np.float16).reshape(3, 4)
    store.record([event(1, preview_jpeg=PICTURE, patch_distances=patch_distances)], [], {})
    picture = store.images(1)
    assert picture.preview_jpeg == PICTURE
    assert picture.patch_distances.dtype == np.float16
    np.testing.assert_array_equal(picture.patch_distances, patch_distances)


def test_a_part_may_have_no_images_and_a_preview_no_patch_distances(store):
    store.record([event(1), event(2, preview_jpeg=PICTURE)], [], {})
    assert store.images(1) is None
    assert store.images(2).preview_jpeg == PICTURE
    assert store.images(2).patch_distances is None
    assert store.images(99) is None


def test_the_placement_of_an_aligned_part_comes_back_in_columns_and_others_have_none(store, path: Path):
    placement = Placement(dx_px=12.5, dy_px=-3.25, angle_deg=4.0, match=0.875)
    store.record([event(1, placement=placement), event(2)], [], {})
    assert [found.placement for found in store.events()] == [placement, None]
    with closing(sqlite3.connect(path)) as raw:
        found = raw.execute("SELECT dx_px, dy_px, angle_deg, match FROM events ORDER BY seq").fetchall()
    assert found == [(12.5, -3.25, 4.0, 0.875), (None, None, None, None)]


def test_a_network_input_comes_back_pixel_by_pixel_and_is_kept_as_a_png(store):
    store.record([event(1, preview_jpeg=PICTURE, network_input=INPUT), event(2, network_input=INPUT[::-1])], [], {})
    pixels = store.network_input(1)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (96, 96, 3))
    np.testing.assert_array_equal(pixels, INPUT)
    np.testing.assert_array_equal(store.network_input(2), INPUT[::-1])
    kept = cv2.imdecode(np.frombuffer(store.network_input_png(1), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(kept[:, :, ::-1], INPUT)
    assert store.images(1).preview_jpeg == PICTURE


def test_an_event_without_a_network_input_returns_none(store):
    store.record([event(1), event(2, preview_jpeg=PICTURE)], [], {})
    assert [store.network_input(number) for number in (1, 2, 99)] == [None, None, None]
    assert store.network_input_png(2) is None


def test_a_damaged_network_input_is_a_store_error(store):
    store.record([event(1, network_input=INPUT)], [], {})
    store._connection.execute("UPDATE images SET network_input_png = x'00ff'")
    with pytest.raises(StoreError, match="the network input of event 1 is damaged"):
        store.network_input(1)


def good(seq: int, kept_as: str | None, **changes: object) -> Event:
    return event(seq, verdict=Verdict.GOOD, decision="pass", kept_as=kept_as, **changes)


def test_kept_good_parts_are_returned_with_the_bytes_of_their_images(store):
    grid = np.zeros((3, 4), np.float16)
    store.record(
        [good(1, None), good(2, "near_miss", preview_jpeg=PICTURE, patch_distances=grid, network_input=INPUT)], [], {}
    )
    ((kept, size_bytes),) = store.kept_good_parts()
    assert (kept.part.seq, kept.kept_as) == (2, "near_miss")
    assert size_bytes == len(PICTURE) + grid.nbytes + len(store.network_input_png(2))
    assert (store.images_bytes("cap", 2), store.images_bytes("cap", 1), store.images_bytes("cap", 9)) == (
        size_bytes,
        0,
        0,
    )


@pytest.mark.parametrize(("events", "left"), [(True, [1, 4]), (False, [1, 2, 3, 4])], ids=["events", "images"])
def test_kept_good_parts_are_removed_and_no_others(store, events: bool, left: list[int]):
    store.record(
        [
            event(1, preview_jpeg=PICTURE),
            *(good(seq, "sample", preview_jpeg=PICTURE) for seq in (2, 3)),
            good(4, "near_miss", preview_jpeg=PICTURE),
        ],
        [],
        {},
    )
    store.remove_kept([("cap", seq) for seq in (1, 2, 3, 99)], events=events)
    assert seqs(store) == left
    assert [kept.part.seq for kept, _ in store.kept_good_parts()] == [4]
    assert [number for number in range(1, 5) if store.images(number)] == [1, 4]


def test_a_slice_of_a_larger_map_is_recorded_in_its_own_order(store):
    grid = np.arange(24, dtype=np.float16).reshape(4, 6)[:, ::2]
    store.record([event(1, patch_distances=grid)], [], {})
    np.testing.assert_array_equal(store.images(1).patch_distances, grid)


def test_a_repeated_part_stays_as_it_was_and_does_not_prevent_the_rest(store):
    store.record([event(1, detail="first", preview_jpeg=b"one")], [], {})
    store.record([event(1, detail="second", preview_jpeg=b"two"), event(2)], [], {})
    assert [(event.part.seq, event.part.detail) for event in store.events()] == [(1, "first"), (2, "")]
    assert store.images(1).preview_jpeg == b"one"


def test_the_same_number_at_another_station_is_another_part(store):
    store.record([event(1, "cap"), event(1, "label")], [], {})
    assert [event.part.station for event in store.events()] == ["cap", "label"]


def test_pages_follow_one_another_without_gap_or_overlap(store):
    store.record([event(seq) for seq in range(2500)], [], {})
    assert seqs(store) == list(range(2500))
    assert seqs(store, limit=1700) == list(range(1700))
    assert seqs(store, after_id=2000, limit=3) == [2000, 2001, 2002]
    assert seqs(store, newest_first=True) == list(range(2499, -1, -1))
    assert seqs(store, newest_first=True, before_id=11, limit=4) == [9, 8, 7, 6]
    assert seqs(store, after_id=2500) == []


def test_one_station_is_read_alone(store):
    store.record([event(seq, station) for seq in range(3) for station in ("cap", "label")], [], {})
    assert {event.part.station for event in store.events(station="label")} == {"label"}
    assert seqs(store, station="label", newest_first=True) == [2, 1, 0]
    assert seqs(store, station="lid") == []


def test_alarms_come_back_in_order(store):
    alarms = [AlarmRecord(NOW_NS + n, "camera_down", "top", f"stalled for {n} s") for n in range(3)]
    store.record([], alarms, {})
    numbered = [dataclasses.replace(alarm, alarm_id=n) for n, alarm in enumerate(alarms, 1)]
    assert list(store.alarms()) == numbered
    assert list(store.alarms(newest_first=True, limit=1)) == numbered[-1:]
    assert list(store.alarms(after_id=2)) == numbered[2:]


def test_the_ledger_holds_the_last_row_of_every_station_after_a_restart(path, store):
    cap = LedgerCounts(10, 7, 1, {Cause.TIMEOUT: 2}, (), 10)
    label = LedgerCounts(4, 4, 0, {}, (), 4)
    store.record([], [], {"cap": cap, "label": label})
    newer = LedgerCounts(14, 8, 1, {Cause.TIMEOUT: 2, Cause.SINK_DOWN: 1}, (11, 12), 13, (15,))
    store.record([], [], {"cap": newer})
    store.close()
    with EventStore.open(path) as reopened:
        assert reopened.ledger() == {"cap": newer, "label": label}


def test_paging_over_many_events_is_driven_by_an_index(store):
    for first in range(0, 20_000, 5000):
        chunk = [event(seq, f"station{seq % 4}", preview_jpeg=b"jpeg") for seq in range(first, first + 5000)]
        store.record(chunk, [], {})
    queries: list[str] = []
    store._connection.set_trace_callback(queries.append)
    for station in (None, "station3"):
        for newest_first in (False, True):
            page = store.events(station=station, after_id=9000, before_id=19_000, newest_first=newest_first, limit=50)
            assert len(list(page)) == 50
    store.retain(**NO_LIMIT | {"keep_days": 1.0, "now_realtime_ns": NOW_NS + 10})
    store._connection.set_trace_callback(None)

    selects = [query for query in queries if "FROM events" in query and "count(*)" not in query]
    plans = [
        " | ".join(row[3] for row in store._connection.execute(f"EXPLAIN QUERY PLAN {query}")) for query in selects
    ]
    assert len(plans) >= 5
    for plan in plans:
        assert "SEARCH" in plan
        assert "SCAN" not in plan
        assert "TEMP B-TREE" not in plan


def test_retention_by_count_keeps_the_newest(store):
    store.record([event(seq, preview_jpeg=PICTURE) for seq in range(200)], [], {})
    assert store.retain(**NO_LIMIT | {"keep_events": 30}) == 170
    assert seqs(store) == list(range(170, 200))
    assert store.images(170) is None
    assert store.images(171).preview_jpeg == PICTURE
    assert store.retain(**NO_LIMIT | {"keep_events": 30}) == 0


def test_network_inputs_count_for_the_space_and_are_deleted_with_their_events(store):
    store.record([event(seq) for seq in range(20)] + [event(20, network_input=INPUT)], [], {})
    with_input_bytes = store._used_bytes()
    assert with_input_bytes > INPUT.nbytes
    assert store.retain(**NO_LIMIT | {"keep_bytes": with_input_bytes - 1}) == 21
    assert store.network_input(21) is None
    assert store._used_bytes() < with_input_bytes - INPUT.nbytes // 2


def test_retention_by_age_goes_by_the_time_of_exposure(store):
    ages_days = [1, 40, 2, 35, 3]
    store.record(
        [event(seq, captured_realtime_ns=NOW_NS - days * DAY_NS) for seq, days in enumerate(ages_days)],
        [
            AlarmRecord(NOW_NS - 31 * DAY_NS, "defect", "cap", "old"),
            AlarmRecord(NOW_NS, "defect", "cap", "new"),
        ],
        {},
    )
    assert store.retain(**NO_LIMIT | {"keep_days": 30.0}) == 2
    assert seqs(store) == [0, 2, 4]
    assert [alarm.text for alarm in store.alarms()] == ["new"]


def test_a_retention_longer_than_unix_time_keeps_everything(store):
    store.record([event(1, captured_realtime_ns=0)], [AlarmRecord(0, "defect", "cap", "first")], {})
    assert store.retain(**NO_LIMIT | {"keep_days": 1e12}) == 0
    assert seqs(store) == [1]
    assert len(list(store.alarms())) == 1


def test_retention_by_space_shrinks_the_files_on_disk(path, store):
    for first in range(0, 600, 100):
        store.record([event(seq, preview_jpeg=PICTURE) for seq in range(first, first + 100)], [], {})
    before_bytes = store.size_bytes()
    deleted = store.retain(**NO_LIMIT | {"keep_bytes": before_bytes // 4})
    assert seqs(store) == list(range(deleted, 600))
    assert 0 < deleted < 600
    assert store.size_bytes() == sum(file.stat().st_size for file in path.parent.iterdir() if "shm" not in file.name)
    assert store.size_bytes() <= before_bytes // 4


def test_space_is_never_found_by_deleting_the_ledger(store):
    row = LedgerCounts(3, 0, 3, {}, (), 3)
    store.record([event(seq) for seq in range(3)], [], {"cap": row})
    assert store.retain(**NO_LIMIT | {"keep_bytes": 0}) == 3
    assert store.ledger() == {"cap": row}


def test_one_call_of_retention_can_be_bounded_and_the_next_one_goes_on(store):
    store.record([event(seq) for seq in range(300)], [], {})
    limits = NO_LIMIT | {"keep_events": 0}
    assert [store.retain(**limits, at_most=140) for _ in range(4)] == [140, 140, 20, 0]


def test_numbers_are_not_used_again_after_retention_has_emptied_the_store(store):
    store.record([event(1), event(2)], [], {})
    store.retain(**NO_LIMIT | {"keep_events": 0})
    store.record([event(3)], [], {})
    assert seqs(store, after_id=2) == [3]


def test_a_reader_sees_whole_transactions_while_the_writer_writes(path, store):
    batches, batch = 60, 10

    def write() -> None:
        for first in range(0, batches * batch, batch):
            store.record([event(seq, preview_jpeg=PICTURE) for seq in range(first, first + batch)], [], {})

    with EventReader.open(path) as reader:
        writer = threading.Thread(target=write)
        writer.start()
        sizes = []
        while writer.is_alive():
            numbers = seqs(reader)
            assert numbers == list(range(len(numbers)))
            sizes.append(len(numbers))
        writer.join()
        assert all(size % batch == 0 for size in sizes)
        assert sizes == sorted(sizes)
        assert seqs(reader) == list(range(batches * batch))


def test_a_reader_in_the_middle_of_a_transaction_sees_the_state_before_it(path, store):
    store.record([event(0)], [], {})
    with EventReader.open(path) as reader:
        seen: list[list[int]] = []

        def parts() -> Iterator[Event]:
            yield event(1)
            seen.append(seqs(reader))
            yield event(2)

        store.record(parts(), [], {})
        assert seen == [[0]]
        assert seqs(reader) == [0, 1, 2]


def test_an_unfinished_iterator_does_not_keep_the_files_from_shrinking(path, store):
    store.record([event(seq, preview_jpeg=PICTURE) for seq in range(1500)], [], {})
    with EventReader.open(path) as reader:
        unfinished = reader.events()
        assert next(unfinished).part.seq == 0
        before_bytes = store.size_bytes()
        store.retain(**NO_LIMIT | {"keep_events": 10})
        assert store.size_bytes() < before_bytes / 10


def test_a_reader_with_an_open_transaction_delays_the_shrinking_but_nothing_else(path, store):
    store.record([event(seq, preview_jpeg=PICTURE) for seq in range(500)], [], {})
    before_bytes = store.size_bytes()
    store._connection.execute("PRAGMA busy_timeout = 10")
    with EventReader.open(path) as reader:
        reader._connection.execute("BEGIN")
        assert len(seqs(reader)) == 500
        assert store.retain(**NO_LIMIT | {"keep_events": 11}) == 489
        store.record([event(500)], [], {})
        assert len(seqs(reader)) == 500
        assert store.size_bytes() > before_bytes / 2
    assert store.retain(**NO_LIMIT | {"keep_events": 10}) == 2
    assert store.size_bytes() < before_bytes / 10


def test_a_writer_that_is_killed_in_mid_transaction_leaves_what_was_complete(path):
    script = """
import os, sys
from pathlib import Path
from stream.core.verdict import Verdict
from stream.core.parts import LedgerCounts, PartResult
from stream.store.records import Event
from stream.store.event_store import EventStore

store = EventStore.open(Path(sys.argv[1]))
part = lambda seq: Event(part=PartResult(station="cap", seq=seq, verdict=Verdict.DEFECT), decision="reject",
                         captured_realtime_ns=seq, preview_jpeg=bytes(100_000))
row = lambda n: LedgerCounts(n, 0, n, {}, (), n)
store.record([part(seq) for seq in range(5)], [], {"cap": row(5)})

def dies_after(count):
    for seq in range(5, 5 + count):
        yield part(seq)
    os._exit(9)

store.record(dies_after(100), [], {"cap": row(105)})
"""
    killed = subprocess.run([sys.executable, "-c", script, str(path)], check=False, timeout=60)
    assert killed.returncode == 9
    log = path.with_name(f"{path.name}-wal")
    assert log.stat().st_size > 5_000_000, "the lost transaction had reached the disk in part"
    with EventStore.open(path) as store:
        assert seqs(store) == list(range(5))
        assert store.ledger()["cap"].next_seq == 5
        assert store._connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert store._connection.execute("PRAGMA foreign_key_check").fetchall() == []
        store.record([event(5)], [], {})
        assert seqs(store) == list(range(6))


def test_a_full_disk_loses_the_transaction_and_nothing_else(store):
    row = LedgerCounts(1, 0, 1, {}, (), 1)
    store.record([event(0)], [], {"cap": row})
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 20}")
    alarm = AlarmRecord(NOW_NS, "defect", "cap", "3 of 10")
    batch = [event(seq, preview_jpeg=PICTURE) for seq in range(1, 50)]
    with pytest.raises(StoreError, match=r"events\.sqlite: not recorded; check the space .*full"):
        store.record(batch, [alarm], {"cap": row._replace(next_seq=50)})
    assert seqs(store) == [0]
    assert list(store.alarms()) == []
    assert store.ledger() == {"cap": row}

    store._connection.execute("PRAGMA max_page_count = 1000000")
    store.record(batch, [alarm], {"cap": row._replace(next_seq=50)})
    assert seqs(store) == list(range(50))
    assert store.ledger()["cap"].next_seq == 50


@pytest.mark.parametrize("bad", [{"seq": 2**70}, {"detail": "\ud800"}, {"station": None}])
def test_a_value_the_store_cannot_hold_is_a_store_error_and_nothing_of_it_remains(store, bad):
    with pytest.raises(StoreError, match="not recorded"):
        store.record([event(1), changed(event(2), **bad)], [], {})
    store.record([event(3)], [], {})
    assert seqs(store) == [3]


def test_a_store_is_opened_in_one_thread_and_written_in_another(store):
    writer = threading.Thread(target=store.record, args=([event(1)], [], {}))
    writer.start()
    writer.join()
    assert seqs(store) == [1]


def test_a_store_that_was_closed_can_be_read(path, store):
    store.record([event(1)], [], {})
    store.close()
    with EventReader.open(path) as reader:
        assert seqs(reader) == [1]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._connection.execute("DELETE FROM events")


def test_the_file_shrinks_step_by_step_and_writes_a_log(store):
    settings = {
        name: store._connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "auto_vacuum", "foreign_keys")
    }
    assert settings == {"journal_mode": "wal", "synchronous": 1, "auto_vacuum": 2, "foreign_keys": 1}


def test_the_error_for_a_missing_store_says_to_start_the_line(path):
    with pytest.raises(StoreError, match=r"events\.sqlite: no event store yet; start the line first"):
        EventReader.open(path)
    path.parent.mkdir()
    path.touch()
    with pytest.raises(StoreError, match="no event store yet"):
        EventReader.open(path)


def test_a_file_that_is_no_database_is_refused_and_left_alone(path):
    path.parent.mkdir()
    path.write_text("a shopping list\n" * 100)
    for opening in (EventStore.open, EventReader.open):
        with pytest.raises(StoreError, match=r"events\.sqlite: cannot be opened; .*not a database"):
            opening(path)
    assert path.read_text().startswith("a shopping list")


def test_the_database_of_another_program_is_refused_and_left_alone(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks (url)")
        other.commit()
    content = path.read_bytes()
    for opening in (EventStore.open, EventReader.open):
        with pytest.raises(StoreError, match=r"another program; point store\.path to a separate folder"):
            opening(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(("version", "age"), [(0, "an older"), (1, "an older"), (99, "a newer")])
def test_the_file_of_another_release_is_refused(path, store, version, age):
    store._connection.execute(f"PRAGMA user_version = {version}")
    store.close()
    for opening in (EventStore.open, EventReader.open):
        with pytest.raises(StoreError, match=f"schema {version} of {age} PatchLine, .*; move the file away"):
            opening(path)


def test_a_folder_that_cannot_be_created_is_one_clear_line(tmp_path):
    (tmp_path / "events").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=r"events\.sqlite: cannot be opened") as raised:
        EventStore.open(tmp_path / "events" / FILE_NAME)
    assert "\n" not in str(raised.value)


def test_a_cause_this_release_does_not_know_is_a_store_error(store):
    store.record([event(1, verdict=Verdict.UNINSPECTED, cause=Cause.TIMEOUT)], [], {})
    store._connection.execute("UPDATE events SET cause = 'cosmic_ray'")
    with pytest.raises(StoreError, match=r"event 1 was written by another release .*cosmic_ray"):
        list(store.events())


def test_a_clock_that_jumps_ahead_deletes_nothing(store):
    honest = [event(seq, captured_realtime_ns=NOW_NS - seq) for seq in range(600)]
    store.record(honest, [AlarmRecord(NOW_NS, "defect", "cap", "honest")], {})
    store.record([event(600, captured_realtime_ns=NOW_NS + 31 * DAY_NS)], [], {})
    limits = NO_LIMIT | {"keep_days": 30.0}
    assert store.retain(**limits | {"now_realtime_ns": NOW_NS + 31 * DAY_NS}) == 0
    assert store.retain(**limits | {"now_realtime_ns": NOW_NS}) == 0, "the date is set right again"
    assert len(seqs(store)) == 601
    assert len(list(store.alarms())) == 1


def test_a_sink_that_starts_again_with_a_wrong_clock_deletes_nothing(path, store):
    store.record([event(seq, captured_realtime_ns=NOW_NS) for seq in range(50)], [], {})
    limits = NO_LIMIT | {"keep_days": 30.0}
    assert store.retain(**limits | {"now_realtime_ns": NOW_NS}) == 0
    store.close()
    with EventStore.open(path) as again:
        again.record([event(50, captured_realtime_ns=NOW_NS + 31 * DAY_NS)], [], {})
        assert again.retain(**limits | {"now_realtime_ns": NOW_NS + 31 * DAY_NS}) == 0
        assert len(seqs(again)) == 51


def test_a_store_of_an_earlier_release_counts_back_from_its_newest_event(path, store):
    store.record([event(seq, captured_realtime_ns=NOW_NS) for seq in range(50)], [], {})
    store._connection.execute("DROP TABLE believed_time")
    store.close()
    with EventStore.open(path) as again:
        limits = NO_LIMIT | {"keep_days": 30.0}
        assert again.retain(**limits | {"now_realtime_ns": NOW_NS + 31 * DAY_NS}) == 0


def test_a_clock_that_jumps_back_deletes_nothing_that_is_young(store):
    store.record([event(0, captured_realtime_ns=NOW_NS), event(1, captured_realtime_ns=NOW_NS - 40 * DAY_NS)], [], {})
    limits = NO_LIMIT | {"keep_days": 30.0}
    assert store.retain(**limits | {"now_realtime_ns": NOW_NS - 3_600 * 10**9}) == 1
    assert seqs(store) == [0]
