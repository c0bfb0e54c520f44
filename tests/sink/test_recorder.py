from __future__ import annotations

import dataclasses
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY
from support.events import changed
from support.sinks import running_sink

from stream.core.clock import local_clock, now_ns
from stream.core.good_parts import is_sampled
from stream.core.parts import LedgerCounts, PartResult
from stream.core.verdict import Cause, Verdict
from stream.devices.actuators.actuator import RejectCommand
from stream.line.sections import StoreOptions
from stream.sink.policy.write_queue import WAITING, Snapshot
from stream.sink.recorder import Recorder
from stream.store.event_reader import FILE_NAME, EventReader
from stream.store.event_store import EventStore
from stream.store.records import AlarmRecord, Event, EventImages
from stream.store.review_store import FILE_NAME as REVIEW_FILE
from stream.store.review_store import Mark, Review
from stream.transport.messages import Announcement, FrameHeader, FrameStamps, Result, ResultStamps
from stream.transport.pipeline import SinkOutbox

GENEROUS_S = 20.0
JPEG = cv2.imencode(".jpg", np.full((48, 64, 3), 120, np.uint8))[1].tobytes()
GRID = np.linspace(0, 20, 12, dtype=np.float16).reshape(3, 4)
INPUT = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def event(
    seq: int,
    verdict: Verdict = Verdict.DEFECT,
    station: str = "cap",
    preview_jpeg: bytes = JPEG,
    network_input: NDArray[np.uint8] | None = None,
) -> Event:
    return Event(
        part=PartResult(
            station=station,
            seq=seq,
            verdict=verdict,
            cause=Cause.TIMEOUT if verdict is Verdict.UNINSPECTED else None,
            score=12.5,
            threshold=10.0,
            pixel_threshold=8.0,
        ),
        decision="pass" if verdict is Verdict.GOOD else "reject",
        captured_realtime_ns=time.time_ns(),
        preview_jpeg=preview_jpeg,
        patch_distances=GRID,
        network_input=network_input,
    )


#: What the sink says after parts have settled: only then are they written.
COUNTED = Snapshot({}, {})


def nothing_unjudged(_station: str, _bundle_sha256: str | None) -> None:
    """Everything is judged."""


def opened(folder: Path, **options: object) -> Recorder:
    """A recorder that has not been started: its entries wait."""
    settings = StoreOptions(path=folder, **{"overlays": 0} | options)
    return Recorder(EventStore.open(folder / FILE_NAME), settings, nothing_unjudged)


def recorded(folder: Path, *entries: Event | AlarmRecord | Snapshot, **options: object) -> None:
    """Give these entries to a recorder and end it."""
    recorder = opened(folder, **options)
    for entry in entries:
        recorder.record(entry)
    if not any(isinstance(entry, Snapshot) for entry in entries):
        recorder.record(Snapshot({}, None))
    finish(recorder)


def finish(recorder: Recorder) -> None:
    if not recorder.is_alive():
        recorder.start()
    recorder.end(GENEROUS_S)
    assert not recorder.is_alive()


def stored_parts(folder: Path, station: str | None = None) -> list[tuple[str, int]]:
    with EventReader.open(folder / FILE_NAME) as store:
        return [(item.part.station, item.part.seq) for item in store.events(station=station)]


def stored_images(folder: Path) -> dict[int, EventImages | None]:
    with EventReader.open(folder / FILE_NAME) as store:
        return {item.part.seq: store.images(item.event_id) for item in store.events()}


def overlays(folder: Path, station: str = "cap") -> list[str]:
    return sorted(file.name for file in (folder / "overlays" / station).glob("*"))


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def dropped(what: str) -> float:
    return metric("patchline_dropped_total", what=what)


def wait_for(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + GENEROUS_S
    while not condition():
        assert time.monotonic() < until_s, "it never came"
        time.sleep(0.005)


def test_parts_are_recorded_in_the_order_of_their_settlement(tmp_path: Path):
    entries = [event(seq, station=station) for station in ("cap", "label") for seq in range(60)]
    random.Random(3).shuffle(entries)
    recorded(tmp_path, *entries)
    assert stored_parts(tmp_path) == [(entry.part.station, entry.part.seq) for entry in entries]


def test_a_part_waits_for_no_earlier_one_that_has_no_verdict_yet(tmp_path: Path):
    """Were the sink killed now, the ledger would count parts 1 and 2, and nobody would know what they looked like."""
    recorder = opened(tmp_path)
    recorder.start()
    counts = LedgerCounts(3, 1, 1, {}, (0,), 3)
    recorder.record(event(2, Verdict.DEFECT))
    recorder.record(event(1, Verdict.UNINSPECTED))
    recorder.record(Snapshot({"cap": counts}, {}))
    wait_for(lambda: stored_parts(tmp_path) == [("cap", 2), ("cap", 1)])
    assert stored_images(tmp_path)[2].preview_jpeg == JPEG
    finish(recorder)


def test_good_parts_are_not_recorded_unless_asked_for(tmp_path: Path):
    recorded(tmp_path, *(event(seq, verdict) for seq, verdict in enumerate(Verdict)), record="non_good")
    assert list(Verdict) == [Verdict.GOOD, Verdict.DEFECT, Verdict.UNINSPECTED]
    assert stored_parts(tmp_path) == [("cap", 1), ("cap", 2)]


def test_good_parts_are_recorded_without_their_images_and_all_others_with_them(tmp_path: Path):
    recorded(tmp_path, *(event(seq, verdict) for seq, verdict in enumerate(Verdict)), record="all")
    kept = stored_images(tmp_path)
    assert list(kept) == [0, 1, 2]
    assert kept[0] is None
    for picture in (kept[1], kept[2]):
        assert picture.preview_jpeg == JPEG
        np.testing.assert_array_equal(picture.patch_distances, GRID)


def good(seq: int, score: float) -> Event:
    """A GOOD part whose network input a worker has sent."""
    return changed(event(seq, Verdict.GOOD, network_input=INPUT), score=score)


def kept_good(folder: Path) -> dict[int, str | None]:
    """The numbers of all GOOD parts with their images, and why they are kept."""
    with EventReader.open(folder / FILE_NAME) as store:
        return {
            item.part.seq: item.kept_as
            for item in store.events()
            if item.part.verdict is Verdict.GOOD and store.network_input(item.event_id) is not None
        }


@pytest.mark.parametrize("record", ["non_good", "all"])
def test_the_good_parts_with_the_highest_scores_of_an_hour_are_kept_with_their_images(tmp_path: Path, record: str):
    scores = (3.0, 1.0, 2.0, 5.0)
    entries = [good(seq, score) for seq, score in enumerate(scores)]
    recorded(tmp_path, *entries, record=record, good_per_hour=2, good_one_in=0)
    assert kept_good(tmp_path) == {0: "near_miss", 3: "near_miss"}
    images = stored_images(tmp_path)
    assert [seq for seq, picture in images.items() if picture] == [0, 3]
    assert images[3].preview_jpeg == JPEG
    assert list(images) == ([0, 3] if record == "non_good" else [0, 1, 2, 3])


def test_a_sample_of_the_other_good_parts_is_kept(tmp_path: Path):
    sampled = [seq for seq in range(40) if is_sampled(seq, 10)]
    recorded(tmp_path, *(good(seq, 1.0) for seq in range(40)), good_per_hour=0, good_one_in=10)
    assert kept_good(tmp_path) == dict.fromkeys(sampled, "sample")
    assert stored_parts(tmp_path) == [("cap", seq) for seq in sampled]


def test_after_a_restart_the_kept_good_parts_of_the_hour_still_count(tmp_path: Path):
    options = {"good_per_hour": 2, "good_one_in": 0}
    recorded(tmp_path, good(0, 3.0), good(1, 4.0), **options)
    recorded(tmp_path, good(2, 1.0), good(3, 3.5), **options)
    assert kept_good(tmp_path) == {1: "near_miss", 3: "near_miss"}


def test_beyond_the_budget_the_oldest_good_parts_go_and_defects_stay(tmp_path: Path):
    budget = {"good_gib": 9_000 / 2**30, "good_per_hour": 50, "good_one_in": 0}  # each has a little less than 4 kB
    recorded(tmp_path, event(0, network_input=INPUT), *(good(seq, 1.0 + seq) for seq in range(1, 10)), **budget)
    assert list(kept_good(tmp_path)) == [8, 9]
    assert stored_parts(tmp_path) == [("cap", 0), ("cap", 8), ("cap", 9)]


def test_a_good_part_that_a_user_has_marked_is_displaced_by_no_other(tmp_path: Path):
    options = {"good_per_hour": 1, "good_one_in": 0}
    recorded(tmp_path, good(0, 3.0), **options)
    with closing(Review(tmp_path / REVIEW_FILE)) as review:
        review.mark(Mark(station="cap", seq=0, mark="missed_defect", note="", who="anna", at_s=1.0))
    recorded(tmp_path, good(1, 4.0), **options)
    recorded(tmp_path, good(2, 5.0), **options)
    assert kept_good(tmp_path) == {0: "near_miss", 2: "near_miss"}


def test_alarms_and_the_ledger_are_recorded(tmp_path: Path):
    older = LedgerCounts(1, 0, 1, {}, (), 1)
    newer = LedgerCounts(3, 1, 1, {Cause.OVERRUN: 1}, (), 3)
    alarm = AlarmRecord(time.time_ns(), "defect", "cap", "3 of 10")
    recorded(tmp_path, Snapshot({"cap": older}, {}), alarm, Snapshot({"cap": newer}, {}))
    with EventReader.open(tmp_path / FILE_NAME) as store:
        assert [item.text for item in store.alarms()] == ["3 of 10"]
        assert store.ledger() == {"cap": newer}


def test_events_are_written_soon_and_not_only_at_the_end(tmp_path: Path):
    recorder = opened(tmp_path)
    recorder.start()
    for seq in range(3):
        recorder.record(event(seq))
        recorder.record(COUNTED)
        wait_for(lambda seq=seq: stored_parts(tmp_path) == [("cap", earlier) for earlier in range(seq + 1)])
    finish(recorder)


def test_an_event_is_written_only_together_with_the_ledger_that_counts_it(tmp_path: Path):
    """A sink killed between the two would give the part a different verdict after its restart."""
    recorder = opened(tmp_path)
    recorder.start()
    recorder.record(event(0, Verdict.DEFECT))
    recorder.record(AlarmRecord(time.time_ns(), "defect", "cap", "written at once"))
    with EventReader.open(tmp_path / FILE_NAME) as store:
        wait_for(lambda: next(store.alarms(), None) is not None)
        assert stored_parts(tmp_path) == []
        counts = LedgerCounts(1, 0, 1, {}, (), 1)
        recorder.record(Snapshot({"cap": counts}, {}))
        wait_for(lambda: store.ledger() == {"cap": counts})
    assert stored_parts(tmp_path) == [("cap", 0)]
    finish(recorder)


def test_the_rejects_not_yet_fired_are_those_of_the_last_snapshot(tmp_path: Path):
    first, second, third = (RejectCommand("cap", seq, None, Verdict.DEFECT, None, seq, 15, 60) for seq in range(3))
    recorded(tmp_path, Snapshot({}, {"gate": [first, second]}), event(0), Snapshot({}, {"gate": [second, third]}))
    with EventReader.open(tmp_path / FILE_NAME) as store:
        assert store.planned() == {"gate": [second, third]}
    recorded(tmp_path, event(1))
    with EventReader.open(tmp_path / FILE_NAME) as store:
        assert store.planned() == {"gate": [second, third]}, "None keeps them"
    recorded(tmp_path, Snapshot({}, {"gate": []}))
    with EventReader.open(tmp_path / FILE_NAME) as store:
        assert store.planned() == {}


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Another process that has the store to itself."""
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        yield
        another.execute("ROLLBACK")


def impatient(folder: Path) -> Recorder:
    """A recorder that waits no two seconds for a store that is held."""
    store = EventStore.open(folder / FILE_NAME)
    store._connection.execute("PRAGMA busy_timeout = 10")
    return Recorder(store, StoreOptions(path=folder, overlays=0), nothing_unjudged)


def test_while_another_process_holds_the_store_events_wait_and_none_is_lost(tmp_path: Path):
    recorder, errors, lost = impatient(tmp_path), metric("patchline_store_errors_total"), dropped("event")
    counts = LedgerCounts(200, 0, 200, {}, (), 200)
    with held(tmp_path):
        recorder.start()
        for seq in range(200):
            recorder.record(event(seq, network_input=INPUT))
            recorder.record(COUNTED)
        recorder.record(Snapshot({"cap": counts}, {}))
        wait_for(lambda: metric("patchline_store_errors_total") > errors + 2)
        assert "locked" in recorder.fault
        assert str(tmp_path) in recorder.fault
        assert stored_parts(tmp_path) == []
    wait_for(lambda: recorder.fault is None)
    finish(recorder)
    with EventReader.open(tmp_path / FILE_NAME) as store:
        assert store.ledger() == {"cap": counts}
        assert [(item.part.seq, item.part.verdict) for item in store.events()] == [
            (seq, Verdict.DEFECT) for seq in range(200)
        ]
        assert all(store.network_input(item.event_id) is not None for item in store.events())
    assert (dropped("event"), recorder.loss) == (lost, None)


def test_a_store_that_is_held_is_logged_at_growing_intervals(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    recorder, errors = impatient(tmp_path), metric("patchline_store_errors_total")
    with held(tmp_path):
        recorder.start()
        for seq in range(50):
            recorder.record(event(seq))
            recorder.record(COUNTED)
        wait_for(lambda: metric("patchline_store_errors_total") >= errors + 3)
    finish(recorder)
    assert sum("locked" in record.message for record in caplog.records) <= 2


def test_what_a_held_store_has_no_room_for_is_lost_counted_and_a_loss_until_it_has(tmp_path: Path):
    recorder, lost = impatient(tmp_path), dropped("event")
    with held(tmp_path):
        recorder.start()
        for seq in range(WAITING + 7):
            recorder.record(event(seq, preview_jpeg=b""))
            recorder.record(COUNTED)
        assert dropped("event") == lost + 7
        assert recorder.loss == f"7 events are lost; {WAITING} wait for the event store"
    finish(recorder)
    assert stored_parts(tmp_path) == [("cap", seq) for seq in range(WAITING)]


def test_an_event_that_no_store_can_hold_delays_no_other(tmp_path: Path):
    lost = dropped("event")
    unfit = dataclasses.replace(event(1), captured_realtime_ns=2**70)
    recorded(tmp_path, event(0), unfit, event(2))
    assert stored_parts(tmp_path) == [("cap", 0), ("cap", 2)]
    assert dropped("event") == lost + 1


def test_what_is_not_written_when_the_line_ends_is_counted_and_so_is_no_ledger_that_counts_it(tmp_path: Path):
    recorder, lost = impatient(tmp_path), dropped("event")
    with held(tmp_path):
        recorder.start()
        recorder.record(event(0))
        recorder.record(Snapshot({"cap": LedgerCounts(1, 0, 1, {}, (), 1)}, {}))
        recorder.end(0.5)
        wait_for(lambda: not recorder.is_alive())
    assert dropped("event") > lost
    with EventReader.open(tmp_path / FILE_NAME) as store:
        assert (list(store.events()), store.ledger()) == ([], {})


def test_a_snapshot_that_could_not_be_written_is_written_when_the_store_works_again(tmp_path: Path):
    """The sink sends a snapshot only when something has changed: on an idle line nothing else would repair it."""
    recorder = impatient(tmp_path)
    row = LedgerCounts(3, 1, 1, {Cause.OVERRUN: 1}, (), 3)
    reject = RejectCommand("cap", 1, None, Verdict.DEFECT, None, 7, 15, 60)
    with held(tmp_path):
        recorder.start()
        recorder.record(Snapshot({"cap": row}, {"gate": [reject]}))
        wait_for(lambda: recorder.fault is not None)
    wait_for(lambda: recorder.fault is None)
    with EventReader.open(tmp_path / FILE_NAME) as reader:
        ledger, planned = reader.ledger(), reader.planned()
    finish(recorder)
    assert (ledger, planned) == ({"cap": row}, {"gate": [reject]})


def test_every_verdict_has_an_overlay_with_the_verdict_in_its_name(tmp_path: Path):
    recorded(tmp_path, *(event(seq, verdict) for seq, verdict in enumerate(Verdict)), overlays=10)
    assert overlays(tmp_path) == ["000000000_GOOD.jpg", "000000001_DEFECT.jpg", "000000002_UNINSPECTED.jpg"]
    drawn = cv2.imread(str(tmp_path / "overlays" / "cap" / "000000001_DEFECT.jpg"))
    assert drawn.shape[0] > 48
    assert drawn.shape[1:] == (64, 3)


def test_only_the_last_overlays_of_every_station_are_kept(tmp_path: Path):
    entries = [event(seq) for seq in range(7)] + [event(seq, station="label") for seq in range(2)]
    recorded(tmp_path, *entries, overlays=3)
    assert overlays(tmp_path) == [f"00000000{seq}_DEFECT.jpg" for seq in (4, 5, 6)]
    assert overlays(tmp_path, "label") == [f"00000000{seq}_DEFECT.jpg" for seq in (0, 1)]


def test_overlays_beyond_their_budget_are_left_out_and_counted(tmp_path: Path):
    before = dropped("overlay_pace")
    recorded(tmp_path, *(event(seq) for seq in range(600)), event(600, Verdict.GOOD), overlays=700)
    drawn = overlays(tmp_path)
    assert 2 <= len(drawn) < 600
    assert dropped("overlay_pace") == before + 601 - len(drawn)
    assert drawn[-1] == "000000600_GOOD.jpg", "many of one verdict leave the others their turn"
    assert len(stored_parts(tmp_path)) == 600, "every event of a bad part is kept"


def test_overlays_from_before_a_restart_count_among_the_last(tmp_path: Path):
    recorded(tmp_path, *(event(seq) for seq in range(3)), overlays=3)
    recorded(tmp_path, *(event(seq) for seq in (3, 4)), overlays=3)
    assert overlays(tmp_path) == [f"00000000{seq}_DEFECT.jpg" for seq in (2, 3, 4)]
    recorded(tmp_path, event(5), overlays=1)
    assert overlays(tmp_path) == ["000000005_DEFECT.jpg"]


def test_overlays_can_be_switched_off(tmp_path: Path):
    recorded(tmp_path, event(0), overlays=0)
    assert not (tmp_path / "overlays").exists()


def test_a_part_without_a_preview_has_no_overlay(tmp_path: Path):
    recorded(tmp_path, event(0, preview_jpeg=b""), overlays=3)
    assert stored_parts(tmp_path) == [("cap", 0)]
    assert overlays(tmp_path) == []


def test_a_damaged_preview_costs_its_overlay_and_nothing_else(tmp_path: Path):
    before = dropped("overlay")
    recorded(tmp_path, event(0, preview_jpeg=b"no jpeg"), event(1), overlays=3)
    assert dropped("overlay") == before + 1
    assert stored_parts(tmp_path) == [("cap", 0), ("cap", 1)]
    assert overlays(tmp_path) == ["000000001_DEFECT.jpg"]


def test_overlays_that_cannot_be_written_cost_no_event(tmp_path: Path):
    (tmp_path / "overlays").write_text("no folder")
    before = dropped("overlay")
    recorded(tmp_path, event(0), event(1), overlays=3)
    assert dropped("overlay") == before + 2
    assert stored_parts(tmp_path) == [("cap", 0), ("cap", 1)]


def test_a_queue_that_is_half_full_drops_images_and_no_events(tmp_path: Path):
    recorder = opened(tmp_path)
    without_picture, lost = dropped("picture"), dropped("event")
    half = WAITING // 2
    for seq in range(half + 5):
        recorder.record(event(seq, preview_jpeg=b"jpeg"))
    recorder.record(COUNTED)
    assert dropped("picture") == without_picture + 5
    finish(recorder)
    kept = stored_images(tmp_path)
    assert list(kept) == list(range(half + 5))
    assert [seq for seq, picture in kept.items() if picture is None] == list(range(half, half + 5))
    assert dropped("event") == lost


def test_a_full_queue_loses_events_counts_them_and_never_blocks(tmp_path: Path):
    recorder = opened(tmp_path)
    lost = dropped("event")
    filler = threading.Thread(
        target=lambda: [recorder.record(event(seq, preview_jpeg=b"")) for seq in range(WAITING + 7)]
    )
    filler.start()
    filler.join(GENEROUS_S)
    assert not filler.is_alive()
    recorder.record(COUNTED)
    assert dropped("event") == lost + 7
    finish(recorder)
    assert stored_parts(tmp_path) == [("cap", seq) for seq in range(WAITING)]


def test_after_the_queue_was_full_the_line_is_recorded_again(tmp_path: Path):
    recorder = opened(tmp_path)
    for seq in range(WAITING + 7):
        recorder.record(event(seq, preview_jpeg=b""))
    recorder.record(COUNTED)
    recorder.start()
    wait_for(lambda: len(stored_parts(tmp_path)) == WAITING)
    for seq in range(WAITING + 7, WAITING + 10):
        recorder.record(event(seq, preview_jpeg=b""))
    recorder.record(COUNTED)
    finish(recorder)
    assert stored_parts(tmp_path)[WAITING:] == [("cap", seq) for seq in range(WAITING + 7, WAITING + 10)]


@pytest.mark.parametrize("entries", [[], [event(0)]])
def test_ending_writes_everything_and_closes_the_store(tmp_path: Path, entries: list[Event]):
    recorded(tmp_path, *entries)
    assert not (tmp_path / f"{FILE_NAME}-wal").exists(), "the last one to close folds the log into the file"
    assert stored_parts(tmp_path) == [("cap", item.part.seq) for item in entries]


@pytest.mark.parametrize(
    ("counts", "lost"),
    [
        (LedgerCounts(14, 10, 3, {}, (11,), 14), [11]),  # 12 and 13 had their verdicts before 11
        (LedgerCounts(15, 10, 5, {}, (), 14, (16,)), [14, 15]),  # 16 was known from its result only
    ],
    ids=["pending", "ahead"],
)
def test_after_a_restart_later_parts_are_recorded_although_some_parts_had_settled_out_of_order(
    tmp_path: Path, counts: LedgerCounts, lost: list[int]
):
    with EventStore.open(tmp_path / "store" / FILE_NAME) as store:
        store.record([], [], {"cap": counts})
    with running_sink(tmp_path) as (sink, camera):
        outbox = SinkOutbox(camera, sink.config.announcements_address(), 10)
        for seq in (17, 18):
            assert outbox.send(Announcement("cap", seq, now_ns(), now_ns(), local_clock(), None, Cause.BAD_FRAME))
        wait_for(lambda: [*sink.ledger.stations] and sink.ledger.counts("cap").next_seq == 19)
        wait_for(lambda: ("cap", 18) in stored_parts(tmp_path / "store"))
        before_the_end = stored_parts(tmp_path / "store")
    missed = [seq for seq in range(counts.next_seq, 17) if seq not in {*lost, *counts.ahead}]
    assert before_the_end == [("cap", seq) for seq in [*lost, *missed, 17, 18]]


@pytest.mark.parametrize(
    ("attachments", "preview_jpeg", "network_input"),
    [
        ([GRID.tobytes(), JPEG, INPUT.tobytes()], JPEG, INPUT),
        ([GRID.tobytes(), JPEG, b""], JPEG, None),
        ([GRID.tobytes(), JPEG, INPUT.tobytes()[1:]], JPEG, None),
        ([GRID.tobytes(), JPEG], None, None),
        ([GRID.tobytes(), JPEG, INPUT.tobytes(), b"more"], None, None),
        ([], None, None),
    ],
    ids=["whole", "no input", "cut short", "two parts", "four parts", "nothing"],
)
def test_a_defect_keeps_its_verdict_and_its_event_whatever_the_attachments_of_its_result(
    tmp_path: Path, attachments: list[bytes], preview_jpeg: bytes | None, network_input: NDArray[np.uint8] | None
):
    stamps, clock = FrameStamps(1, 2, 3), local_clock()
    frame = FrameHeader(
        "cap", 0, now_ns(), now_ns() + 10**9, "triggered", "ab", 32, 32, (32, 32), 1, "epoch", stamps, clock
    )
    result = Result(frame, "worker0", Verdict.DEFECT, ResultStamps(1, 2, 3, 4, 5, 6, 7), clock, score=9.5, grid=(3, 4))
    with running_sink(tmp_path) as (sink, worker):
        assert SinkOutbox(worker, sink.config.results_address(), 10).send(result, attachments)
        wait_for(lambda: stored_parts(tmp_path / "store") == [("cap", 0)])
    with EventReader.open(tmp_path / "store" / FILE_NAME) as store:
        (kept,) = store.events()
        picture, found_input = store.images(kept.event_id), store.network_input(kept.event_id)
    assert (kept.part.verdict, kept.part.score) == (Verdict.DEFECT, 9.5)
    assert (picture and picture.preview_jpeg) == preview_jpeg
    np.testing.assert_array_equal(found_input, network_input)
