"""`kind: video`: a recorded video, played back at its own speed or another."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stream.core.errors import CameraError, FrameFault
from stream.core.options import ConfigPath, PositiveHz
from stream.devices.cameras.camera import BeforeReady, Camera, CommonCameraOptions, Frame, Start
from stream.devices.cameras.decoding import Decoder, bgr, video_stream
from stream.devices.cameras.ticks import tick_ns, wait_until
from stream.devices.triggers import TriggerOptions

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

log = logging.getLogger(__name__)

#: Frame rate of files without one, Hz.
FALLBACK_HZ = 25.0


class VideoCameraOptions(CommonCameraOptions):
    """A video file, each of whose frames is a frame of the camera."""

    kind: Literal["video"]
    path: ConfigPath  # the file; anything FFmpeg reads
    rate_hz: PositiveHz | None = None  # frames per second; None: that of the file, else 25
    loop: bool = False  # begin again after the last frame
    trigger: TriggerOptions | None = None  # event for each part; None: every frame is a part

    def open(self) -> Camera:
        """Return the camera; raises CameraError when the file is missing or cannot be decoded."""
        with _opened(self.path) as (container, stream):
            if all(isinstance(picture, FrameFault) for picture in _pictures(self.path, container, stream)):
                raise CameraError(f"{self.path}: no frame in it can be decoded; is it a complete video file?")
            file_hz = float(stream.average_rate or 0)
        return _VideoCamera(
            self.path, self.rate_hz or (file_hz if 0 < file_hz <= 10_000 else FALLBACK_HZ), loop=self.loop
        )


class _VideoCamera:
    before_ready: BeforeReady = "held"
    stall_ns = None
    reconnects = 0
    frozen_frames = None

    def __init__(self, path: Path, rate_hz: float, *, loop: bool) -> None:
        self._path = path
        self._rate_hz = rate_hz
        self._loop = loop

    @property
    def fault(self) -> str | None:
        """None: a file is always well, and its end is the end of the camera."""
        return None

    def frames(self, start: Start, stop: threading.Event) -> Iterator[Frame]:
        """Yield frame after frame at the rate, beginning with the first that has not been done."""
        begin_ns = time.monotonic_ns()
        skip = start.frames_done
        tick = 0
        while True:
            skipped = played = 0
            with _opened(self._path) as (container, stream):
                for picture in _pictures(self._path, container, stream):
                    if skipped < skip:
                        skipped += 1
                        if stop.is_set():
                            return
                        continue
                    # Decoded before its moment: the frame's deadline does not pay for the codec.
                    image, fault = (None, picture) if isinstance(picture, FrameFault) else (bgr(picture), None)
                    if not wait_until(tick_ns(begin_ns, tick, self._rate_hz), stop):
                        return
                    yield Frame(image, time.monotonic_ns(), fault=fault)
                    tick += 1
                    played += 1
            # A run that went round: once the file's length is known, whole passes need no decoding.
            skip = skip % skipped if 0 < skipped < skip else skip - skipped
            if not self._loop or stop.is_set() or skipped + played == 0:
                return


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open the file for one pass; raises CameraError."""
    import av

    if not path.is_file():
        raise CameraError(f"{path}: no such video file")
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise CameraError(f"{path}: not a video that FFmpeg can decode: {error.strerror}") from None
    with container:
        stream = video_stream(container)
        if stream is None:
            raise CameraError(f"{path}: no pictures in it, only other streams")
        yield container, stream


def _pictures(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame | FrameFault]:
    """Yield what can be decoded until the file ends, properly or not."""
    import av

    decoder = Decoder(stream)
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            log.warning("%s: it ends in the middle: %s", path, error.strerror)
            packet = None
        if packet is None:
            yield from decoder.finish()
            return
        yield from decoder.decode(packet)
