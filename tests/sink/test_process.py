"""The sink as a whole in a thread, and a camera of the test's own that may be on another host."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from prometheus_client import REGISTRY
from support.outputs import wait_for
from support.sinks import line

from stream.core.clock import Clock, local_clock, now_ns
from stream.core.parts import LedgerCounts
from stream.core.verdict import Cause, Verdict
from stream.line.lifecycle import Role
from stream.sink.process import SinkProcess
from stream.store.event_reader import FILE_NAME, EventReader
from stream.transport.messages import (
    Announcement,
    CameraStatus,
    EndOfStream,
    FrameHeader,
    FrameStamps,
    Result,
    ResultStamps,
    UnreadFrame,
    WorkerStatus,
    encode,
)
from stream.transport.pipeline import FrameServer, SinkOutbox
from stream.transport.sockets import Sockets

MS = 1_000_000
GENEROUS_S = 20.0
BUNDLE = "ab" * 32


class CameraOnTheWire:
    """What a capture process and a worker send, by a clock of the test's choice."""

    def __init__(self, sink: SinkProcess, sockets: Sockets, skew_ms: float, boot_id: str) -> None:
        self.sink = sink
        self.boot_id, self.skew_ns = boot_id, round(skew_ms * MS)
        self.sockets = sockets
        self.announcements = SinkOutbox(sockets, sink.config.announcements_address(), 100)
        self.results = SinkOutbox(sockets, sink.config.results_address(), 100)
        self._stop = threading.Event()
        self._answering: threading.Thread | None = None

    def clock(self) -> Clock:
        return Clock(self.boot_id, local_clock().realtime_offset_ns + self.skew_ns)

    def answer_who_asks_the_time(self) -> None:
        server = FrameServer(self.sockets, self.sink.config.frames_address("top"), self.clock)

        def answer() -> None:
            while not self._stop.is_set():
                server.wait(20)
                server.receive_credit()

        self._answering = threading.Thread(target=answer, daemon=True)
        self._answering.start()

    def close(self) -> None:
        self._stop.set()
        if self._answering is not None:
            self._answering.join(GENEROUS_S)

    def status(self, announced: int = 0, last_frame_ns: int | None = None) -> None:
        message = CameraStatus("top", 1, 0, True, last_frame_ns, self.clock(), announced={"cap": announced})
        assert self.announcements.send(message)

    def announce(self, seq: int, captured_ns: int, **fields: str) -> None:
        message = Announcement("cap", seq, captured_ns, captured_ns + 10**9, self.clock(), **fields)
        assert self.announcements.send(message)

    def judge(self, seq: int, captured_ns: int, verdict: Verdict, *, score: float = 1.0, epoch: str = "") -> None:
        stamps = FrameStamps(captured_ns, captured_ns, captured_ns)
        frame = FrameHeader(
            *("cap", seq, captured_ns, captured_ns + 10**9, "triggered", BUNDLE, 96, 96, (96, 96)),
            *(1, epoch, stamps, self.clock()),
        )
        result = Result(
            frame, "worker0", verdict, ResultStamps(1, 1, 1, 1, 1, 1, 1), local_clock(), score=score, threshold=3.0
        )
        assert self.results.send(result, [b"", b"", b""])

    def counts(self) -> LedgerCounts | None:
        return self.sink.ledger.counts("cap") if "cap" in self.sink.ledger.stations else None

    def settled(self, count: int) -> None:
        def all_settled() -> bool:
            counts = self.counts()
            return counts is not None and counts.announced == count and not counts.pending

        wait_for(all_settled, f"verdict of {count} parts")

    def alarms(self) -> dict[tuple[str, str], str]:
        return {(alarm.kind, alarm.subject): alarm.text for alarm in self.sink.settlement.board.active(now_ns())}

    def alarm(self, kind: str, subject: str) -> str:
        wait_for(lambda: (kind, subject) in self.alarms(), f"alarm {kind} {subject}")
        return self.alarms()[kind, subject]


@contextmanager
def running(folder: Path, *, skew_ms: float = 0.0, boot_id: str | None = None) -> Iterator[CameraOnTheWire]:
    """A sink whose station rejects 600 ms after the exposure, ± 60 ms; its camera's real time is ahead by `skew_ms`."""
    addresses = Path(tempfile.mkdtemp(prefix="pl"))  # socket paths are limited to 107 bytes
    stop, peer = threading.Event(), Sockets(None)
    reject = {"actuator": "gate", "transport_delay_ms": 600, "tolerance_ms": 60}
    station = {"camera": "top", "bundle": str(folder / "cap.safetensors"), "deadline_ms": 500, "reject": reject}
    config = line(
        folder,
        addresses,
        actuators={"gate": {"kind": "log", "path": str(folder / "rejects.jsonl")}},
        stations={"cap": station},
        transport={name: f"ipc://{addresses}/{name[0]}" for name in ("announcements", "results", "feed")}
        | {"frames": {"top": f"ipc://{addresses}/frames"}},
    )
    with (folder / "lock").open("w") as lock:
        sink = SinkProcess(config, Role("sink", stop, lock))
        thread = threading.Thread(target=sink.run, daemon=True)
        thread.start()
        camera = CameraOnTheWire(sink, peer, skew_ms, boot_id or local_clock().boot_id)
        try:
            yield camera
        finally:
            stop.set()
            thread.join(GENEROUS_S)
            camera.close()
            peer.close()
            shutil.rmtree(addresses, ignore_errors=True)
    assert not thread.is_alive()


def rejects(folder: Path) -> list[int]:
    path = folder / "rejects.jsonl"
    return [json.loads(text)["seq"] for text in path.read_text().splitlines()] if path.exists() else []


def verdicts(folder: Path) -> dict[int, tuple[Verdict, Cause | None, str]]:
    with EventReader.open(folder / "store" / FILE_NAME) as store:
        return {event.part.seq: (event.part.verdict, event.part.cause, event.part.detail) for event in store.events()}


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def refused() -> float:
    return sum(sample("patchline_messages_refused_total", socket=name) for name in ("announcements", "results", "sink"))


def late_rejects() -> float:
    return sample("patchline_late_rejects_total", station="cap")


def measured(camera: CameraOnTheWire) -> None:
    """Wait until the sink has compared the camera's clock with its own."""
    camera.answer_who_asks_the_time()
    camera.status()
    wait_for(lambda: camera.sink.clocks._clocks["top"].exchanges >= 4, "answers")


@pytest.mark.parametrize("skew_ms", [-400, -200, 45, 200, 86_400_000])
def test_no_reject_is_placed_by_a_clock_that_is_wrong_and_an_alarm_names_it(tmp_path: Path, skew_ms: float):
    before = late_rejects()
    with running(tmp_path, skew_ms=skew_ms, boot_id="elsewhere") as camera:
        measured(camera)
        captured_ns = now_ns()
        camera.announce(0, captured_ns)
        camera.judge(0, captured_ns, Verdict.DEFECT, score=9.0)
        camera.settled(1)
        text = camera.alarm("clock_skew", "top")
        assert ("ahead of" if skew_ms > 0 else "behind") in text
        assert "30 ms are allowed" in text
        assert "no known moment of exposure" in camera.alarm("late_reject", "cap")
    assert verdicts(tmp_path)[0][0] is Verdict.DEFECT, "a wrong clock makes no part too late"
    assert rejects(tmp_path) == []
    assert late_rejects() == before + 1
    assert abs(sample("patchline_clock_offset_seconds", camera="top") - skew_ms / 1e3) < 0.03


def test_a_clock_within_half_of_the_tolerance_places_rejects_at_their_moment(tmp_path: Path):
    before = late_rejects()
    with running(tmp_path, skew_ms=15, boot_id="elsewhere") as camera:
        measured(camera)
        captured_ns = now_ns()
        camera.announce(0, captured_ns)
        camera.judge(0, captured_ns, Verdict.DEFECT, score=9.0)
        wait_for(lambda: rejects(tmp_path) == [0], "reject")
        assert ("clock_skew", "top") not in camera.alarms()
    assert late_rejects() == before


def test_a_clock_that_cannot_be_measured_places_no_reject_and_the_alarm_says_so(tmp_path: Path):
    with running(tmp_path, boot_id="elsewhere") as camera:
        camera.status()
        captured_ns = now_ns()
        camera.announce(0, captured_ns)
        camera.judge(0, captured_ns, Verdict.DEFECT, score=9.0)
        camera.settled(1)
        assert "no answer from ipc://" in camera.alarm("clock_skew", "top")
    assert rejects(tmp_path) == []


def test_on_one_host_real_time_plays_no_part(tmp_path: Path):
    with running(tmp_path, skew_ms=31 * 86_400_000) as camera:
        camera.status()
        captured_ns = now_ns()
        camera.announce(0, captured_ns)
        camera.judge(0, captured_ns, Verdict.DEFECT, score=9.0)
        wait_for(lambda: rejects(tmp_path) == [0], "reject")
        assert ("clock_skew", "top") not in camera.alarms()
    assert sample("patchline_clock_offset_seconds", camera="top") == 0


def test_the_skew_that_a_worker_measures_is_an_alarm_about_the_worker(tmp_path: Path):
    with running(tmp_path) as camera:
        status = WorkerStatus("worker0", 1, "cpu", skews_ns={"top": -400 * MS})
        assert camera.results.send(status)
        text = camera.alarm("clock_skew", "worker0")
        assert "the clock of camera top's host is 400.0 ms behind that of worker0's host" in text
        assert camera.results.send(WorkerStatus("worker0", 1, "cpu", skews_ns={"top": 0}))
        wait_for(lambda: ("clock_skew", "worker0") not in camera.alarms(), "end of the alarm")


@pytest.mark.parametrize("name", ["announcements", "results"])
@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x01garbage",
        encode(EndOfStream("top", 5))[:-1],
        encode(EndOfStream("top", 2**53)),
        encode(EndOfStream("top", 1))[:1] + b"\x81\xa1y" * 50_000,
        encode(Announcement("nowhere", 1, 1, 2, Clock("boot", 0))),
    ],
    ids=["empty", "another version", "cut short", "out of range", "deep", "unknown station"],
)
def test_a_message_that_cannot_be_used_is_an_alarm_and_the_sink_goes_on(tmp_path: Path, name: str, garbage: bytes):
    with running(tmp_path) as camera:
        before = refused()
        address = getattr(camera.sink.config, f"{name}_address")()
        stranger = camera.sockets.connect(zmq.PUSH, address, 10)
        stranger.send(garbage)
        wait_for(lambda: any(kind == "message_refused" for kind, _ in camera.alarms()), "alarm message_refused")
        camera.announce(0, now_ns(), cause=Cause.OVERRUN)
        camera.settled(1)
        assert refused() >= before + 1


def test_parts_whose_announcements_were_lost_are_booked_at_the_next_status(tmp_path: Path):
    with running(tmp_path) as camera:
        camera.status(announced=0)
        camera.status(announced=3)
        camera.settled(3)
        assert "its announcement never came" in camera.alarm("uninspected", "cap")
    assert {seq: cause for seq, (_, cause, _) in verdicts(tmp_path).items()} == dict.fromkeys(
        range(3), Cause.CAMERA_FAULT
    )


def test_a_status_far_ahead_of_the_announcements_is_an_alarm(tmp_path: Path):
    with running(tmp_path) as camera:
        camera.status(announced=2**52)
        assert "too far ahead" in camera.alarm("message_refused", "numbers")


def test_results_without_announcements_raise_an_alarm_that_says_so(tmp_path: Path):
    with running(tmp_path) as camera:
        for seq in range(400):
            camera.judge(seq, now_ns(), Verdict.GOOD)
            if ("announcements_missing", "top") in camera.alarms():
                break
            threading.Event().wait(0.01)
        assert "parts of camera top are seen but not announced" in camera.alarm("announcements_missing", "top")


def test_frames_without_announcements_raise_an_alarm_that_says_so(tmp_path: Path):
    with running(tmp_path) as camera:
        for _ in range(400):
            camera.status(last_frame_ns=now_ns())
            if ("announcements_missing", "top") in camera.alarms():
                break
            threading.Event().wait(0.01)
        assert "not announced" in camera.alarm("announcements_missing", "top")


def test_a_camera_is_told_that_the_line_is_ready_once_it_lacks_no_worker_and_no_worker_lacks_the_sink(tmp_path: Path):
    with running(tmp_path) as camera:
        server = FrameServer(camera.sockets, camera.sink.config.frames_address("top"), camera.clock)
        start = camera.sink.health.line_start

        def report(last_frame_ns: int | None, *lacks: str) -> None:
            waiting = CameraStatus("top", 1, 0, True, last_frame_ns, camera.clock(), start="waiting", lacks=lacks)
            assert camera.announcements.send(waiting)

        def told() -> bool:
            server.wait(20)
            server.receive_credit()
            return server.line_ready

        for moment in range(1, 5):
            report(moment, "worker0")
        wait_for(lambda: "camera top" not in start.missing, "report of the camera")
        assert camera.results.send(WorkerStatus("worker0", 2, "CPU"))
        report(5, "worker0")
        assert not told()
        assert camera.sink.health.announcements.missing("top", now_ns() + 10**12) is False, (
            "its frames are no parts yet"
        )
        report(6)
        wait_for(told, "word that the line is ready")


def test_a_result_for_another_frame_is_never_good(tmp_path: Path):
    with running(tmp_path) as camera:
        captured_ns = now_ns()
        for seq in range(4):
            camera.announce(seq, captured_ns, epoch="this", bundle_sha256=BUNDLE if seq != 2 else "cd" * 32)
        wait_for(lambda: (counts := camera.counts()) is not None and counts.announced == 4, "announcements")
        camera.judge(0, captured_ns - 1, Verdict.GOOD, epoch="this")
        camera.judge(1, captured_ns, Verdict.GOOD, epoch="that")
        camera.judge(2, captured_ns, Verdict.GOOD, epoch="this")
        camera.judge(3, captured_ns, Verdict.GOOD, epoch="this")
        camera.settled(4)
        counts = camera.counts()
        assert counts is not None
        assert (counts.good, counts.uninspected) == (1, {Cause.WORKER_ERROR: 3})
    details = {seq: detail for seq, (_, _, detail) in verdicts(tmp_path).items()}
    assert "the result is for another frame: exposed" in details[0]
    assert "of another capture process" in details[1]
    assert "for bundle abababababab, not cdcdcdcdcdcd" in details[2]


def test_a_result_waits_for_its_announcement_and_counts_only_for_the_announced_frame(tmp_path: Path):
    with running(tmp_path) as camera:
        captured_ns = now_ns()
        camera.judge(0, captured_ns - 100 * MS, Verdict.GOOD)
        camera.judge(1, captured_ns, Verdict.GOOD)
        wait_for(lambda: camera.sink.early.holds("cap", 1), "results")
        assert camera.counts() is None
        camera.announce(0, captured_ns)
        camera.announce(1, captured_ns)
        camera.settled(2)
        wait_for(lambda: rejects(tmp_path) == [0], "reject")
        counts = camera.counts()
        assert counts is not None
        assert (counts.good, counts.uninspected) == (1, {Cause.WORKER_ERROR: 1})
    assert "the result is for another frame: exposed 100.000 ms apart" in verdicts(tmp_path)[0][2]


def test_a_result_whose_announcement_was_lost_is_booked_before_its_deadline(tmp_path: Path):
    with running(tmp_path) as camera:
        camera.judge(0, now_ns(), Verdict.DEFECT, score=9.0)
        camera.settled(1)
        wait_for(lambda: rejects(tmp_path) == [0], "reject")
    assert verdicts(tmp_path)[0][0] is Verdict.DEFECT


def test_results_whose_announcements_were_lost_are_booked_when_a_later_part_is_announced(tmp_path: Path):
    with running(tmp_path) as camera:
        captured_ns = now_ns()
        camera.judge(0, captured_ns, Verdict.GOOD)
        wait_for(lambda: camera.sink.early.holds("cap", 0), "result")
        camera.announce(1, captured_ns, cause=Cause.OVERRUN)
        camera.settled(2)
        counts = camera.counts()
        assert counts is not None
        assert (counts.good, counts.uninspected) == (1, {Cause.OVERRUN: 1})


def test_a_part_that_is_announced_too_late_after_a_result_for_another_frame_is_rejected_with_an_alarm(tmp_path: Path):
    with running(tmp_path) as camera:
        captured_ns = now_ns()
        camera.judge(0, captured_ns - 300 * MS, Verdict.GOOD)
        camera.settled(1)
        camera.announce(0, captured_ns)
        assert "its result was for another frame" in camera.alarm("uninspected", "cap")
        wait_for(lambda: rejects(tmp_path) == [0], "reject")


def test_a_result_that_contradicts_itself_is_not_good(tmp_path: Path):
    with running(tmp_path) as camera:
        captured_ns = now_ns()
        camera.announce(0, captured_ns)
        camera.judge(0, captured_ns, Verdict.GOOD, score=9.0)
        camera.settled(1)
    assert verdicts(tmp_path)[0] == (
        Verdict.UNINSPECTED,
        Cause.WORKER_ERROR,
        "called GOOD with a score of 9 above its threshold 3",
    )


def test_a_frame_that_a_worker_cannot_read_settles_its_part(tmp_path: Path):
    with running(tmp_path) as camera:
        camera.announce(0, now_ns())
        assert camera.results.send(UnreadFrame("worker0", "cap", 0, "header of 9 bytes"))
        camera.settled(1)
    assert verdicts(tmp_path)[0] == (
        Verdict.UNINSPECTED,
        Cause.WORKER_ERROR,
        "worker0 cannot read its frame: header of 9 bytes",
    )


def test_sockets_that_were_removed_come_back_while_the_sink_runs(tmp_path: Path):
    with running(tmp_path) as camera:
        camera.announce(0, now_ns(), cause=Cause.OVERRUN)
        camera.settled(1)
        folder = Path(camera.sink.config.announcements_address().removeprefix("ipc://")).parent
        shutil.rmtree(folder)
        outbox = SinkOutbox(camera.sockets, camera.sink.config.announcements_address(), 10)
        assert outbox.send(Announcement("cap", 1, now_ns(), now_ns(), local_clock(), cause=Cause.OVERRUN))
        camera.settled(2)


def test_a_folder_of_sockets_that_cannot_be_mended_is_an_alarm_that_names_it(tmp_path: Path):
    with running(tmp_path) as camera:
        folder = Path(camera.sink.config.announcements_address().removeprefix("ipc://")).parent
        shutil.rmtree(folder)
        folder.mkdir()
        folder.chmod(0o777)
        assert str(folder) in camera.alarm("socket_fault", "sink")
