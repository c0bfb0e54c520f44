"""A sink that is killed: what its ledger counts has its event, with the images."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from support.sinks import GENEROUS_S, sections_of_a_line

from stream.core.clock import local_clock, now_ns
from stream.core.errors import StoreError
from stream.core.parts import LedgerCounts
from stream.core.verdict import Cause, Verdict
from stream.store.event_reader import FILE_NAME, EventReader
from stream.store.records import Event
from stream.transport.messages import Announcement, FrameHeader, FrameStamps, Result, ResultStamps
from stream.transport.pipeline import SinkOutbox
from stream.transport.sockets import Sockets

JPEG = cv2.imencode(".jpg", np.full((48, 64, 3), 120, np.uint8))[1].tobytes()
GRID = np.linspace(0, 20, 12, dtype=np.float16).reshape(3, 4)
INPUT = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


class SinkAlone:
    """`patchline sink` as a process, with the sockets of a camera and a worker."""

    def __init__(self, folder: Path, sockets: Path) -> None:
        sections = sections_of_a_line(folder, sockets)
        sections["store"]["record"] = "all"
        sections["stations"]["cap"]["deadline_ms"] = 600_000
        self.file = folder / "line.yaml"
        self.file.write_text(yaml.safe_dump(sections))
        self.store = folder / "store" / FILE_NAME
        self.process: subprocess.Popen[bytes] | None = None
        self.peer = Sockets(None)
        self.camera = SinkOutbox(self.peer, sections["transport"]["announcements"], 1_000)
        self.worker = SinkOutbox(self.peer, sections["transport"]["results"], 1_000)

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "stream", "sink", str(self.file)])

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def announce(self, *seqs: int) -> None:
        for seq in seqs:
            assert self.camera.send(Announcement("cap", seq, now_ns(), now_ns() + 10**12, local_clock()))

    def result(self, seq: int, verdict: Verdict, score: float) -> None:
        frame = FrameHeader(
            *("cap", seq, now_ns(), now_ns() + 10**12, "triggered", "ab", 32, 32, 1, "epoch"),
            *(FrameStamps(1, 2, 3), local_clock()),
        )
        stamps = ResultStamps(1, 2, 3, 4, 5, 6, 7)
        result = Result(frame, "worker0", verdict, stamps, local_clock(), score=score, grid=(3, 4))
        attached = INPUT.tobytes() if verdict is Verdict.DEFECT else b""
        assert self.worker.send(result, [GRID.tobytes(), JPEG, attached])

    def stored(self) -> tuple[LedgerCounts | None, dict[int, Event]]:
        with suppress(StoreError), EventReader.open(self.store) as store:
            return store.ledger().get("cap"), {event.part.seq: event for event in store.events()}
        return None, {}

    def wait_for(self, condition: Callable[[LedgerCounts], bool]) -> None:
        until_s = time.monotonic() + 3 * GENEROUS_S
        while (counts := self.stored()[0]) is None or not condition(counts):
            assert time.monotonic() < until_s, f"it never came: {counts}"
            time.sleep(0.01)


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[SinkAlone]:
    with _folder() as addresses:
        alone = SinkAlone(tmp_path, addresses)
        try:
            yield alone
        finally:
            if alone.process is not None:
                alone.kill()
            alone.peer.close()


@contextmanager
def _folder() -> Iterator[Path]:
    addresses = Path(tempfile.mkdtemp(prefix="pl"))  # socket paths are limited to 107 bytes
    try:
        yield addresses
    finally:
        shutil.rmtree(addresses)


def check_that_every_counted_part_has_its_event(counts: LedgerCounts, events: dict[int, Event]) -> None:
    verdicts = [event.part.cause or event.part.verdict for event in events.values()]
    expected = {Verdict.GOOD: counts.good, Verdict.DEFECT: counts.defect, **counts.uninspected}
    assert {each: count for each, count in expected.items() if count} == {
        each: verdicts.count(each) for each in set(verdicts)
    }
    assert not set(counts.pending) & set(events)


def test_parts_judged_while_an_earlier_one_is_pending_have_their_events_after_a_kill(sink: SinkAlone):
    sink.start()
    sink.announce(0, 1, 2)
    sink.result(1, Verdict.GOOD, 1.0)
    sink.result(2, Verdict.DEFECT, 12.5)
    sink.wait_for(lambda counts: counts.good == counts.defect == 1)
    sink.kill()
    counts, events = sink.stored()
    assert (counts.good, counts.defect, counts.pending) == (1, 1, (0,))
    assert sorted(events) == [1, 2]
    with EventReader.open(sink.store) as store:
        images, pixels = store.images(events[2].event_id), store.network_input(events[2].event_id)
    assert (events[2].part.verdict, events[2].part.score, images.preview_jpeg) == (Verdict.DEFECT, 12.5, JPEG)
    np.testing.assert_array_equal(pixels, INPUT)

    sink.start()
    sink.wait_for(lambda counts: not counts.pending)
    counts, events = sink.stored()
    assert (counts.good, counts.defect, counts.uninspected) == (1, 1, {Cause.SINK_DOWN: 1})
    assert events[0].part.cause is Cause.SINK_DOWN
    assert events[2].part.verdict is Verdict.DEFECT


def test_a_sink_killed_at_any_moment_has_an_event_for_every_part_that_it_counts(sink: SinkAlone):
    first = 0
    for life in range(3):
        sink.start()
        announced = range(first, first + 60)
        sink.announce(*announced)
        for seq in announced:
            if seq % 3:  # every third stays pending
                sink.result(seq, Verdict.DEFECT if seq % 2 else Verdict.GOOD, float(seq))
        known = first + 20 * (life + 1)
        sink.wait_for(lambda counts, known=known: counts.next_seq >= known and counts.good + counts.defect > 0)
        sink.kill()
        counts, events = sink.stored()
        assert counts.closed
        check_that_every_counted_part_has_its_event(counts, events)
        first += 60
