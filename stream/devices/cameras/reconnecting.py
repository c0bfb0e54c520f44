"""What all cameras that can fail share: reconnecting after growing pauses, counting it, reporting the fault."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Annotated, Protocol

from pydantic import Field

from stream.core.backoff import Backoff
from stream.core.errors import CameraError
from stream.core.options import Options, PositiveMs, PositiveS
from stream.devices.cameras.camera import BeforeReady, CommonCameraOptions, Frame, Start
from stream.devices.triggers import TriggerOptions

log = logging.getLogger(__name__)


#: Identical images in a row that mean a frozen camera; None: no number of them does.
FrozenFrames = Annotated[int, Field(ge=2)] | None


class Reconnect(Options):
    """How a camera that was lost is opened again."""

    first_s: PositiveS = 0.2  # pause before the first attempt; each further pause is twice as long
    longest_s: PositiveS = 1.0  # but no longer than this
    limit: Annotated[int, Field(ge=1)] | None = None  # failed attempts in a row that end the process; None: none do


class ReconnectingCameraOptions(CommonCameraOptions):
    """Options of every camera that can go away."""

    stall_ms: PositiveMs = 1000.0  # time without a frame that is a fault of the camera
    # The noise of a sensor never repeats.
    frozen_frames: FrozenFrames = 2
    reconnect: Reconnect = Reconnect()
    trigger: TriggerOptions | None = None  # event for each part; None: every frame is a part


class CameraLost(Exception):  # noqa: N818 - a state of the camera, not a failure of the program
    """The connection to a camera can no longer be used; a new one may work."""


class Connection(Protocol):
    """One connection to a camera, used by one thread."""

    def read(self) -> list[Frame]:
        """Return the next frames after waiting at most about `stall_ms`; empty when none came.

        Raises:
            CameraLost: this connection will deliver nothing more.
        """
        ...

    def close(self) -> None:
        """Release the camera; called once, also after CameraLost."""
        ...


class ReconnectingCamera:
    """A camera that is opened again for as long as it takes; a `Camera`.

    A free-running camera has no memory: what it saw while it was away was never a frame.
    """

    # Its frames may be those of a trigger that only the camera knows.
    before_ready: BeforeReady = "counted"

    def __init__(self, name: str, options: ReconnectingCameraOptions, connect: Callable[[], Connection]) -> None:
        """Connect for the first time.

        Args:
            name: the camera as messages name it, without passwords.
            options: when to give up and when to try again.
            connect: opens the camera; raises CameraLost when it cannot.

        Raises:
            CameraError: it does not open.
        """
        self._name = name
        self._reconnect = options.reconnect
        self._backoff = Backoff(options.reconnect.first_s, options.reconnect.longest_s)
        self._connect = connect
        self.stall_ns: int | None = int(options.stall_ms * 1e6)
        self.frozen_frames = options.frozen_frames
        #: How often it was opened again.
        self.reconnects = 0
        #: Why no frames come at present, or None.
        self.fault: str | None = None
        try:
            self._connection: Connection | None = connect()
        except CameraLost as error:
            raise CameraError(f"{name}: {error}") from None

    def frames(self, start: Start, stop: threading.Event) -> Iterator[Frame]:  # noqa: ARG002
        """Yield frames as the camera delivers them; raises CameraError when it is given up."""
        failed = 0
        try:
            while not stop.is_set():
                try:
                    if self._connection is None:
                        if stop.wait(self._backoff.pause_s(failed)):
                            return
                        self._connection = self._connect()
                        self.reconnects += 1
                        log.info("%s: open again", self._name)
                    frames = self._connection.read()
                except CameraLost as error:
                    failed += 1
                    self._lost(str(error), failed)
                    continue
                for frame in frames:
                    failed, self.fault = 0, None
                    yield frame
        finally:
            self._close()

    def _lost(self, why: str, failed: int) -> None:
        log.warning("%s: %s (attempt %d)", self._name, why, failed)
        self.fault = f"{self._name}: {why}"
        self._close()
        limit = self._reconnect.limit
        if limit is not None and failed > limit:
            raise CameraError(f"{self._name}: given up after {limit} attempts: {why} (reconnect.limit)")

    def _close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()
