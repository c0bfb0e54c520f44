"""`kind: video`: a recorded video, played back at its own speed or another."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from stream.errors import SourceError
from stream.options import ConfigPath, PositiveHz
from stream.sources.camera import CameraOptions
from stream.sources.frame import Frame, Source, Start
from stream.sources.pace import tick_ns, wait_until

if TYPE_CHECKING:
    import cv2

#: For files that do not say their frame rate.
FALLBACK_HZ = 25.0


class VideoOptions(CameraOptions):
    """A video file, each of whose frames is a frame of the camera."""

    kind: Literal["video"]
    path: ConfigPath  # the file; anything FFmpeg reads
    rate_hz: PositiveHz | None = None  # frames per second; None: as the file says, else 25
    loop: bool = False  # begin again after the last frame

    def open(self) -> Source:
        """Return the source; raises SourceError when the file is missing or cannot be decoded."""
        import cv2

        capture = _opened(self.path)
        try:
            decoded, _ = capture.read()
            file_hz = capture.get(cv2.CAP_PROP_FPS)
        finally:
            capture.release()
        if not decoded:
            raise SourceError(f"{self.path}: no frame in it can be decoded; is it a complete video file?")
        plausible = math.isfinite(file_hz) and 0 < file_hz <= 10_000
        return _VideoSource(self.path, self.rate_hz or (file_hz if plausible else FALLBACK_HZ), loop=self.loop)


class _VideoSource:
    stall_ns = None
    reconnects = 0

    def __init__(self, path: Path, rate_hz: float, *, loop: bool) -> None:
        self._path = path
        self._rate_hz = rate_hz
        self._loop = loop

    @property
    def fault(self) -> str | None:
        """None: a file is always well, and its end is the end of the source."""
        return None

    def frames(self, start: Start, stop: threading.Event) -> Iterator[Frame]:
        """Yield frame after frame at the rate, beginning with the first that has not been done."""
        begin_ns = time.monotonic_ns()
        skip = start.frames_done
        tick = 0
        while True:
            capture = _opened(self._path)
            try:
                skipped = 0
                while skipped < skip and not stop.is_set() and capture.grab():
                    skipped += 1
                # A run that went round: once the file's length is known, whole passes need no decoding.
                skip = skip % skipped if 0 < skipped < skip else skip - skipped
                played = 0
                while True:
                    # Decoded before its moment: the frame's deadline does not pay for the codec.
                    decoded, image = capture.read()
                    if not decoded:
                        break
                    if not wait_until(tick_ns(begin_ns, tick, self._rate_hz), stop):
                        return
                    yield Frame(np.asarray(image, dtype=np.uint8), time.monotonic_ns())
                    tick += 1
                    played += 1
            finally:
                capture.release()
            if not self._loop or stop.is_set() or skipped + played == 0:
                return


def _opened(path: Path) -> cv2.VideoCapture:
    import cv2

    if not path.is_file():
        raise SourceError(f"{path}: no such video file")
    # One decoding thread: FFmpeg's default holds back as many frames as there are cores.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise SourceError(f"{path}: not a video that FFmpeg can decode")
    return capture
