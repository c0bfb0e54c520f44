"""What waits in a worker, and which of it makes the next batch."""

from __future__ import annotations

from typing import NamedTuple

from stream.transport.messages import FrameHeader


class QueuedFrame(NamedTuple):
    """One frame in a worker, its times on this host's clock.

    Attributes:
        header: as sent by capture.
        pixels: (H·W·3) bytes, RGB.
        view: JPEG for people, passed on untouched.
        deadline_ns: when the verdict is due.
        received_ns: when it came.
        group: key of the features it needs; frames of one group share a backbone pass.
    """

    header: FrameHeader
    pixels: bytes
    preview_jpeg: bytes
    deadline_ns: int
    received_ns: int
    group: str


class BatchQueue:
    """Frames by urgency. Pure: the clock is passed in."""

    def __init__(self, *, max_batch: int, max_wait_ns: int) -> None:
        """Bound the batches in size and the waiting for company in time."""
        self._max_batch = max_batch
        self._max_wait_ns = max_wait_ns
        self._frames: list[QueuedFrame] = []

    def __len__(self) -> int:
        return len(self._frames)

    def count(self, stations: set[str]) -> int:
        """Return how many frames of these stations wait."""
        return sum(frame.header.station in stations for frame in self._frames)

    def add(self, frame: QueuedFrame) -> QueuedFrame | None:
        """Take a frame in; returns the older free-running frame of its station that it replaces, if any."""
        displaced = None
        if frame.header.mode == "freerun":
            for waiting in self._frames:
                if waiting.header.station == frame.header.station:
                    displaced = waiting
                    self._frames.remove(waiting)
                    break
        self._frames.append(frame)
        return displaced

    def expire(self, now_ns: int, needed_ns: int = 0) -> list[QueuedFrame]:
        """Take out the frames whose verdict would come after their deadline: no compute is spent on them.

        Worked off in order, parts under overload would all be judged just too late; those given up
        leave their time to the parts behind them. The frame with the most time left is given up
        only when it is past its deadline, so that the time needed is always measured anew.

        Args:
            now_ns: the present moment.
            needed_ns: what a verdict is expected to take.
        """
        last = max((frame.deadline_ns for frame in self._frames), default=0)
        kept: list[QueuedFrame] = []
        expired: list[QueuedFrame] = []
        for frame in self._frames:
            hopeless = frame.deadline_ns <= now_ns + needed_ns and frame.deadline_ns < last
            (expired if hopeless or frame.deadline_ns <= now_ns else kept).append(frame)
        self._frames = kept
        return expired

    def wait_ns(self, now_ns: int) -> int | None:
        """Return how long to wait for more frames before a batch begins: 0 now, None while there is nothing."""
        group = self._group()
        if not group:
            return None
        if len(group) >= self._max_batch or all(self._complete(frame, group) for frame in group):
            return 0
        return max(0, min(frame.received_ns for frame in group) + self._max_wait_ns - now_ns)

    def take(self, now_ns: int) -> list[QueuedFrame]:
        """Take out the next batch, most urgent first: frames of one group; empty while it pays to wait."""
        if self.wait_ns(now_ns) != 0:
            return []
        batch = self._group()[: self._max_batch]
        taken = set(map(id, batch))
        self._frames = [frame for frame in self._frames if id(frame) not in taken]
        return batch

    def _group(self) -> list[QueuedFrame]:
        """Return the frames that share the most urgent one's backbone pass."""
        if not self._frames:
            return []
        ordered = sorted(self._frames, key=lambda frame: frame.deadline_ns)
        return [frame for frame in ordered if frame.group == ordered[0].group]

    def _complete(self, frame: QueuedFrame, group: list[QueuedFrame]) -> bool:
        """Whether every part cut from the same camera frame is here, so that waiting brings no company."""
        header = frame.header
        together = [other for other in group if other.header.seq == header.seq and other.header.epoch == header.epoch]
        return len(together) >= header.siblings
