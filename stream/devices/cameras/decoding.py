"""Pictures out of files and streams, by FFmpeg (PyAV); images that may be damaged are marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import FrameFault
from stream.core.verdict import Cause

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

#: Time stamps of a steady camera jitter less than this; where a picture is missing, they jump by twice the interval.
_JUMP = 1.7
_BUILDS_ON_A_DAMAGED_ONE = "the picture builds on a damaged one; the next key frame mends it"


class Decoder:
    """The decoder of one video stream, in the caller's thread alone."""

    def __init__(self, stream: VideoStream, *, lossy: bool = False) -> None:
        """Decode what comes over a way that may lose whole pictures (`lossy`), or none."""
        # FFmpeg's default of one thread for each core holds back as many frames as there are cores.
        stream.codec_context.thread_count = 1
        self._damaged = False
        self._lossy = lossy
        self._last_pts: int | None = None
        self._interval: int | None = None

    def decode(self, packet: Packet[VideoStream]) -> list[VideoFrame | FrameFault]:
        """Return the pictures that a packet completes, in order; a FrameFault for one that must not be judged.

        Pictures between key frames are drawn on the ones before them. FFmpeg patches up a damaged one and
        draws the next on it without a word, so none is trusted from there to the next key frame.
        """
        import av

        if self._lossy and self._lost_before(packet):
            self._damaged = True
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            self._damaged = True
            return [_fault(f"the picture cannot be decoded: {error.strerror}")]
        if self._damaged and not frames and packet.size > 0:
            return [_fault(_BUILDS_ON_A_DAMAGED_ONE)]  # FFmpeg keeps some of them to itself
        return [self._trusted(frame, damaged=frame.is_corrupt or packet.is_corrupt) for frame in frames]

    def _lost_before(self, packet: Packet[VideoStream]) -> bool:
        """Whether images are missing, by the time stamps: FFmpeg decodes on as if none were."""
        last, self._last_pts = self._last_pts, packet.pts
        if last is None or packet.pts is None or packet.pts <= last:
            return False
        step = packet.pts - last
        self._interval = step if self._interval is None else min(self._interval, step)
        return step > _JUMP * self._interval

    def _trusted(self, frame: VideoFrame, *, damaged: bool) -> VideoFrame | FrameFault:
        if damaged:
            self._damaged = True
            return _fault("the picture arrived damaged")
        if self._damaged and not frame.key_frame:
            return _fault(_BUILDS_ON_A_DAMAGED_ONE)
        self._damaged = False
        return frame


def _fault(why: str) -> FrameFault:
    return FrameFault(Cause.BAD_FRAME, why)


def video_stream(container: InputContainer) -> VideoStream | None:
    """Return the first stream of pictures, or None when there is only sound or text."""
    return container.streams.video[0] if container.streams.video else None


def bgr(frame: VideoFrame) -> NDArray[np.uint8]:
    """Return the picture as (H, W, 3) uint8 BGR, upright if the file has the orientation; a copy."""
    image = frame.to_ndarray(format="bgr24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns) if turns else image, dtype=np.uint8)
