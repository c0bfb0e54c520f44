"""When a camera's frames become parts: its reader begins, or its frames count, once the whole line is ready."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from stream.capture.policy.line_start import LineStart
from stream.capture.reader import Reader
from stream.capture.sequence import FrameSequence
from stream.capture.triggered_camera import TriggeredCamera
from stream.core.clock import now_ns
from stream.devices.cameras.camera import BeforeReady, Camera, Start
from stream.line.config import LineConfig
from stream.transport.messages import CreditGrant, StartState

log = logging.getLogger(__name__)


class PartsStart:
    """The beginning of one camera's parts in a run. Used by the thread of the capture loop."""

    def __init__(
        self, config: LineConfig, camera: str, opened: Camera, sequence: FrameSequence, reader: Reader
    ) -> None:
        """Wait for the line from now on, `restarts.ready_s` at most; not at all in a run whose parts have begun."""
        self._ready_s = config.restarts.ready_s
        self._camera = camera
        self._sequence = sequence
        self._reader = reader
        self._before_ready = before_ready(config, camera, opened)
        give_up_ns = None if sequence.begun else now_ns() + int(self._ready_s * 1e9)
        self._policy = LineStart(config.worker_names, give_up_ns=give_up_ns)

    def open(self) -> None:
        """Begin to read the camera, unless its first frame can wait."""
        if self.state == "waiting":
            log.info("camera %s waits for the line, its frames are %s until then", self._camera, self._before_ready)
        if self.state != "waiting" or self._before_ready != "held":
            self._read()

    @property
    def state(self) -> StartState:
        """Whether the parts wait, or have begun."""
        return self._policy.state

    @property
    def lacks(self) -> tuple[str, ...]:
        """The workers that are waited for."""
        return self._policy.lacks if self.state == "waiting" else ()

    @property
    def drops(self) -> bool:
        """Whether frames that come now are no parts."""
        return self.state == "waiting" and self._before_ready == "dropped"

    def on_credit(self, grant: CreditGrant, bundles: Mapping[str, str]) -> bool:
        """Note a worker's credit; `bundles` are those in use, by station. Returns whether `lacks` has changed."""
        before = self.lacks
        self._policy.on_credit(grant, bundles)
        return self.lacks != before

    def step(self, *, line_ready: bool) -> bool:
        """Begin the parts when their time has come; True then. `line_ready` is the sink's word."""
        self._policy.line_ready = line_ready
        if not self._policy.begins(now_ns()):
            return False
        if self.state == "alone":
            lacks = self._policy.lacks
            missing = f"no credit of {', '.join(lacks)}" if lacks else "the sink has not reported the line ready"
            log.error(
                "camera %s begins without the line, which is not ready after %g s (restarts.ready_s): %s",
                self._camera, self._ready_s, missing,
            )  # fmt: skip
        self._sequence.begin(now_ns())
        if not self._reader.begun:
            self._read()
        return True

    def _read(self) -> None:
        self._reader.begin(Start(self._sequence.frames_done, self._sequence.origin_ns))


def before_ready(config: LineConfig, camera: str, opened: Camera) -> BeforeReady:
    """Return what becomes of an opened camera's frames before the whole line is ready.

    Those of a camera that runs freely are parts where a station says so (`mode: triggered`): something that only the
    camera knows may trigger it.
    """
    samples = all(station.mode == "freerun" for station in config.stations_of(camera).values())
    if samples and opened.before_ready == "counted" and not isinstance(opened, TriggeredCamera):
        return "dropped"
    return opened.before_ready
