"""`kind: opencv`: a camera that OpenCV reads: USB and other V4L2 devices, network streams, pipelines."""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from stream.errors import FrameFault, SourceError
from stream.messages import Cause
from stream.options import PositiveHz, PositiveMs, PositiveS
from stream.sources.camera import CameraOptions
from stream.sources.frame import Frame, Source, Start
from stream.triggers import TriggerOptions

if TYPE_CHECKING:
    import cv2

Pixels = Annotated[int, Field(ge=1)]


class OpenCvOptions(CameraOptions):
    """A free-running camera behind OpenCV."""

    kind: Literal["opencv"]
    device: Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)]  # index, path, URL or pipeline
    width: Pixels | None = None  # px to ask of the camera; it may answer with another size
    height: Pixels | None = None
    fps: PositiveHz | None = None  # frames per second to ask for
    open_timeout_ms: PositiveMs = 3000.0  # for network streams
    read_timeout_ms: PositiveMs = 1000.0  # silence that counts as a failure; whole seconds for V4L2
    reconnect_s: PositiveS = 1.0  # pause before each attempt to open a failed camera again
    trigger: TriggerOptions | None = None  # says when a part is there; None: every frame is one

    def open(self) -> Source:
        """Return the opened camera; raises SourceError when it does not open at the first attempt."""
        capture = _connect(self)
        if capture is None:
            raise SourceError(_not_there(self))
        return _OpenCvSource(self, capture)


class _OpenCvSource:
    stall_ns = None
    reconnects = 0

    def __init__(self, options: OpenCvOptions, capture: cv2.VideoCapture) -> None:
        self._options = options
        self._capture: cv2.VideoCapture | None = capture
        self._fault: str | None = None

    @property
    def fault(self) -> str | None:
        """What is wrong with the camera at present, or None while it delivers."""
        return self._fault

    def frames(self, start: Start, stop: threading.Event) -> Iterator[Frame]:  # noqa: ARG002
        """Yield frames as the camera delivers them, opening it again for as long as it takes.

        A free-running camera has no memory: what it saw while it was away was never a frame.
        """
        device = _shown(self._options.device)
        try:
            while not stop.is_set():
                if self._capture is None:
                    if stop.wait(self._options.reconnect_s):
                        return
                    self._capture = _connect(self._options)
                    if self._capture is None:
                        self._fault = f"{device}: does not open, trying again"
                        continue
                if not self._capture.grab():
                    # It stays "opened" and never recovers: only a new object does.
                    self._fault = f"{device}: delivers no frames, opening it again"
                    self._close()
                    continue
                captured_ns = time.monotonic_ns()
                frame = _frame(_retrieved(self._capture), captured_ns)
                self._fault = None
                yield frame
        finally:
            self._close()

    def _close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _connect(options: OpenCvOptions) -> cv2.VideoCapture | None:
    """Open the camera, or return None."""
    import cv2

    device = options.device
    if isinstance(device, int) or device.startswith("/dev/"):
        # V4L2 knows no timeout property; OpenCV reads this once, at the first wait (default 10 s).
        wait_s = math.ceil(options.read_timeout_ms / 1000)
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(wait_s))
        capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
    elif " ! " in device:
        capture = cv2.VideoCapture(device, cv2.CAP_GSTREAMER)
    else:
        parameters = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, math.ceil(options.open_timeout_ms)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, math.ceil(options.read_timeout_ms)),
            # Every decoding thread holds back one more frame: 8 of them cost 0.25 s at 30 fps.
            *(cv2.CAP_PROP_N_THREADS, 1),
        ]
        capture = cv2.VideoCapture(device, cv2.CAP_FFMPEG, parameters)
    if not capture.isOpened():
        capture.release()
        return None
    wishes = (
        (cv2.CAP_PROP_FRAME_WIDTH, options.width),
        (cv2.CAP_PROP_FRAME_HEIGHT, options.height),
        (cv2.CAP_PROP_FPS, options.fps),
    )
    for wish, value in wishes:
        if value is not None:
            capture.set(wish, value)
    return capture


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
    if channels == 1:
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    return Frame(np.ascontiguousarray(pixels[:, :, :3]), captured_ns)


def _not_there(options: OpenCvOptions) -> str:
    if isinstance(options.device, int):
        present = sorted(str(path) for path in Path("/dev").glob("video*"))
        found = f"this host has {', '.join(present)}" if present else "this host has no /dev/video*"
        return f"camera {options.device} does not open; {found}; is it in use or not permitted?"
    return f"{_shown(options.device)} does not open; check that the address is right and the camera is on"


def _shown(device: int | str) -> str:
    """Name the device for people, without the password that a URL may hold."""
    return re.sub(r"://[^/@\s]*@", "://", str(device)) if isinstance(device, str) else f"camera {device}"
