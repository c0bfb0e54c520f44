"""What the sink checks in its own time: cameras, workers, clocks, outputs, sockets, drift and the store."""

from __future__ import annotations

from typing import NamedTuple

from stream.core import metrics
from stream.core.clock import now_ns
from stream.line.config import LineConfig
from stream.sink.camera_clocks import CameraClocks, skew_text
from stream.sink.drift_monitor import DriftMonitor
from stream.sink.outputs import OutputHealth, Outputs
from stream.sink.policy.announcement_watch import AnnouncementWatch
from stream.sink.policy.line_start import LineStart
from stream.sink.policy.peer_health import PeerHealth, PeerMonitor, parts_may_be_missed
from stream.sink.recorder import Recorder
from stream.sink.settlement import Settlement
from stream.transport.sockets import Sockets


class Checked(NamedTuple):
    """What one round of checks found.

    Attributes:
        peers: cameras and workers.
        outputs: actuators, encoders and other outputs.
        stop: why the line has to stop, or None.
    """

    peers: list[PeerHealth]
    outputs: list[OutputHealth]
    stop: str | None


class HealthChecks:
    """Alarms and metrics for everything that a line needs besides its parts.

    The sink's messages are noted in `peers`, `line_start`, `announcements` and `worker_skews_ns`.
    """

    def __init__(
        self,
        config: LineConfig,
        settlement: Settlement,
        outputs: Outputs,
        recorder: Recorder,
        sockets: Sockets,
        clocks: CameraClocks,
        drift_monitor: DriftMonitor,
    ) -> None:
        self._config = config
        self._settlement = settlement
        self._outputs = outputs
        self._recorder = recorder
        self._sockets = sockets
        self._clocks = clocks
        self._drift_monitor = drift_monitor
        limits = config.alarms
        self.peers = PeerMonitor(
            config.cameras,
            config.worker_names,
            since_ns=now_ns(),
            grace_ns=int(config.restarts.ready_s * 1e9),
            silent_ns={"camera": int(limits.camera_down_ms * 1e6), "worker": int(limits.worker_down_ms * 1e6)},
        )
        self.line_start = LineStart(config.cameras, config.worker_names)
        self.announcements = AnnouncementWatch(config.cameras)
        #: Skew of the cameras' clocks against a worker's, as the worker reports them.
        self.worker_skews_ns: dict[str, dict[str, int]] = {}
        self.parts_may_be_missed = True

    def check(self, now: int) -> Checked:
        """Check everything once; raises and ends alarms."""
        observe = self._settlement.observe
        peers = self._check_peers(now)
        self._check_clocks(now)
        socket_fault = self._sockets.mend(now)
        observe("socket_fault", "sink", socket_fault is not None, now, socket_fault or "")
        outputs = self._outputs.health(now)
        for output in outputs:
            self._settlement.check_output(output, now)
        stop = None
        if drift := self._drift_monitor.compare():
            alarm = observe("drift", drift.station, drift.drifting, now, drift.text)
            if alarm is not None and self._config.stations[drift.station].on_drift == "stop_line":
                stop = drift.text
        recorder = self._recorder
        fault = recorder.fault if recorder.is_alive() else "the recorder's thread has ended"
        observe("store_fault", "store", fault is not None, now, fault or "")
        observe("store_fault", "events", recorder.loss is not None, now, recorder.loss or "")
        return Checked(peers, outputs, stop)

    def _check_peers(self, now: int) -> list[PeerHealth]:
        peers = self.peers.health(now)
        self.parts_may_be_missed = parts_may_be_missed(peers, self.parts_may_be_missed)
        for peer in peers:
            if peer.kind == "camera":
                metrics.CAMERA_UP.labels(peer.name).set(int(peer.up))
                if peer.last_frame_age_ns is not None:
                    metrics.LAST_FRAME_AGE_SECONDS.labels(peer.name).set(peer.last_frame_age_ns / 1e9)
                self._settlement.observe("camera_down", peer.name, peer.down, now, peer.text)
                not_ready = self.line_start.fault(peer.name)
                self._settlement.observe("line_not_ready", peer.name, not_ready is not None, now, not_ready or "")
            else:
                metrics.WORKER_UP.labels(peer.name).set(int(peer.up))
                self._settlement.observe("worker_down", peer.name, peer.down, now, peer.text)
        return peers

    def _check_clocks(self, now: int) -> None:
        """Check for clocks that differ, and for cameras whose parts are not announced."""
        for camera in self._config.cameras:
            fault = self._clocks.fault(camera, now)
            self._settlement.observe("clock_skew", camera, fault is not None, now, fault or "")
            text = f"parts of camera {camera} are seen but not announced: they have no verdict by their deadline"
            missing = self.announcements.missing(camera, now)
            self._settlement.observe("announcements_missing", camera, missing, now, text)
        for worker, skews_ns in self.worker_skews_ns.items():
            texts = [
                skew_text(f"camera {camera}", worker, skew_ns, self._clocks.allowed_ns[camera])
                for camera, skew_ns in skews_ns.items()
                if camera in self._clocks.allowed_ns
            ]
            wrong = next(filter(None, texts), None)
            self._settlement.observe("clock_skew", worker, wrong is not None, now, wrong or "")
