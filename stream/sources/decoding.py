"""Pictures out of files and streams, by FFmpeg (PyAV); pictures that cannot be trusted are told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stream.errors import FrameFault
from stream.messages import Cause

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_BUILDS_ON_A_DAMAGED_ONE = "the picture builds on a damaged one; the next key frame mends it"


class Decoder:
    """The decoder of one video stream, in the caller's thread alone."""

    def __init__(self, stream: VideoStream) -> None:
        # FFmpeg's default of one thread for each core holds back as many frames as there are cores.
        stream.codec_context.thread_count = 1
        self._damaged = False
        #: How many pictures were damaged or followed a damaged one.
        self.faults = 0

    def decode(self, packet: Packet[VideoStream]) -> list[VideoFrame | FrameFault]:
        """Return the pictures that a packet completes, in order; a FrameFault for one that must not be judged.

        Pictures between key frames are drawn on the ones before them. FFmpeg patches up a damaged one and
        draws the next on it without a word, so none is trusted from there to the next key frame.
        """
        import av

        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            self._damaged = True
            return [self._fault(f"the picture cannot be decoded: {error.strerror}")]
        if self._damaged and not frames and packet.size > 0:
            return [self._fault(_BUILDS_ON_A_DAMAGED_ONE)]  # FFmpeg keeps some of them to itself
        return [self._trusted(frame, damaged=frame.is_corrupt or packet.is_corrupt) for frame in frames]

    def _trusted(self, frame: VideoFrame, *, damaged: bool) -> VideoFrame | FrameFault:
        if damaged:
            self._damaged = True
            return self._fault("the picture arrived damaged")
        if self._damaged and not frame.key_frame:
            return self._fault(_BUILDS_ON_A_DAMAGED_ONE)
        self._damaged = False
        return frame

    def _fault(self, why: str) -> FrameFault:
        self.faults += 1
        return FrameFault(Cause.BAD_FRAME, why)


def video_stream(container: InputContainer) -> VideoStream | None:
    """Return the first stream of pictures, or None when there is only sound or text."""
    return container.streams.video[0] if container.streams.video else None


def bgr(frame: VideoFrame) -> NDArray[np.uint8]:
    """Return the picture as (H, W, 3) uint8 BGR, upright if the file says how it was held; an array of its own."""
    image = frame.to_ndarray(format="bgr24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns) if turns else image, dtype=np.uint8)
