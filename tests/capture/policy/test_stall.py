from __future__ import annotations

from stream.capture.policy.stall import Stall

MS = 1_000_000


def test_a_time_without_frames_is_one_stall_and_the_next_another():
    stall = Stall(500 * MS, now_ns=0)
    assert not stall.begins(499 * MS)
    assert stall.begins(500 * MS)
    assert not stall.begins(501 * MS)
    assert not stall.begins(9_000 * MS)
    assert stall.text == "no frame for 500 ms"
    stall.on_frame(9_100 * MS)
    assert (stall.stalled, stall.text) == (False, "")
    assert not stall.begins(9_599 * MS)
    assert stall.begins(9_600 * MS)


def test_frames_in_time_are_no_stall():
    stall = Stall(500 * MS, now_ns=0)
    for now_ms in range(0, 5_000, 400):
        assert not stall.begins(now_ms * MS)
        stall.on_frame(now_ms * MS)


def test_a_camera_without_a_limit_never_stalls():
    stall = Stall(None, now_ns=0)
    assert not stall.begins(10**18)
    assert stall.text == ""


def test_frames_out_of_order_do_not_bring_a_stall_forward():
    stall = Stall(500 * MS, now_ns=0)
    stall.on_frame(1_000 * MS)
    stall.on_frame(400 * MS)
    assert not stall.begins(1_499 * MS)
