"""Pictures out of files and streams, by FFmpeg (PyAV); images that may be damaged are marked."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

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
#: Most pictures that a decoder holds back to bring them into the order in which they are shown (H.264, H.265).
_LONGEST_REORDERING = 16
#: Beginnings of the names of decoders of streams with pictures that are only drawn on; and the size of the packets by
#: which MPEG-4 only keeps its beat, bytes.
_WITH_INVISIBLE = ("vp8", "vp9", "libvpx", "av1", "libdav1d", "libaom")
_PLACEHOLDER_BYTES = 19
_BUILDS_ON_A_DAMAGED_ONE = "the picture builds on a damaged one; the next key frame mends it"


class _Place:
    """The place of a packet in the stream. An object of its own, since PyAV knows what it attaches by its identity."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class _Outcome(NamedTuple):
    """What became of a packet: a picture, or why there is none; a picture may carry `why` too, being damaged."""

    frame: VideoFrame | None
    why: str | None


class Decoder:
    """The decoder of one video stream, in the caller's thread alone.

    Pictures between key frames are drawn on others, and FFmpeg patches up a damaged one and draws the next on it
    without a word. So none is trusted that is decoded after a damaged one, up to the next key frame; nor those that are
    shown before that key frame, since they build on both sides. With B-frames pictures are shown in another order than
    they are decoded in: they wait until all that were decoded before them are known.
    """

    def __init__(self, stream: VideoStream, *, lossy: bool = False) -> None:
        """Decode what comes over a way that may lose whole pictures (`lossy`), or none."""
        # FFmpeg's default of one thread for each core holds back as many frames as there are cores.
        stream.codec_context.thread_count = 1
        stream.codec_context.copy_opaque = True  # so that a picture names its packet
        self._codec = stream.codec_context
        self._lossy = lossy
        self._last_pts: int | None = None
        self._interval: int | None = None
        #: Packets so far; the first whose outcome is not known; the outcomes known beyond it.
        self._fed = self._next = 0
        self._outcomes: dict[int, _Outcome] = {}
        #: Time stamps of the packets whose pictures are to come.
        self._pending: dict[int, int | None] = {}
        self._stamped = False
        self._latest_pts = -(2**63)
        self._after_a_gap: set[int] = set()
        self._corrupt: set[int] = set()
        #: Packets in the order of their pictures, and the pictures or faults of those that are known.
        self._order: deque[int] = deque()
        self._known: dict[int, VideoFrame | FrameFault] = {}
        #: (time stamp, packet) of lost pictures whose place in the order has not come.
        self._lost: list[tuple[int | None, int]] = []
        #: The last packets that cannot be decoded or were given up without a picture: their fault stands for it.
        self._faulty: deque[int] = deque(maxlen=4 * _LONGEST_REORDERING)
        #: Packets that may show nothing although they are sound.
        self._invisible: set[int] = set()
        self._interlaced = False
        self._extra = 0
        self._damaged = self._damaged_before_key = False
        self._key_pts: int | None = None

    def decode(self, packet: Packet[VideoStream]) -> list[VideoFrame | FrameFault]:
        """Return the pictures that a packet completes, in the order in which they are shown.

        A FrameFault stands for one that must not be judged. The packet at the end of a file, which is empty, returns
        all that are left.
        """
        import av

        if packet.size == 0:
            return self.finish()
        number, self._fed = self._fed, self._fed + 1
        packet.opaque = _Place(number)
        self._pending[number] = packet.pts
        if packet.pts is not None:
            # Some files (AVI) give stamps in the order of decoding, which say nothing about that of showing.
            self._stamped |= not self._codec.has_b_frames or packet.pts < self._latest_pts
            self._latest_pts = max(self._latest_pts, packet.pts)
        if self._lossy and self._lost_before(packet):
            self._after_a_gap.add(number)
        if packet.is_corrupt:
            self._corrupt.add(number)
        if self._codec.name.startswith(_WITH_INVISIBLE) or packet.size <= _PLACEHOLDER_BYTES:
            self._invisible.add(number)
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            frames = []
            self._pending.pop(number)
            self._outcomes[number] = _Outcome(None, f"the picture cannot be decoded: {error.strerror}")
            self._lost.append((packet.pts, number))
            self._faulty.append(number)
        return self._returned(frames, number)

    def finish(self) -> list[VideoFrame | FrameFault]:
        """Return the pictures that are left; the decoder is of no use afterwards."""
        import av

        try:
            frames = self._codec.decode(None)
        except av.FFmpegError:
            frames = []
        return self._returned(frames, self._fed, end=True)

    def _returned(self, frames: list[VideoFrame], number: int, *, end: bool = False) -> list[VideoFrame | FrameFault]:
        for frame in frames:
            self._take(frame, number)
        waiting = _LONGEST_REORDERING if self._codec.has_b_frames and not end else 0
        while len(self._lost) > waiting:
            self._order.append(self._lost.pop(0)[1])
        while self._next < self._fed:
            if self._next not in self._outcomes and self._next >= self._fed - waiting:
                break
            self._pass(self._next)
            self._next += 1
        found = []
        while self._order and self._order[0] in self._known:
            found.append(self._known.pop(self._order.popleft()))
        return found

    def _take(self, frame: VideoFrame, number: int) -> None:
        """Note a picture of the decoder's; `number` for a decoder that does not say which packet's it is."""
        place = frame.opaque
        owner = place.number if isinstance(place, _Place) else number
        self._show_lost_before(frame.pts, owner)
        why = "the picture arrived damaged" if frame.is_corrupt or owner in self._corrupt else None
        self._interlaced |= bool(frame.interlaced_frame)
        if owner in self._faulty:
            self._faulty.remove(owner)
        elif owner < self._next or owner in self._outcomes:  # a packet's second picture
            if self._damaged:  # FFmpeg shows the last one again in place of one that is lost
                return
            self._extra -= 1  # a number of its own, since every picture is returned once
            self._order.append(self._extra)
            self._known[self._extra] = self._judged(_Outcome(frame, why))
        else:
            self._pending.pop(owner, None)
            self._outcomes[owner] = _Outcome(frame, why)
            self._order.append(owner)

    def _show_lost_before(self, pts: int | None, owner: int) -> None:
        """Put lost pictures in their places before one that is shown; also those that should have been shown by now."""
        if not self._stamped:
            pts = None
        if pts is not None:
            for number, stamp in list(self._pending.items()):
                if number != owner and stamp is not None and stamp < pts:
                    del self._pending[number]
                    if number not in self._invisible and not self._interlaced:
                        self._outcomes[number] = _Outcome(None, "the picture is missing")
                        self._lost.append((stamp, number))
                        self._faulty.append(number)
        due = [each for each in self._lost if each[0] is None or pts is None or each[0] < pts]
        for each in sorted(due, key=lambda each: (each[0] is not None, each)):
            self._lost.remove(each)
            self._order.append(each[1])

    def _pass(self, number: int) -> None:
        """Judge the outcome of a packet; called for each in turn."""
        if number in self._after_a_gap:
            self._after_a_gap.discard(number)
            self._damaged = True
        self._corrupt.discard(number)
        self._pending.pop(number, None)
        outcome = self._outcomes.pop(number, None)
        invisible = number in self._invisible or self._interlaced  # a field comes alone, or both together
        self._invisible.discard(number)
        if outcome is not None:
            self._known[number] = self._judged(outcome)
        elif self._damaged or not invisible:  # FFmpeg keeps some of the damaged ones to itself
            self._known[number] = _fault(_BUILDS_ON_A_DAMAGED_ONE if self._damaged else "the picture is missing")
            self._damaged = True
            self._order.appendleft(number)
            self._faulty.append(number)

    def _judged(self, outcome: _Outcome) -> VideoFrame | FrameFault:
        frame, why = outcome
        if frame is None or why is not None:
            self._damaged = True
            return _fault(why or _BUILDS_ON_A_DAMAGED_ONE)
        if frame.key_frame:
            self._damaged_before_key, self._damaged, self._key_pts = self._damaged, False, frame.pts
            return frame
        leading = self._key_pts is not None and frame.pts is not None and frame.pts < self._key_pts
        if self._damaged or (leading and self._damaged_before_key):
            return _fault(_BUILDS_ON_A_DAMAGED_ONE)
        return frame

    def _lost_before(self, packet: Packet[VideoStream]) -> bool:
        """Whether images are missing, by the time stamps: FFmpeg decodes on as if none were."""
        stamp = packet.dts if self._codec.has_b_frames and packet.dts is not None else packet.pts
        last, self._last_pts = self._last_pts, stamp
        if last is None or stamp is None or stamp <= last:
            return False
        step = stamp - last
        self._interval = step if self._interval is None else min(self._interval, step)
        return step > _JUMP * self._interval


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
