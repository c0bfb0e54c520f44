"""`kind: v4l2`: a USB camera, or another device that Linux shows as /dev/videoN."""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from stream.core.errors import FrameFault
from stream.core.options import PositiveHz, PositiveMs
from stream.core.verdict import Cause
from stream.devices.cameras.camera import Camera, Frame
from stream.devices.cameras.reconnecting import CameraLost, ReconnectingCamera, ReconnectingCameraOptions
from stream.devices.cameras.v4l2.settings import Settings, devices, offers, refused, rounded

if TYPE_CHECKING:
    import cv2

Pixels = Annotated[int, Field(ge=1)]

#: V4L2's values of "auto exposure" and its unit of exposure.
_MANUAL_EXPOSURE = 1
_EXPOSURE_UNIT_MS = 0.1
#: A kernel's time stamp further in the past is not one of the monotonic clock.
_OLDEST_NS = 10_000_000_000


class V4l2CameraOptions(ReconnectingCameraOptions):
    """A free-running camera of this host. What is not set stays as the device has it."""

    kind: Literal["v4l2"]
    device: Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^/dev/.+")] = 0  # N of /dev/videoN, or a path
    pixel_format: Annotated[str, Field(pattern=r"^[ -~]{4}$")] | None = None  # four characters: MJPG, YUYV, GREY
    width: Pixels | None = None  # px
    height: Pixels | None = None
    fps: PositiveHz | None = None
    exposure_ms: PositiveMs | None = None  # None: automatic, or as it was set

    def open(self) -> Camera:
        """Return the opened camera; raises CameraError when it does not open or refuses a setting."""
        return ReconnectingCamera(self.shown, self, lambda: _V4l2Connection(self))

    @property
    def shown(self) -> str:
        """The device as Linux names it."""
        return f"/dev/video{self.device}" if isinstance(self.device, int) else self.device

    @property
    def wishes(self) -> Settings:
        """What the camera is to be set to."""
        return Settings(self.pixel_format, self.width, self.height, self.fps, self.exposure_ms)


class _V4l2Connection:
    def __init__(self, options: V4l2CameraOptions) -> None:
        """Open and set the device; raises CameraLost."""
        import cv2

        # OpenCV reads this once, at its first wait (default 10 s); it takes whole seconds.
        os.environ["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"] = str(math.ceil(options.stall_ms / 1000))
        self._stall_ms = options.stall_ms
        self._capture = cv2.VideoCapture(options.device, cv2.CAP_V4L2)
        try:
            if not self._capture.isOpened():
                raise CameraLost(f"does not open; {devices()}; is it in use or not permitted?")
            wishes = options.wishes
            _set(self._capture, wishes)
            answer = _answer(self._capture)
            if problem := refused(wishes, answer):
                raise CameraLost(f"{problem}; {offers(options.shown)}")
            rounded(options.shown, wishes, answer)
        except BaseException:
            self._capture.release()
            raise

    def read(self) -> list[Frame]:
        """Return the next frame; raises CameraLost."""
        import cv2

        # It stays "opened" and never recovers: only a new object does.
        if not self._capture.grab():
            raise CameraLost(f"sent nothing for {self._stall_ms:.0f} ms or more, or was unplugged")
        captured_ns = stamp_ns(self._capture.get(cv2.CAP_PROP_POS_MSEC), time.monotonic_ns())
        return [_frame(_retrieved(self._capture), captured_ns)]

    def close(self) -> None:
        """Give the device back."""
        self._capture.release()


def stamp_ns(position_ms: float, grabbed_ns: int) -> int:
    """Return when a frame was taken, monotonic: the kernel's stamp of its buffer if that can be, else `grabbed_ns`."""
    kernel_ns = int(position_ms * 1e6)
    return kernel_ns if grabbed_ns - _OLDEST_NS <= kernel_ns <= grabbed_ns else grabbed_ns


def _set(capture: cv2.VideoCapture, wishes: Settings) -> None:
    """Ask for the settings; the format comes first, because sizes and rates depend on it."""
    import cv2

    if wishes.pixel_format is not None:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*wishes.pixel_format))
    if wishes.width is not None:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, wishes.width)
    if wishes.height is not None:
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, wishes.height)
    if wishes.fps is not None:
        capture.set(cv2.CAP_PROP_FPS, wishes.fps)
    if wishes.exposure_ms is not None:
        capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL_EXPOSURE)
        capture.set(cv2.CAP_PROP_EXPOSURE, max(1, round(wishes.exposure_ms / _EXPOSURE_UNIT_MS)))


def _answer(capture: cv2.VideoCapture) -> Settings:
    """Read back what the camera does."""
    import cv2

    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    return Settings(
        pixel_format=(code & 0xFFFFFFFF).to_bytes(4, "little").decode("latin-1"),
        width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        fps=capture.get(cv2.CAP_PROP_FPS),
        exposure_ms=capture.get(cv2.CAP_PROP_EXPOSURE) * _EXPOSURE_UNIT_MS,
    )


def _retrieved(capture: cv2.VideoCapture) -> object:
    """Decode the frame that was grabbed, or return None."""
    import cv2

    try:
        decoded, image = capture.retrieve()
    except cv2.error:
        return None
    return image if decoded else None


def _frame(image: object, captured_ns: int) -> Frame:
    """Make a frame of what OpenCV retrieved: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), 8 or 16 bits."""
    if not isinstance(image, np.ndarray) or image.size == 0:
        return Frame(None, captured_ns, fault=FrameFault(Cause.BAD_FRAME, "the frame cannot be decoded"))
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels not in (1, 3, 4) or image.dtype not in (np.uint8, np.uint16):
        what = f"{channels} channels of {image.dtype} are no picture"
        return Frame(None, captured_ns, fault=FrameFault(Cause.BAD_FRAME, what))
    pixels = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image
    pixels = pixels.reshape(pixels.shape[:2]) if channels == 1 else pixels[:, :, :3]
    return Frame(np.ascontiguousarray(pixels), captured_ns)
