"""A line is ready when every camera has every worker and the sink has all of them; once ready, it stays so."""

from __future__ import annotations

from stream.sink.policy.line_start import LineStart


def line() -> LineStart:
    return LineStart(["top", "side"], ["worker0", "worker1"])


def ready() -> LineStart:
    start = line()
    for worker in ("worker0", "worker1"):
        start.worker_reported(worker)
    for camera in ("top", "side"):
        start.camera_reported(camera, "waiting", ())
    return start


def test_nobody_is_told_while_anybody_is_missing_and_the_missing_ones_are_named():
    start = line()
    assert start.missing == ("camera top", "camera side", "worker worker0", "worker worker1")
    start.camera_reported("top", "waiting", ("worker1",))
    start.worker_reported("worker0")
    start.worker_reported("worker1")
    assert start.missing == ("camera side", "worker worker1")
    assert start.waiting == ()
    start.camera_reported("side", "waiting", ())
    assert start.missing == ("worker worker1",), "it is not connected to the first camera yet"
    assert start.waiting == ()
    start.camera_reported("top", "waiting", ())
    assert start.missing == ()
    assert start.waiting == ("top", "side")


def test_only_those_that_wait_are_told():
    start = ready()
    start.camera_reported("top", "begun", ())
    assert start.waiting == ("side",)
    start.camera_reported("side", "begun", ())
    assert start.waiting == ()


def test_a_line_that_was_ready_stays_ready_for_a_camera_that_comes_back_without_a_worker():
    start = ready()
    assert start.waiting == ("top", "side")
    start.camera_reported("side", "waiting", ("worker0", "worker1"))
    assert "side" in start.waiting


def test_a_later_sink_learns_from_a_camera_that_the_line_was_ready():
    start = line()
    start.camera_reported("top", "begun", ())
    start.camera_reported("side", "waiting", ("worker0",))
    assert start.waiting == ("side",)
    assert start.fault("top") is None


def test_a_camera_that_has_ended_is_not_waited_for():
    start = line()
    for worker in ("worker0", "worker1"):
        start.worker_reported(worker)
    start.camera_ended("side")
    start.camera_reported("top", "waiting", ())
    assert start.waiting == ("top",)


def test_a_camera_that_began_alone_is_a_fault_until_the_line_is_ready():
    start = line()
    assert start.fault("top") is None
    start.camera_reported("top", "alone", ())
    start.worker_reported("worker0")
    text = start.fault("top")
    assert text is not None
    assert "camera side, worker worker1" in text
    assert "UNINSPECTED" in text
    assert start.fault("side") is None
    start.worker_reported("worker1")
    start.camera_reported("side", "waiting", ())
    assert start.fault("top") is None
    assert start.waiting == ("side",)
