"""The state of one camera: silent, frozen or in fault. Reported in metrics and in status messages to the sink."""

from __future__ import annotations

import logging
import os

import numpy as np
from numpy.typing import NDArray

from stream.capture.policy.frozen import FrozenGate
from stream.capture.policy.stall import Stall
from stream.core import metrics
from stream.core.clock import local_clock
from stream.core.errors import FrameFault
from stream.core.verdict import Cause
from stream.devices.cameras.camera import Camera, Frame
from stream.transport.messages import CameraStatus, StartState

log = logging.getLogger(__name__)


class CameraMonitor:
    """Watches the frames of one camera. Used by the thread of the capture loop."""

    def __init__(self, name: str, camera: Camera, now_ns: int) -> None:
        """Watch an open camera from now on."""
        self._name = name
        self._camera = camera
        self._stall = Stall(camera.stall_ns, now_ns)
        self._frozen = FrozenGate(camera.frozen_frames)
        self._last_frame_ns: int | None = None
        self._reconnects = 0
        #: The newest image, (H, W, 3) uint8 BGR; None before the first.
        self.last_image: NDArray[np.uint8] | None = None

    def check_frame(self, frame: Frame, grabbed_ns: int) -> Frame:
        """Note a frame; returns it, with the fault BAD_FRAME in place of the image when the camera is frozen."""
        self._last_frame_ns = grabbed_ns
        self._stall.on_frame(grabbed_ns)
        metrics.FRAMES.labels(self._name).inc()
        if frame.image is None:
            return frame
        self.last_image = frame.image
        if self._frozen.check(frame.image):
            return frame._replace(image=None, fault=FrameFault(Cause.BAD_FRAME, self._frozen.text))
        return frame

    def lost_frame(self, now_ns: int) -> Frame | None:
        """Return a frame with CAMERA_FAULT once for each stall, for the parts that pass unseen; else None."""
        if not self._stall.begins(now_ns):
            return None
        fault = _joined(self._stall.text, self._camera.fault)
        log.warning("camera %s: %s", self._name, fault)
        return Frame(None, now_ns, fault=FrameFault(Cause.CAMERA_FAULT, fault))

    def status(
        self,
        first_seq: int,
        now_ns: int,
        announced: dict[str, int] | None = None,
        socket_fault: str | None = None,
        *,
        start: StartState = "begun",
        lacks: tuple[str, ...] = (),
    ) -> CameraStatus:
        """Update the camera's metrics and return its status.

        Args:
            first_seq: the first number of the run.
            now_ns: the clock.
            announced: for each station, the number below which every part has been announced.
            socket_fault: why workers cannot reach this process, if they cannot.
            start: whether the camera's parts have begun.
            lacks: workers that do not inspect its frames yet.
        """
        if self._last_frame_ns is not None:
            metrics.LAST_FRAME_AGE_SECONDS.labels(self._name).set((now_ns - self._last_frame_ns) / 1e9)
        reconnects = self._camera.reconnects
        metrics.CAMERA_RECONNECTS.labels(self._name).inc(reconnects - self._reconnects)
        self._reconnects = reconnects
        fault = _joined(self._stall.text, self._camera.fault, self._frozen.text, socket_fault)
        metrics.CAMERA_UP.labels(self._name).set(0 if fault else 1)
        return CameraStatus(
            camera=self._name,
            pid=os.getpid(),
            first_seq=first_seq,
            up=not fault,
            last_frame_ns=self._last_frame_ns,
            clock=local_clock(),
            detail=fault,
            announced=dict(announced or {}),
            start=start,
            lacks=lacks,
        )


def _joined(*faults: str | None) -> str:
    return "; ".join(filter(None, faults))
