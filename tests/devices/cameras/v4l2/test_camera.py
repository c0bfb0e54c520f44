from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from stream.core.errors import CameraError
from stream.core.verdict import Cause
from stream.devices.cameras.camera import Start
from stream.devices.cameras.reconnecting import Reconnect
from stream.devices.cameras.v4l2.camera import V4l2CameraOptions, stamp_ns

MJPG = cv2.VideoWriter.fourcc(*"MJPG")
PICTURE = np.full((4, 6, 3), 7, np.uint8)
NOW_NS = 50_000_000_000


class Device:
    """A V4L2 device as OpenCV shows it: it can 640x480 in MJPG at 30/s, and delivers `pictures`."""

    pictures: ClassVar[Iterator[Any]]
    opened: ClassVar[list[Any]]
    open_devices = 0

    def __init__(self, device: int | str, backend: int) -> None:
        assert backend == cv2.CAP_V4L2
        Device.opened.append(device)
        Device.open_devices += 1
        self.settings: dict[int, float] = {
            cv2.CAP_PROP_FOURCC: MJPG,
            cv2.CAP_PROP_FRAME_WIDTH: 640,
            cv2.CAP_PROP_FRAME_HEIGHT: 480,
            cv2.CAP_PROP_FPS: 30,
        }
        self.picture: Any = None

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, name: int, value: float) -> bool:
        if name in (cv2.CAP_PROP_EXPOSURE, cv2.CAP_PROP_AUTO_EXPOSURE):
            self.settings[name] = value
        return True

    def get(self, name: int) -> float:
        return self.settings.get(name, 0)

    def grab(self) -> bool:
        self.picture = next(Device.pictures)
        return self.picture != "unplugged" if isinstance(self.picture, str) else True

    def retrieve(self) -> tuple[bool, Any]:
        return self.picture is not None, self.picture

    def release(self) -> None:
        Device.open_devices -= 1


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> type[Device]:
    monkeypatch.setattr(cv2, "VideoCapture", Device)
    monkeypatch.setenv("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "10")
    monkeypatch.setattr(Device, "pictures", itertools.repeat(PICTURE), raising=False)
    monkeypatch.setattr(Device, "opened", [], raising=False)
    monkeypatch.setattr(Device, "open_devices", 0)
    return Device


def test_a_camera_is_set_before_it_is_used(device: type[Device], caplog: pytest.LogCaptureFixture):
    options = V4l2CameraOptions(
        kind="v4l2", device="/dev/video4", pixel_format="MJPG", width=640, height=480, fps=30, exposure_ms=4
    )
    frame = next(options.open().frames(Start(0, 0), threading.Event()))
    assert frame.image is not None
    assert device.opened == ["/dev/video4"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_camera_that_answers_with_another_size_is_refused_and_given_back(device: type[Device]):
    with pytest.raises(CameraError, match=r"^/dev/video0: it answers with .*: width is 640, not 800; .*v4l2-ctl"):
        V4l2CameraOptions(kind="v4l2", width=800).open()
    assert device.open_devices == 0


def test_a_camera_that_rounds_its_rate_is_used_with_a_warning(device: type[Device], caplog: pytest.LogCaptureFixture):
    assert V4l2CameraOptions(kind="v4l2", fps=60).open().fault is None
    assert "/dev/video0 answers with other settings: fps is 30, not 60" in caplog.text


def test_a_camera_that_is_unplugged_is_opened_again(device: type[Device], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Device, "pictures", iter([PICTURE, PICTURE, "unplugged", PICTURE]))
    source = V4l2CameraOptions(kind="v4l2", reconnect=Reconnect(first_s=0.001)).open()
    frames = list(itertools.islice(source.frames(Start(0, 0), threading.Event()), 3))
    assert all(frame.image is not None for frame in frames)
    assert source.reconnects == 1


def test_a_missing_camera_says_which_there_are():
    with pytest.raises(CameraError, match=r"^/dev/video63: does not open; this host has .*/dev/video.*permitted\?$"):
        V4l2CameraOptions(kind="v4l2", device=63).open()


@pytest.mark.parametrize(
    "wrong", [{"pixel_format": "MJPEG"}, {"device": "rtsp://a/b"}, {"device": -1}, {"frozen_frames": 1}]
)
def test_impossible_options_are_refused(wrong: dict[str, Any]):
    with pytest.raises(ValidationError):
        V4l2CameraOptions.model_validate({"kind": "v4l2", **wrong})


@pytest.mark.parametrize(
    ("position_ms", "stamp"),
    [(49_990.0, 49_990_000_000), (0.0, NOW_NS), (50_001.0, NOW_NS), (1.7e12, NOW_NS), (-1.0, NOW_NS)],
    ids=["kernel's", "none", "in the future", "real time", "error"],
)
def test_a_frame_is_stamped_by_the_kernel_where_that_can_be_right(position_ms: float, stamp: int):
    assert stamp_ns(position_ms, NOW_NS) == stamp


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
def test_every_layout_becomes_grey_or_three_channels_of_eight_bits(
    device: type[Device], monkeypatch: pytest.MonkeyPatch, image: np.ndarray
):
    monkeypatch.setattr(Device, "pictures", iter([image]))
    frame = next(V4l2CameraOptions(kind="v4l2").open().frames(Start(0, 0), threading.Event()))
    assert frame.image is not None
    assert frame.image.dtype == np.uint8
    np.testing.assert_array_equal(frame.image, PICTURE if image.ndim == 3 and image.shape[2] > 1 else PICTURE[:, :, 0])


@pytest.mark.parametrize("image", [None, np.zeros((4, 6, 2), np.uint8), np.zeros((4, 6), np.float32)])
def test_a_grabbed_frame_that_is_no_picture_is_a_bad_frame(
    device: type[Device], monkeypatch: pytest.MonkeyPatch, image: np.ndarray | None
):
    monkeypatch.setattr(Device, "pictures", iter([image]))
    frame = next(V4l2CameraOptions(kind="v4l2").open().frames(Start(0, 0), threading.Event()))
    assert frame.image is None
    assert frame.fault is not None
    assert frame.fault.cause is Cause.BAD_FRAME
