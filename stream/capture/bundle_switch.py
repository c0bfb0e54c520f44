"""How one camera's stations go over to other bundles: read, propose to the workers, switch, report."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import msgspec

from stream.capture.policy.rollout import Rollout
from stream.core import metrics
from stream.core.clock import now_ns
from stream.core.errors import DiskError
from stream.core.files import write_atomically
from stream.line.bundle_watcher import BundleUpdate, BundleWatcher
from stream.line.config import LineConfig
from stream.line.reload_request import ReloadReport, StationReport, report_path, request_path
from stream.transport.messages import CreditGrant, WantedBundles

log = logging.getLogger(__name__)

#: How often a file is looked at because no worker holds the bundle in use.
_RECHECK_NS = 30_000_000_000

T = TypeVar("T")


class SwitchDecision(NamedTuple, Generic[T]):
    """A decision about a station: what to cut with from now on, or `why` nothing changes."""

    station: str
    old_sha256: str
    new_sha256: str
    loaded: T | None
    why: str | None


class BundleSwitch(Generic[T]):
    """The bundles that one camera's stations are cut for."""

    def __init__(
        self,
        config: LineConfig,
        camera: str,
        *,
        present: dict[str, str],
        asked: threading.Event,
        load: Callable[[str], tuple[str, T]],
    ) -> None:
        """Begin with the `present` bundles; `load` reads a station's bundle in a thread of its own."""
        self._state, self._camera = config.state, camera
        self._present = dict(present)
        self._candidates: dict[str, tuple[T, str]] = {}
        self._requests: dict[str, str] = {}
        self._reports: dict[str, dict[str, StationReport]] = {}
        self._recheck_ns: dict[str, int] = {}
        self._rollout = Rollout(patience_ns=int(config.restarts.ready_s * 1e9))
        self._watcher: BundleWatcher[T] = BundleWatcher(
            config.stations_of(camera),
            asked,
            load=load,
            knows=lambda station, bundle: self._present[station] == bundle,
            request=self._read_request,
        )
        self._watcher.start()

    def on_credit(self, ready: CreditGrant) -> None:
        """Take in what a worker accepts."""
        self._rollout.on_credit(ready, now_ns())

    def wanted_bundles(self) -> WantedBundles:
        """Say which bundles the workers have to hold."""
        return WantedBundles(
            {
                station: (bundle, proposed) if (proposed := self._rollout.proposed(station)) else (bundle,)
                for station, bundle in self._present.items()
            }
        )

    def step(self, obstacle: Callable[[T], str | None]) -> list[SwitchDecision[T]]:
        """Return what is decided by now; `obstacle` says why the camera's pictures cannot be cut so, if they cannot."""
        now, outcomes = now_ns(), []
        for update in self._watcher.updates():
            outcome = self._heard(update, obstacle, now)
            if outcome is not None:
                outcomes.append(outcome)
        for station, decision in self._rollout.decide(now).items():
            loaded, new = self._candidates.pop(station)
            outcomes.append(self._settle(station, new, loaded if decision.switch else None, decision.why))
        for station, bundle in self._present.items():
            # A worker that was started after the file had been replaced holds only the new one.
            stranded = self._rollout.proposed(station) is None and self._rollout.nobody_accepts(station, bundle, now)
            if stranded and now >= self._recheck_ns.get(station, 0):
                self._recheck_ns[station] = now + _RECHECK_NS
                self._watcher.recheck(station)
        return outcomes

    def _heard(
        self, update: BundleUpdate[T], obstacle: Callable[[T], str | None], now: int
    ) -> SwitchDecision[T] | None:
        station = update.station
        if update.request is not None:
            self._requests[station] = update.request
        # What was proposed before is not what lies there now.
        self._rollout.withdraw(station)
        self._candidates.pop(station, None)
        if update.error is not None:
            return self._settle(station, update.bundle_sha256, None, update.error)
        if update.loaded is None:
            self._report(station, StationReport(self._present[station], self._present[station]))
            return None
        why = obstacle(update.loaded)
        if why is not None:
            return self._settle(station, update.bundle_sha256, None, why)
        self._candidates[station] = (update.loaded, update.bundle_sha256)
        self._rollout.propose(station, update.bundle_sha256, now)
        return None

    def _settle(self, station: str, new: str, loaded: T | None, why: str) -> SwitchDecision[T]:
        old = self._present[station]
        if loaded is None:
            log.error("station %s keeps bundle %s: %s", station, old[:12], why)
        else:
            log.info("station %s: cut for bundle %s from now on, before for %s", station, new[:12], old[:12])
            self._present[station] = new
        metrics.RELOADS.labels("switched" if loaded is not None else "refused").inc()
        said = None if loaded is not None else why
        self._report(station, StationReport(old, new, said))
        return SwitchDecision(station, old, new, loaded, said)

    def _report(self, station: str, report: StationReport) -> None:
        """Note what a request has led to; when that is known of all stations, write it down."""
        request = self._requests.pop(station, None)
        if request is None:
            return
        stations = self._reports.setdefault(request, {})
        stations[station] = report
        if len(stations) < len(self._present):
            return
        del self._reports[request]
        path = report_path(self._state, self._camera)
        try:
            # Not durable: this is the loop that announces parts, and no one waits for the report after a power failure.
            write_atomically(path, msgspec.json.encode(ReloadReport(request, stations)), durable=False)
        except DiskError as error:
            log.error("%s", error)  # noqa: TRY400 - the message says it all

    def _read_request(self) -> str:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return request_path(self._state).read_text(encoding="utf-8")
        return ""
