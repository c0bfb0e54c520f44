"""Silent, faulty and replaced peers are down; never those that ended on purpose or have not reported yet."""

from __future__ import annotations

import pytest

from stream.sink.policy.peer_health import PeerHealth, PeerMonitor

MS = 1_000_000


@pytest.fixture
def peers() -> PeerMonitor:
    limits = {"camera": 1000 * MS, "worker": 3000 * MS}
    return PeerMonitor(["top"], ["worker0"], since_ns=0, grace_ns=60_000 * MS, silent_ns=limits)


def camera(peers: PeerMonitor, now_ns: int) -> PeerHealth:
    (health,) = [health for health in peers.health(now_ns) if health.kind == "camera"]
    return health


def worker(peers: PeerMonitor, now_ns: int) -> PeerHealth:
    (health,) = [health for health in peers.health(now_ns) if health.kind == "worker"]
    return health


def report(
    peers: PeerMonitor, now_ns: int, *, pid: int = 1, fault: str | None = None, frame_ns: int | None = None
) -> None:
    peers.camera_reported("top", pid=pid, fault=fault, last_frame_ns=frame_ns, now_ns=now_ns)


def test_before_its_first_report_a_camera_is_neither_up_nor_down(peers: PeerMonitor):
    assert not camera(peers, 10_000 * MS).up
    assert not camera(peers, 10_000 * MS).down


def test_a_camera_that_waits_for_the_line_is_neither_up_nor_down_and_says_so(peers: PeerMonitor):
    peers.camera_reported("top", pid=1, fault=None, last_frame_ns=None, now_ns=0, waits=True)
    health = camera(peers, 1)
    assert (health.up, health.down, health.text) == (False, False, "waits for the line to be ready")
    peers.camera_reported("top", pid=1, fault="cable unplugged", last_frame_ns=None, now_ns=2, waits=True)
    assert camera(peers, 3).down
    report(peers, 4)
    assert camera(peers, 5).up


def test_a_camera_that_never_reports_is_down_after_the_grace_period(peers: PeerMonitor):
    assert camera(peers, 60_001 * MS).down
    assert worker(peers, 60_001 * MS).down


def test_a_camera_is_down_after_the_silence_allowed_and_up_with_its_next_report(peers: PeerMonitor):
    report(peers, 0)
    assert camera(peers, 1000 * MS).up
    assert camera(peers, 1001 * MS).down
    assert "silent" in camera(peers, 1001 * MS).text
    report(peers, 1100 * MS)
    assert camera(peers, 1101 * MS).up


def test_a_camera_that_reports_a_fault_is_down_with_the_text_of_it(peers: PeerMonitor):
    report(peers, 0, fault="cable unplugged")
    assert camera(peers, 1).down
    assert "cable unplugged" in camera(peers, 1).text


def test_a_camera_whose_process_was_replaced_in_no_time_is_down_once(peers: PeerMonitor):
    report(peers, 0, pid=1)
    report(peers, 300 * MS, pid=2)
    first, second = camera(peers, 301 * MS), camera(peers, 302 * MS)
    assert first.down
    assert "died" in first.text
    assert second.up


def test_a_camera_that_ended_is_not_down_and_may_start_again(peers: PeerMonitor):
    report(peers, 0, pid=1)
    peers.camera_ended("top")
    assert not camera(peers, 9_000 * MS).down
    assert not camera(peers, 9_000 * MS).up
    report(peers, 9_001 * MS, pid=2)
    assert camera(peers, 9_002 * MS).up


def test_a_worker_that_ends_on_purpose_is_not_down_and_one_that_dies_is(peers: PeerMonitor):
    peers.worker_reported("worker0", pid=1, ending=False, now_ns=0)
    assert worker(peers, 3001 * MS).down
    peers.worker_reported("worker0", pid=1, ending=True, now_ns=3002 * MS)
    assert not worker(peers, 90_000 * MS).down
    peers.worker_reported("worker0", pid=2, ending=False, now_ns=90_001 * MS)
    peers.worker_reported("worker0", pid=3, ending=False, now_ns=90_002 * MS)
    assert worker(peers, 90_003 * MS).down


def test_the_age_of_the_newest_frame_grows_while_a_camera_is_silent(peers: PeerMonitor):
    report(peers, 10 * MS, frame_ns=4 * MS)
    assert camera(peers, 12 * MS).last_frame_age_ns == 8 * MS
    report(peers, 20 * MS)
    assert camera(peers, 5000 * MS).last_frame_age_ns == 4996 * MS


def test_cameras_and_workers_outside_the_configuration_are_unknown(peers: PeerMonitor):
    assert peers.knows("camera", "top")
    assert not peers.knows("camera", "worker0")
    assert not peers.knows("worker", "worker7")
