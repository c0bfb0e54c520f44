"""How one camera's stations switch to other bundles: read, propose to the workers, switch, report."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.capture.cropper import PartCropper, load_cropper
from stream.capture.policy.rollout import Rollout
from stream.core import metrics
from stream.core.clock import now_ns
from stream.core.errors import DiskError, FrameFault
from stream.core.files import write_atomically
from stream.line.bundle_watcher import BundleUpdate, BundleWatcher
from stream.line.config import LineConfig
from stream.line.reload_request import ReloadReport, StationReport, report_path, request_path
from stream.model.patchcore.alignment import AT_FIT
from stream.transport.messages import CreditGrant, WantedBundles

log = logging.getLogger(__name__)

#: Pause before a station's file is read again because no worker holds the bundle in use.
_RECHECK_NS = 30_000_000_000


class SwitchDecision(NamedTuple):
    """A station's switch from one bundle to another, or the `reason` for keeping the old one."""

    station: str
    old_sha256: str
    new_sha256: str
    reason: str | None


class BundleSwitch:
    """The bundles for which one camera's parts are cropped. Used by the thread of the capture loop."""

    def __init__(
        self, config: LineConfig, camera: str, croppers: list[PartCropper], reload_requested: threading.Event
    ) -> None:
        """Begin with these croppers; read bundles again when `reload_requested` is set or a watched file changes."""
        self._state, self._camera = config.state, camera
        self._stations = config.stations_of(camera)
        #: The croppers in use, by station.
        self.croppers = {cropper.name: cropper for cropper in croppers}
        self._candidates: dict[str, PartCropper] = {}
        #: The request that a station's next report answers.
        self._requests: dict[str, str] = {}
        #: By request, the reports of the stations that have one already.
        self._reports: dict[str, dict[str, StationReport]] = {}
        self._next_recheck_ns: dict[str, int] = {}
        self._rollout = Rollout(timeout_ns=int(config.restarts.ready_s * 1e9))
        self._watcher: BundleWatcher[PartCropper] = BundleWatcher(
            self._stations,
            reload_requested,
            load=self._load,
            knows=lambda station, bundle_sha256: self.croppers[station].bundle_sha256 == bundle_sha256,
            request=self._read_request,
        )
        self._watcher.start()

    def on_credit(self, grant: CreditGrant) -> None:
        """Note which bundles a worker accepts."""
        self._rollout.on_credit(grant, now_ns())

    def wanted_bundles(self) -> WantedBundles:
        """Return the bundles that the workers have to hold."""
        wanted: dict[str, tuple[str, ...]] = {}
        for station, cropper in self.croppers.items():
            proposed = self._rollout.proposed(station)
            wanted[station] = (cropper.bundle_sha256, proposed) if proposed else (cropper.bundle_sha256,)
        return WantedBundles(wanted)

    def step(self, last_image: NDArray[np.uint8] | None) -> list[SwitchDecision]:
        """Return the decisions made since the last call; `croppers` have changed with them.

        `last_image` is the camera's newest, (H, W, 3) uint8: a bundle whose region it does not hold is refused.
        """
        now = now_ns()
        decisions: list[SwitchDecision] = []
        for update in self._watcher.updates():
            decision = self._on_update(update, last_image, now)
            if decision is not None:
                decisions.append(decision)
        for station, rollout in self._rollout.decide(now).items():
            cropper = self._candidates.pop(station)
            if rollout.switch:
                decisions.append(self._switch(cropper))
            else:
                decisions.append(self._refuse(station, cropper.bundle_sha256, rollout.reason))
        for station, cropper in self.croppers.items():
            # A worker that was started after the file had been replaced holds only the new bundle.
            stranded = self._rollout.proposed(station) is None and self._rollout.no_worker_accepts(
                station, cropper.bundle_sha256, now
            )
            if stranded and now >= self._next_recheck_ns.get(station, 0):
                self._next_recheck_ns[station] = now + _RECHECK_NS
                self._watcher.recheck(station)
        return decisions

    def _on_update(
        self, update: BundleUpdate[PartCropper], last_image: NDArray[np.uint8] | None, now: int
    ) -> SwitchDecision | None:
        station = update.station
        if update.request is not None:
            self._requests[station] = update.request
        # The bundle proposed before is no longer the one in the file.
        self._rollout.withdraw(station)
        self._candidates.pop(station, None)
        if update.error is not None:
            return self._refuse(station, update.bundle_sha256, update.error)
        if update.loaded is None:
            unchanged = self.croppers[station].bundle_sha256
            self._report(station, StationReport(unchanged, unchanged))
            return None
        mismatch = _mismatch(update.loaded, last_image)
        if mismatch is not None:
            return self._refuse(station, update.bundle_sha256, mismatch)
        self._candidates[station] = update.loaded
        self._rollout.propose(station, update.bundle_sha256, now)
        return None

    def _switch(self, cropper: PartCropper) -> SwitchDecision:
        station, old, new = cropper.name, self.croppers[cropper.name].bundle_sha256, cropper.bundle_sha256
        log.info("station %s: switched from bundle %s to %s", station, old[:12], new[:12])
        self.croppers[station] = cropper
        metrics.RELOADS.labels("switched").inc()
        self._report(station, StationReport(old, new))
        return SwitchDecision(station, old, new, None)

    def _refuse(self, station: str, new: str, reason: str) -> SwitchDecision:
        old = self.croppers[station].bundle_sha256
        log.error("station %s keeps bundle %s: %s", station, old[:12], reason)
        metrics.RELOADS.labels("refused").inc()
        self._report(station, StationReport(old, new, reason))
        return SwitchDecision(station, old, new, reason)

    def _report(self, station: str, report: StationReport) -> None:
        """Note a station's answer to a request; write the report when all stations have answered."""
        request = self._requests.pop(station, None)
        if request is None:
            return
        stations = self._reports.setdefault(request, {})
        stations[station] = report
        if len(stations) < len(self.croppers):
            return
        del self._reports[request]
        path = report_path(self._state, self._camera)
        try:
            # Not durable: this is the loop that announces parts, and no one waits for the report after a power failure.
            write_atomically(path, msgspec.json.encode(ReloadReport(request, stations)), durable=False)
        except DiskError as error:
            log.error("%s", error)  # noqa: TRY400 - the message says it all

    def _load(self, station: str) -> tuple[str, PartCropper]:
        """Read a station's bundle; called in the watcher's thread. Raises BundleError."""
        cropper = load_cropper(station, self._stations[station])
        return cropper.bundle_sha256, cropper

    def _read_request(self) -> str:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return request_path(self._state).read_text(encoding="utf-8")
        return ""


def _mismatch(cropper: PartCropper, image: NDArray[np.uint8] | None) -> str | None:
    """Return why the camera's images cannot be cropped this way; None: they can, or there is none yet."""
    if image is None:
        return None
    try:
        cropper.geometry.region(image, AT_FIT)  # whether a part is in this one says nothing of the bundle
    except FrameFault as fault:
        return f"{cropper.station.bundle}: {fault.detail}; fit it for this camera or change stations.{cropper.name}.roi"
    return None
