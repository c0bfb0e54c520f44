from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY
from support.events import changed

from stream.core.clock import local_clock, now_ns
from stream.core.good_parts import is_sampled
from stream.core.parts import LedgerCounts, PartResult
from stream.core.verdict import Cause, Verdict
from stream.devices.actuators.actuator import RejectCommand
from stream.line.config import LineConfig
from stream.line.lifecycle import Role
from stream.line.sections import StoreOptions
from stream.model.bundle import FORMAT, BundleInfo, CalibrationScores, SelfTest, Thresholds, save_bundle
from stream.model.patchcore.health import Measures, reference_of
from stream.model.patchcore.preprocess import PREPROCESSING
from stream.model.patchcore.spec import FeatureSpec
from stream.sink.process import SinkProcess
from stream.sink.recorder import INPUTS_WAITING, WAITING, PartRecord, Recorder, Snapshot
from stream.store.event_reader import FILE_NAME, EventReader
from stream.store.event_store import EventStore
from stream.store.records import AlarmRecord, Event, EventImages
from stream.store.review_store import FILE_NAME as REVIEW_FILE
from stream.store.review_store import Mark, Review
from stream.transport.messages import Announcement, FrameHeader, FrameStamps, Result, ResultStamps
from stream.transport.pipeline import SinkOutbox
from stream.transport.sockets import Sockets

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


def part(seq: int, verdict: Verdict = Verdict.DEFECT, station: str = "cap", **changes: Any) -> PartRecord:
    return PartRecord(event(seq, verdict, station, **changes), first_seq=0)


#: What the sink says after parts have settled: only then are they written.
COUNTED = Snapshot({}, {})


def opened(folder: Path, **options: object) -> Recorder:
    """A recorder that has not been started: its entries wait."""
    settings = StoreOptions(path=folder, **{"overlays": 0} | options)
    return Recorder(EventStore.open(folder / FILE_NAME), settings)


def recorded(folder: Path, *entries: PartRecord | AlarmRecord | Snapshot, **options: object) -> None:
    """Give these entries to a recorder and end it."""
    recorder = opened(folder, **options)
    for entry in entries:
        recorder.record(entry)
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


def test_parts_that_settle_out_of_order_are_recorded_in_the_order_of_each_station(tmp_path: Path):
    entries = [part(seq, station=station) for station in ("cap", "label") for seq in range(60)]
    random.Random(3).shuffle(entries)
    recorded(tmp_path, *entries)
    assert stored_parts(tmp_path, "cap") == [("cap", seq) for seq in range(60)]
    assert stored_parts(tmp_path, "label") == [("label", seq) for seq in range(60)]


def test_a_station_that_waits_for_a_part_delays_no_other(tmp_path: Path):
    recorder = opened(tmp_path)
    recorder.start()
    recorder.record(part(1, station="cap"))
    recorder.record(part(0, station="label"))
    recorder.record(COUNTED)
    wait_for(lambda: stored_parts(tmp_path) == [("label", 0)])
    recorder.record(part(0, station="cap"))
    recorder.record(COUNTED)
    wait_for(lambda: stored_parts(tmp_path) == [("label", 0), ("cap", 0), ("cap", 1)])
    finish(recorder)


def test_a_station_starts_at_the_first_number_of_its_run(tmp_path: Path):
    recorder = opened(tmp_path)
    recorder.start()
    for seq in (501, 500):
        recorder.record(PartRecord(event(seq), first_seq=500))
    recorder.record(COUNTED)
    wait_for(lambda: stored_parts(tmp_path) == [("cap", 500), ("cap", 501)])
    finish(recorder)


def test_what_still_waits_for_an_earlier_part_is_recorded_at_the_end(tmp_path: Path):
    recorded(tmp_path, part(5), part(3))
    assert stored_parts(tmp_path) == [("cap", 3), ("cap", 5)]


def test_good_parts_are_not_recorded_unless_asked_for(tmp_path: Path):
    recorded(tmp_path, *(part(seq, verdict) for seq, verdict in enumerate(Verdict)), record="non_good")
    assert list(Verdict) == [Verdict.GOOD, Verdict.DEFECT, Verdict.UNINSPECTED]
    assert stored_parts(tmp_path) == [("cap", 1), ("cap", 2)]


def test_good_parts_are_recorded_without_their_images_and_all_others_with_them(tmp_path: Path):
    recorded(tmp_path, *(part(seq, verdict) for seq, verdict in enumerate(Verdict)), record="all")
    kept = stored_images(tmp_path)
    assert list(kept) == [0, 1, 2]
    assert kept[0] is None
    for picture in (kept[1], kept[2]):
        assert picture.preview_jpeg == JPEG
        np.testing.assert_array_equal(picture.patch_distances, GRID)


def good(seq: int, score: float, first_seq: int = 0) -> PartRecord:
    """A GOOD part whose network input a worker has sent."""
    return PartRecord(changed(event(seq, Verdict.GOOD, network_input=INPUT), score=score), first_seq)


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
    recorded(tmp_path, good(2, 1.0, first_seq=2), good(3, 3.5, first_seq=2), **options)
    assert kept_good(tmp_path) == {1: "near_miss", 3: "near_miss"}


def test_beyond_the_budget_the_oldest_good_parts_go_and_defects_stay(tmp_path: Path):
    budget = {"good_gib": 9_000 / 2**30, "good_per_hour": 50, "good_one_in": 0}  # each has a little less than 4 kB
    recorded(tmp_path, part(0, network_input=INPUT), *(good(seq, 1.0 + seq) for seq in range(1, 10)), **budget)
    assert list(kept_good(tmp_path)) == [8, 9]
    assert stored_parts(tmp_path) == [("cap", 0), ("cap", 8), ("cap", 9)]


def test_a_good_part_that_a_user_has_marked_is_displaced_by_no_other(tmp_path: Path):
    options = {"good_per_hour": 1, "good_one_in": 0}
    recorded(tmp_path, good(0, 3.0), **options)
    with closing(Review(tmp_path / REVIEW_FILE)) as review:
        review.mark(Mark(station="cap", seq=0, mark="missed_defect", note="", who="anna", at_s=1.0))
    recorded(tmp_path, good(1, 4.0, first_seq=1), **options)
    recorded(tmp_path, good(2, 5.0, first_seq=2), **options)
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
        recorder.record(part(seq))
        recorder.record(COUNTED)
        wait_for(lambda seq=seq: stored_parts(tmp_path) == [("cap", earlier) for earlier in range(seq + 1)])
    finish(recorder)


def test_an_event_is_written_only_together_with_the_ledger_that_counts_it(tmp_path: Path):
    """A sink killed between the two would give the part a different verdict after its restart."""
    recorder = opened(tmp_path)
    recorder.start()
    recorder.record(part(0, Verdict.DEFECT))
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
    recorded(tmp_path, Snapshot({}, {"gate": [first, second]}), part(0), Snapshot({}, {"gate": [second, third]}))
    with EventReader.open(tmp_path / FILE_NAME) as store:
        assert store.planned() == {"gate": [second, third]}
    recorded(tmp_path, PartRecord(event(1), 1))
    with EventReader.open(tmp_path / FILE_NAME) as store:
        assert store.planned() == {"gate": [second, third]}, "None keeps them"
    recorded(tmp_path, Snapshot({}, {"gate": []}))
    with EventReader.open(tmp_path / FILE_NAME) as store:
        assert store.planned() == {}


def test_a_part_pending_since_before_a_restart_is_recorded_at_once(tmp_path: Path):
    recorder = opened(tmp_path)
    recorder.start()
    recorder.record(PartRecord(event(11), first_seq=17))
    recorder.record(PartRecord(event(18), first_seq=17))
    recorder.record(COUNTED)
    wait_for(lambda: stored_parts(tmp_path) == [("cap", 11)])
    recorder.record(PartRecord(event(17), first_seq=17))
    recorder.record(COUNTED)
    wait_for(lambda: stored_parts(tmp_path) == [("cap", 11), ("cap", 17), ("cap", 18)])
    finish(recorder)


def test_a_failing_store_is_counted_and_a_fault_until_it_works_again(tmp_path: Path):
    store = EventStore.open(tmp_path / FILE_NAME)
    store._connection.execute("PRAGMA busy_timeout = 10")
    recorder = Recorder(store, StoreOptions(path=tmp_path, overlays=0))
    errors, lost = metric("patchline_store_errors_total"), dropped("event")
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        recorder.start()
        recorder.record(part(0))
        recorder.record(part(1, Verdict.GOOD))
        recorder.record(COUNTED)
        wait_for(lambda: dropped("event") == lost + 1)
        wait_for(lambda: recorder.fault is not None)
        assert "locked" in recorder.fault
        assert str(tmp_path) in recorder.fault
        assert metric("patchline_store_errors_total") > errors
        another.execute("ROLLBACK")
    recorder.record(part(2))
    recorder.record(COUNTED)
    wait_for(lambda: recorder.fault is None)
    finish(recorder)
    assert stored_parts(tmp_path) == [("cap", 2)], "what was lost is lost, what came later is not"
    assert dropped("event") == lost + 1


def test_a_snapshot_that_could_not_be_written_is_written_when_the_store_works_again(tmp_path: Path):
    """The sink sends a snapshot only when something has changed: on an idle line nothing else would repair it."""
    store = EventStore.open(tmp_path / FILE_NAME)
    store._connection.execute("PRAGMA busy_timeout = 10")
    recorder = Recorder(store, StoreOptions(path=tmp_path, overlays=0))
    row = LedgerCounts(3, 1, 1, {Cause.OVERRUN: 1}, (), 3)
    reject = RejectCommand("cap", 1, None, Verdict.DEFECT, None, 7, 15, 60)
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        recorder.start()
        recorder.record(Snapshot({"cap": row}, {"gate": [reject]}))
        wait_for(lambda: recorder.fault is not None)
        another.execute("ROLLBACK")
    recorder.record(AlarmRecord(time.time_ns(), "defect", "cap", "something else to write"))
    wait_for(lambda: recorder.fault is None)
    with EventReader.open(tmp_path / FILE_NAME) as reader:
        ledger, planned = reader.ledger(), reader.planned()
    finish(recorder)
    assert (ledger, planned) == ({"cap": row}, {"gate": [reject]})


def test_every_verdict_has_an_overlay_with_the_verdict_in_its_name(tmp_path: Path):
    recorded(tmp_path, *(part(seq, verdict) for seq, verdict in enumerate(Verdict)), overlays=10)
    assert overlays(tmp_path) == ["000000000_GOOD.jpg", "000000001_DEFECT.jpg", "000000002_UNINSPECTED.jpg"]
    drawn = cv2.imread(str(tmp_path / "overlays" / "cap" / "000000001_DEFECT.jpg"))
    assert drawn.shape[0] > 48
    assert drawn.shape[1:] == (64, 3)


def test_only_the_last_overlays_of_every_station_are_kept(tmp_path: Path):
    entries = [part(seq) for seq in range(7)] + [part(seq, station="label") for seq in range(2)]
    recorded(tmp_path, *entries, overlays=3)
    assert overlays(tmp_path) == [f"00000000{seq}_DEFECT.jpg" for seq in (4, 5, 6)]
    assert overlays(tmp_path, "label") == [f"00000000{seq}_DEFECT.jpg" for seq in (0, 1)]


def test_overlays_beyond_their_budget_are_left_out_and_counted(tmp_path: Path):
    before = dropped("overlay_pace")
    recorded(tmp_path, *(part(seq) for seq in range(600)), part(600, Verdict.GOOD), overlays=700)
    drawn = overlays(tmp_path)
    assert 2 <= len(drawn) < 600
    assert dropped("overlay_pace") == before + 601 - len(drawn)
    assert drawn[-1] == "000000600_GOOD.jpg", "many of one verdict leave the others their turn"
    assert len(stored_parts(tmp_path)) == 600, "every event of a bad part is kept"


def test_overlays_from_before_a_restart_count_among_the_last(tmp_path: Path):
    recorded(tmp_path, *(part(seq) for seq in range(3)), overlays=3)
    recorded(tmp_path, *(PartRecord(event(seq), 3) for seq in (3, 4)), overlays=3)
    assert overlays(tmp_path) == [f"00000000{seq}_DEFECT.jpg" for seq in (2, 3, 4)]
    recorded(tmp_path, PartRecord(event(5), 5), overlays=1)
    assert overlays(tmp_path) == ["000000005_DEFECT.jpg"]


def test_overlays_can_be_switched_off(tmp_path: Path):
    recorded(tmp_path, part(0), overlays=0)
    assert not (tmp_path / "overlays").exists()


def test_a_part_without_a_preview_has_no_overlay(tmp_path: Path):
    recorded(tmp_path, part(0, preview_jpeg=b""), overlays=3)
    assert stored_parts(tmp_path) == [("cap", 0)]
    assert overlays(tmp_path) == []


def test_a_damaged_preview_costs_its_overlay_and_nothing_else(tmp_path: Path):
    before = dropped("overlay")
    recorded(tmp_path, part(0, preview_jpeg=b"no jpeg"), part(1), overlays=3)
    assert dropped("overlay") == before + 1
    assert stored_parts(tmp_path) == [("cap", 0), ("cap", 1)]
    assert overlays(tmp_path) == ["000000001_DEFECT.jpg"]


def test_overlays_that_cannot_be_written_cost_no_event(tmp_path: Path):
    (tmp_path / "overlays").write_text("no folder")
    before = dropped("overlay")
    recorded(tmp_path, part(0), part(1), overlays=3)
    assert dropped("overlay") == before + 2
    assert stored_parts(tmp_path) == [("cap", 0), ("cap", 1)]


def test_a_queue_that_is_half_full_drops_images_and_no_events(tmp_path: Path):
    recorder = opened(tmp_path)
    without_picture, lost = dropped("picture"), dropped("event")
    half = WAITING // 2 + 1
    for seq in range(half + 5):
        recorder.record(part(seq, preview_jpeg=b"jpeg"))
    assert dropped("picture") == without_picture + 5
    finish(recorder)
    kept = stored_images(tmp_path)
    assert list(kept) == list(range(half + 5))
    assert [seq for seq, picture in kept.items() if picture is None] == list(range(half, half + 5))
    assert dropped("event") == lost


def test_network_inputs_are_the_first_images_dropped_when_the_queue_fills(tmp_path: Path):
    recorder = opened(tmp_path)
    before = {what: dropped(what) for what in ("input", "picture", "event")}
    fits = INPUTS_WAITING + 1
    for seq in range(fits + 5):
        recorder.record(part(seq, network_input=INPUT))
    assert dropped("input") == before["input"] + 5
    finish(recorder)
    with EventReader.open(tmp_path / FILE_NAME) as store:
        kept = {item.part.seq: store.network_input(item.event_id) for item in store.events()}
    assert list(kept) == list(range(fits + 5))
    assert [seq for seq, pixels in kept.items() if pixels is None] == list(range(fits, fits + 5))
    assert all(images.preview_jpeg == JPEG for images in stored_images(tmp_path).values())
    assert (dropped("picture"), dropped("event")) == (before["picture"], before["event"])


def test_a_full_queue_loses_events_counts_them_and_never_blocks(tmp_path: Path):
    recorder = opened(tmp_path)
    lost = dropped("event")
    filler = threading.Thread(
        target=lambda: [recorder.record(part(seq, preview_jpeg=b"")) for seq in range(WAITING + 7)]
    )
    filler.start()
    filler.join(GENEROUS_S)
    assert not filler.is_alive()
    assert dropped("event") == lost + 7
    finish(recorder)
    assert stored_parts(tmp_path) == [("cap", seq) for seq in range(WAITING)]


def test_after_the_queue_was_full_the_line_is_recorded_again(tmp_path: Path):
    """The lost parts will never come; what follows them must not wait for them until the line is stopped."""
    recorder = opened(tmp_path)
    for seq in range(WAITING + 7):
        recorder.record(part(seq, preview_jpeg=b""))
    recorder.start()
    wait_for(lambda: recorder.record(COUNTED))
    wait_for(lambda: len(stored_parts(tmp_path)) >= WAITING)
    for seq in range(WAITING + 7, WAITING + 10):
        recorder.record(part(seq, preview_jpeg=b""))
    recorder.record(COUNTED)
    wait_for(lambda: len(stored_parts(tmp_path)) > WAITING)
    before_the_end = stored_parts(tmp_path)
    finish(recorder)
    assert before_the_end[WAITING:] == [("cap", seq) for seq in range(WAITING + 7, WAITING + 10)]


@pytest.mark.parametrize("entries", [[], [part(0)]])
def test_ending_writes_everything_and_closes_the_store(tmp_path: Path, entries: list[PartRecord]):
    recorded(tmp_path, *entries)
    assert not (tmp_path / f"{FILE_NAME}-wal").exists(), "the last one to close folds the log into the file"
    assert stored_parts(tmp_path) == [("cap", item.event.part.seq) for item in entries]


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
    frame = FrameHeader("cap", 0, now_ns(), now_ns() + 10**9, "triggered", "ab", 32, 32, 1, "epoch", stamps, clock)
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


@contextmanager
def running_sink(folder: Path) -> Iterator[tuple[SinkProcess, Sockets]]:
    """A sink in a thread, and the sockets of its peers; both are closed after the block."""
    addresses = Path(tempfile.mkdtemp(prefix="pl"))  # socket paths are limited to 107 bytes
    stop, peer = threading.Event(), Sockets(None)
    with (folder / "lock").open("w") as lock:
        sink = SinkProcess(line(folder, addresses), Role("sink", stop, lock))
        running = threading.Thread(target=sink.run, daemon=True)
        running.start()
        try:
            yield sink, peer
        finally:
            stop.set()
            running.join(GENEROUS_S)
            peer.close()
            shutil.rmtree(addresses)
    assert not running.is_alive()


def line(folder: Path, sockets: Path) -> LineConfig:
    """A line with one station, whose bundle is calibrated but not usable otherwise."""
    info = BundleInfo(
        format=FORMAT,
        spec=FeatureSpec("efficientnet_lite0", "ab" * 32, ("stride8", "stride16"), (96, 96), 3, 1, PREPROCESSING),
        roi=None,
        picture_px=None,
        grid=(12, 12),
        coreset=0.01,
        projection_dims=128,
        reweight_neighbours=9,
        position_aware=False,
        shift_patches=None,
        seed=7,
        bank_patches=5_000,
        coreset_patches=4,
        covering_radius=1.5,
        thresholds=Thresholds(3.25, 2.125, 0.01, 1 / 21, 1 / 21),
        reference=reference_of([Measures(120.0, 0.0, 0.0, -0.5, 3.0, 4.0)]),
        calibration_names=tuple("abcd"),
        folds=(),
        bank_pictures=(),
        versions={},
    )
    bundle = folder / "cap.safetensors"
    selftest = SelfTest(np.zeros((96, 96, 3), np.uint8), 1.0)
    pictures = np.zeros((4, 96, 96, 3), np.uint8)
    calibration = CalibrationScores(np.ones(4), np.ones(4, np.float32), np.ones((4, 12, 12), np.float16))
    save_bundle(bundle, info, np.ones((4, 8), np.float32), calibration, pictures, selftest)
    return LineConfig.model_validate(
        {
            "line": "test",
            "cameras": {"top": {"kind": "folder", "path": str(folder)}},
            "stations": {"cap": {"camera": "top", "bundle": str(bundle)}},
            "store": {"path": str(folder / "store"), "overlays": 0},
            "metrics": {"listen": None},
            "transport": {"announcements": f"ipc://{sockets}/a", "results": f"ipc://{sockets}/r"},
        }
    )
