"""Who is down: the silent, the faulty and the replaced; never those that said goodbye or were not heard yet."""

from __future__ import annotations

import pytest

from stream.sink.policy.peer_health import PeerHealth, PeerMonitor

MS = 1_000_000


@pytest.fixture
def watch() -> PeerMonitor:
    limits = {"camera": 1000 * MS, "worker": 3000 * MS}
    return PeerMonitor(["top"], ["worker0"], since_ns=0, grace_ns=60_000 * MS, silent_ns=limits)


def camera(watch: PeerMonitor, now_ns: int) -> PeerHealth:
    (health,) = [health for health in watch.health(now_ns) if health.kind == "camera"]
    return health


def worker(watch: PeerMonitor, now_ns: int) -> PeerHealth:
    (health,) = [health for health in watch.health(now_ns) if health.kind == "worker"]
    return health


def hear(
    watch: PeerMonitor, now_ns: int, *, pid: int = 1, fault: str | None = None, frame_ns: int | None = None
) -> None:
    watch.camera_heard("top", pid=pid, fault=fault, last_frame_ns=frame_ns, now_ns=now_ns)


def test_before_it_was_ever_heard_a_camera_is_neither_up_nor_down(watch: PeerMonitor):
    assert not camera(watch, 10_000 * MS).up
    assert not camera(watch, 10_000 * MS).down


def test_a_camera_that_never_comes_is_down_in_the_end(watch: PeerMonitor):
    assert camera(watch, 60_001 * MS).down
    assert worker(watch, 60_001 * MS).down


def test_a_camera_is_down_after_the_silence_allowed_and_up_with_its_next_report(watch: PeerMonitor):
    hear(watch, 0)
    assert camera(watch, 1000 * MS).up
    assert camera(watch, 1001 * MS).down
    assert "silent" in camera(watch, 1001 * MS).text
    hear(watch, 1100 * MS)
    assert camera(watch, 1101 * MS).up


def test_a_camera_that_reports_a_fault_is_down_with_its_words(watch: PeerMonitor):
    hear(watch, 0, fault="cable unplugged")
    assert camera(watch, 1).down
    assert "cable unplugged" in camera(watch, 1).text


def test_a_camera_whose_process_was_replaced_in_no_time_is_down_once(watch: PeerMonitor):
    hear(watch, 0, pid=1)
    hear(watch, 300 * MS, pid=2)
    first, second = camera(watch, 301 * MS), camera(watch, 302 * MS)
    assert first.down
    assert "died" in first.text
    assert second.up


def test_a_camera_that_ended_is_not_down_and_may_come_again(watch: PeerMonitor):
    hear(watch, 0, pid=1)
    watch.camera_ended("top")
    assert not camera(watch, 9_000 * MS).down
    assert not camera(watch, 9_000 * MS).up
    hear(watch, 9_001 * MS, pid=2)
    assert camera(watch, 9_002 * MS).up


def test_a_worker_that_ends_on_purpose_is_not_down_and_one_that_dies_is(watch: PeerMonitor):
    watch.worker_heard("worker0", pid=1, ending=False, now_ns=0)
    assert worker(watch, 3001 * MS).down
    watch.worker_heard("worker0", pid=1, ending=True, now_ns=3002 * MS)
    assert not worker(watch, 90_000 * MS).down
    watch.worker_heard("worker0", pid=2, ending=False, now_ns=90_001 * MS)
    watch.worker_heard("worker0", pid=3, ending=False, now_ns=90_002 * MS)
    assert worker(watch, 90_003 * MS).down


def test_the_age_of_the_newest_frame_grows_while_a_camera_is_silent(watch: PeerMonitor):
    hear(watch, 10 * MS, frame_ns=4 * MS)
    assert camera(watch, 12 * MS).last_frame_age_ns == 8 * MS
    hear(watch, 20 * MS)
    assert camera(watch, 5000 * MS).last_frame_age_ns == 4996 * MS


def test_strangers_are_not_known(watch: PeerMonitor):
    assert watch.knows("camera", "top")
    assert not watch.knows("camera", "worker0")
    assert not watch.knows("worker", "worker7")
