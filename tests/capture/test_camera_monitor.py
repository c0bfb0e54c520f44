from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from stream.capture.camera_monitor import CameraMonitor
from stream.core.errors import FrameFault
from stream.core.verdict import Cause
from stream.devices.cameras.camera import Frame, Start

MS = 1_000_000
IMAGE = np.zeros((48, 64, 3), np.uint8)


class QuietCamera:
    """A camera whose frames come from the test."""

    stall_ns: int | None = 500 * MS
    frozen_frames: int | None = 2
    reconnects = 0
    fault: str | None = None

    def frames(self, start: Start, stop: threading.Event) -> Iterator[Frame]:  # noqa: ARG002
        yield from ()


@pytest.fixture
def camera() -> QuietCamera:
    return QuietCamera()


@pytest.fixture
def monitor(camera: QuietCamera) -> CameraMonitor:
    return CameraMonitor("top", camera, now_ns=0)


def test_a_stall_is_one_lost_frame_with_the_cameras_fault_and_lasts_until_the_next_frame(
    camera: QuietCamera, monitor: CameraMonitor
):
    camera.fault = "RTSP: connection refused"
    assert monitor.lost_frame(499 * MS) is None
    lost = monitor.lost_frame(500 * MS)
    assert lost is not None
    assert (lost.image, lost.captured_ns) == (None, 500 * MS)
    assert lost.fault is not None
    assert (lost.fault.cause, lost.fault.detail) == (
        Cause.CAMERA_FAULT,
        "no frame for 500 ms; RTSP: connection refused",
    )
    assert monitor.lost_frame(900 * MS) is None, "once for each stall"
    status = monitor.status(3, 900 * MS)
    assert (status.up, status.detail) == (False, "no frame for 500 ms; RTSP: connection refused")
    camera.fault = None
    monitor.check_frame(Frame(IMAGE, 950 * MS), 950 * MS)
    status = monitor.status(3, 951 * MS)
    assert (status.up, status.detail, status.first_seq, status.last_frame_ns) == (True, "", 3, 950 * MS)


def test_the_frame_of_a_frozen_camera_loses_its_image_and_keeps_time_and_part_id(monitor: CameraMonitor):
    first = Frame(IMAGE.copy(), 1, "A")
    assert monitor.check_frame(first, 2) is first
    frozen = monitor.check_frame(Frame(IMAGE.copy(), 3, "B"), 4)
    assert (frozen.image, frozen.captured_ns, frozen.part_id) == (None, 3, "B")
    assert frozen.fault is not None
    assert frozen.fault.cause is Cause.BAD_FRAME
    assert monitor.status(0, 5).detail == frozen.fault.detail


def test_a_frame_without_an_image_is_passed_on_and_keeps_the_last_image(monitor: CameraMonitor):
    assert monitor.last_image is None
    monitor.check_frame(Frame(IMAGE, 1), 1)
    faulty = Frame(None, 2, fault=FrameFault(Cause.BAD_FRAME, "damaged"))
    assert monitor.check_frame(faulty, 2) is faulty
    assert monitor.last_image is IMAGE
