"""The camera's own thread: a slow consumer never delays the time stamp of an exposure."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque

from stream.core.clock import now_ns
from stream.core.errors import FrameFault
from stream.core.verdict import Cause
from stream.devices.cameras.camera import Camera, Frame, Start

#: Frames between the reading thread and the loop; beyond that pictures are dropped and announced as overrun.
READ_AHEAD = 64


class Reader(threading.Thread):
    """Reads the source and wakes the loop."""

    def __init__(self, source: Camera, start: Start, stop: threading.Event) -> None:
        """Read from `start` until the source ends or `stop` is set."""
        super().__init__(name="reader", daemon=True)
        self._source = source
        self._begin = start
        self._stop_reading = stop
        self._frames: deque[tuple[Frame, int]] = deque()
        self.wake = os.eventfd(0, os.EFD_NONBLOCK)
        self.error: BaseException | None = None

    def run(self) -> None:
        """Put frames into the queue until the end."""
        try:
            for frame in self._source.frames(self._begin, self._stop_reading):
                taken = frame
                if len(self._frames) >= READ_AHEAD and frame.image is not None:
                    fault = FrameFault(Cause.OVERRUN, "capture could not keep up with the camera")
                    taken = frame._replace(image=None, fault=fault)
                self._frames.append((taken, now_ns()))
                os.eventfd_write(self.wake, 1)
        except BaseException as error:  # noqa: BLE001 - the loop raises it in the main thread
            self.error = error
        finally:
            os.eventfd_write(self.wake, 1)

    def take(self) -> list[tuple[Frame, int]]:
        """Return the frames read so far, each with the moment it was in hand."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.wake)
        return [self._frames.popleft() for _ in range(len(self._frames))]

    @property
    def waiting(self) -> int:
        """How many frames were read and not yet taken."""
        return len(self._frames)
