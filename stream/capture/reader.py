"""The thread that reads the camera, so that a slow loop never delays the time stamp of an exposure."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque

from stream.core.clock import now_ns
from stream.core.errors import FrameFault
from stream.core.verdict import Cause
from stream.devices.cameras.camera import Camera, Frame, Start

#: Frames that may wait for the loop; images of further ones are dropped and announced as overrun.
READ_AHEAD = 64


class Reader(threading.Thread):
    """Reads the camera, once `begin` has been called, and wakes the loop for every frame."""

    def __init__(self, camera: Camera, stop: threading.Event) -> None:
        """Read until the camera ends or `stop` is set."""
        super().__init__(name="reader", daemon=True)
        self._camera = camera
        self._start_point: Start | None = None
        self._stop_reading = stop
        self._frames: deque[tuple[Frame, int]] = deque()
        #: Event file descriptor, readable when frames wait or the camera has ended.
        self.wake = os.eventfd(0, os.EFD_NONBLOCK)
        #: What ended the thread early; for the loop to raise.
        self.error: BaseException | None = None

    @property
    def begun(self) -> bool:
        """Whether the camera is or was read."""
        return self._start_point is not None

    def begin(self, start: Start) -> None:
        """Read from `start` on."""
        self._start_point = start
        self.start()

    def run(self) -> None:
        """Queue frames until the camera ends."""
        assert self._start_point is not None
        try:
            for frame in self._camera.frames(self._start_point, self._stop_reading):
                queued = frame
                if len(self._frames) >= READ_AHEAD and frame.image is not None:
                    fault = FrameFault(Cause.OVERRUN, "capture could not keep up with the camera")
                    queued = frame._replace(image=None, fault=fault)
                self._frames.append((queued, now_ns()))
                os.eventfd_write(self.wake, 1)
        except BaseException as error:  # noqa: BLE001 - the loop raises it in the main thread
            self.error = error
        finally:
            os.eventfd_write(self.wake, 1)

    def take(self) -> list[tuple[Frame, int]]:
        """Remove and return the frames read so far, each with the time at which it was received; for the loop."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.wake)
        return [self._frames.popleft() for _ in range(len(self._frames))]

    @property
    def waiting(self) -> int:
        """Number of frames that were read and not yet taken."""
        return len(self._frames)
