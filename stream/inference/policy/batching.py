"""The frames that wait in a worker, and which of them form the next batch."""

from __future__ import annotations

from typing import NamedTuple

from stream.transport.messages import FrameHeader


class QueuedFrame(NamedTuple):
    """One frame in a worker, its times on this host's clock.

    Attributes:
        header: as sent by capture.
        pixels: network input, H·W·3 uint8 RGB.
        view: of its region, as the header says; passed on to the sink unchanged, or left out.
        deadline_ns: when the verdict is due.
        received_ns: when it arrived.
        group: key of the features it needs; frames of one group share a backbone pass.
    """

    header: FrameHeader
    pixels: bytes
    view: bytes
    deadline_ns: int
    received_ns: int
    group: str


class BatchQueue:
    """The waiting frames, taken in the order of their deadlines. Pure: the clock is passed in."""

    def __init__(self, *, max_batch: int, max_wait_ns: int) -> None:
        """Form batches of at most `max_batch` frames; a frame waits at most `max_wait_ns` for others."""
        self._max_batch = max_batch
        self._max_wait_ns = max_wait_ns
        self._frames: list[QueuedFrame] = []

    def __len__(self) -> int:
        return len(self._frames)

    def count(self, stations: set[str]) -> int:
        """Return the number of waiting frames of these stations."""
        return sum(frame.header.station in stations for frame in self._frames)

    def add(self, frame: QueuedFrame) -> QueuedFrame | None:
        """Queue a frame; returns the older free-running frame of its station that it replaces, if any."""
        replaced = None
        if frame.header.mode == "freerun":
            for waiting in self._frames:
                if waiting.header.station == frame.header.station:
                    replaced = waiting
                    self._frames.remove(waiting)
                    break
        self._frames.append(frame)
        return replaced

    def expire(self, now_ns: int, needed_ns: int = 0) -> list[QueuedFrame]:
        """Remove and return the frames whose verdict would come after their deadline: no compute is spent on them.

        If all were inspected in order, under overload every part would be just too late; those given up leave their
        time to the parts behind them. The frame with the latest deadline is given up only when that has passed, so that
        there is always a batch whose duration is measured.

        Args:
            now_ns: the present time.
            needed_ns: expected time from now to the verdict.
        """
        latest_ns = max((frame.deadline_ns for frame in self._frames), default=0)
        kept: list[QueuedFrame] = []
        expired: list[QueuedFrame] = []
        for frame in self._frames:
            hopeless = frame.deadline_ns <= now_ns + needed_ns and frame.deadline_ns < latest_ns
            (expired if hopeless or frame.deadline_ns <= now_ns else kept).append(frame)
        self._frames = kept
        return expired

    def wait_ns(self, now_ns: int) -> int | None:
        """Return how long to wait for more frames before a batch begins; 0: begin now; None: no frame waits."""
        group = self._group()
        if not group:
            return None
        if len(group) >= self._max_batch or all(self._complete(frame, group) for frame in group):
            return 0
        return max(0, min(frame.received_ns for frame in group) + self._max_wait_ns - now_ns)

    def take(self, now_ns: int) -> list[QueuedFrame]:
        """Remove and return the next batch, most urgent frame first, all of one group; empty while it should wait."""
        if self.wait_ns(now_ns) != 0:
            return []
        batch = self._group()[: self._max_batch]
        taken = set(map(id, batch))
        self._frames = [frame for frame in self._frames if id(frame) not in taken]
        return batch

    def _group(self) -> list[QueuedFrame]:
        """Return the frames that can share a backbone pass with the most urgent one."""
        if not self._frames:
            return []
        ordered = sorted(self._frames, key=lambda frame: frame.deadline_ns)
        return [frame for frame in ordered if frame.group == ordered[0].group]

    def _complete(self, frame: QueuedFrame, group: list[QueuedFrame]) -> bool:
        """Whether every part of the same camera frame has arrived, so that waiting brings no further ones."""
        header = frame.header
        arrived = [other for other in group if other.header.seq == header.seq and other.header.epoch == header.epoch]
        return len(arrived) >= header.siblings
