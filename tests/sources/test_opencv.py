from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stream.errors import SourceError
from stream.messages import Cause
from stream.sources.frame import Source, Start
from stream.sources.opencv import OpenCvOptions

FRAMES = 3


def film(path: Path) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (64, 48))
    assert writer.isOpened()
    for _ in range(FRAMES):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    return path


class Pauses(threading.Event):
    """A stop signal that takes no time to wait for and notes the source's fault at every pause."""

    def __init__(self, source: Source, then: Callable[[int], object] | None = None) -> None:
        super().__init__()
        self.faults: list[str | None] = []
        self.lengths_s: list[float | None] = []
        self._source = source
        self._then = then

    def wait(self, timeout: float | None = None) -> bool:
        self.faults.append(self._source.fault)
        self.lengths_s.append(timeout)
        if self._then is not None:
            self._then(len(self.faults))
        return self.is_set()


def test_an_opencv_camera_that_stops_reports_a_fault_and_comes_back(tmp_path: Path) -> None:
    # A file that ends is, to OpenCV, a camera that stops: read() fails and never recovers.
    source = OpenCvOptions(kind="opencv", device=str(film(tmp_path / "a.avi")), reconnect_s=2.5).open()
    stop = Pauses(source)
    for frame in itertools.islice(source.frames(Start(0, 0), stop), 2 * FRAMES + 1):
        assert frame.image is not None
        assert frame.image.shape == (48, 64, 3)
        assert source.fault is None
    assert stop.lengths_s == [2.5, 2.5]
    assert all(fault is not None and "delivers no frames" in fault for fault in stop.faults)


def test_a_camera_that_is_away_is_tried_again_until_it_is_back(tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi")
    source = OpenCvOptions(kind="opencv", device=str(path)).open()
    content = path.read_bytes()
    path.unlink()

    def come_back(pause: int) -> None:
        if pause == 3:
            path.write_bytes(content)

    stop = Pauses(source, come_back)
    frames = list(itertools.islice(source.frames(Start(0, 0), stop), FRAMES + 1))
    assert all(frame.image is not None for frame in frames)
    assert ["does not open" in str(fault) for fault in stop.faults] == [False, True, True]
    assert source.fault is None


def test_stop_ends_the_source_while_the_camera_is_away(tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi")
    source = OpenCvOptions(kind="opencv", device=str(path)).open()
    path.unlink()

    stop = Pauses(source, lambda pause: stop.set() if pause == 4 else None)
    assert len(list(source.frames(Start(0, 0), stop))) == FRAMES
    assert len(stop.faults) == 4
    assert source.fault is not None


def test_a_frame_is_stamped_when_it_is_grabbed(tmp_path: Path) -> None:
    source = OpenCvOptions(kind="opencv", device=str(film(tmp_path / "a.avi"))).open()
    before_ns = time.monotonic_ns()
    frame = next(source.frames(Start(0, 0), threading.Event()))
    assert before_ns < frame.captured_ns < time.monotonic_ns()


def test_a_camera_that_does_not_open_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.avi does not open; .*") as refusal:
        OpenCvOptions(kind="opencv", device=str(tmp_path / "none.avi")).open()
    assert "\n" not in str(refusal.value)


def test_a_missing_camera_index_says_which_cameras_there_are() -> None:
    with pytest.raises(SourceError, match=r"camera 63 does not open; this host has .*/dev/video"):
        OpenCvOptions(kind="opencv", device=63).open()


def test_the_password_of_a_camera_stays_out_of_the_error() -> None:
    options = OpenCvOptions(kind="opencv", device="rtsp://user:secret@127.0.0.1:1/s", open_timeout_ms=500)
    with pytest.raises(SourceError, match=r"rtsp://127\.0\.0\.1:1/s does not open") as refusal:
        options.open()
    assert "secret" not in str(refusal.value)


@pytest.fixture
def deliver(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Source]:
    """Return a function that opens a source behind which OpenCV decodes every frame to the given array."""

    def opened(image: Any) -> Source:
        class Camera:
            def __init__(self, *_: Any) -> None: ...
            def isOpened(self) -> bool:  # noqa: N802
                return True

            def grab(self) -> bool:
                return True

            def retrieve(self) -> tuple[bool, Any]:
                return image is not None, image

            def release(self) -> None: ...

        monkeypatch.setattr(cv2, "VideoCapture", Camera)
        return OpenCvOptions(kind="opencv", device=0).open()

    return opened


@pytest.mark.parametrize(
    "image",
    [
        np.full((4, 6), 7, np.uint8),
        np.full((4, 6, 1), 7, np.uint8),
        np.full((4, 6, 3), 7, np.uint8),
        np.dstack([np.full((4, 6, 3), 7, np.uint8), np.full((4, 6), 255, np.uint8)]),
        np.full((4, 6), 7 * 256 + 200, np.uint16),
    ],
    ids=["gray", "one-channel", "bgr", "bgra", "16-bit"],
)
def test_every_layout_becomes_three_channels_of_eight_bits(deliver: Callable[[Any], Source], image: np.ndarray) -> None:
    frame = next(deliver(image).frames(Start(0, 0), threading.Event()))
    assert frame.image is not None
    assert frame.image.dtype == np.uint8
    np.testing.assert_array_equal(frame.image, np.full((4, 6, 3), 7, np.uint8))


@pytest.mark.parametrize("image", [None, np.zeros((4, 6, 2), np.uint8), np.zeros((4, 6), np.float32)])
def test_a_grabbed_frame_that_is_no_picture_is_a_bad_frame(
    deliver: Callable[[Any], Source], image: np.ndarray | None
) -> None:
    frame = next(deliver(image).frames(Start(0, 0), threading.Event()))
    assert frame.image is None
    assert frame.fault is not None
    assert frame.fault.cause is Cause.BAD_FRAME
