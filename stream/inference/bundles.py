"""The bundles that a worker holds while its line switches from one to another: loaded, tested, released."""

from __future__ import annotations

import functools
import logging
import threading

from stream.core import metrics
from stream.core.clock import now_ns
from stream.inference.executor import InferenceExecutor
from stream.inference.policy.held_bundles import GRACE_NS, HeldBundles
from stream.inference.station_models import load_station_model
from stream.line.bundle_watcher import BundleUpdate, BundleWatcher
from stream.line.config import LineConfig
from stream.model.bundle import shadow_bundle
from stream.model.station_model import StationModel, run_self_test
from stream.transport.messages import Refusal, WantedBundles

log = logging.getLogger(__name__)

#: Grace period for a reload request, before a worker reads the file because capture wants a bundle that it lacks.
_REQUEST_GRACE_NS = 3_000_000_000
#: Pause before it reads that file again.
_RECHECK_NS = 10 * _REQUEST_GRACE_NS


class LoadedBundles:
    """Every station's models, by the hash of their bundle. Used by the thread of the worker's loop."""

    def __init__(
        self,
        config: LineConfig,
        index: int,
        models: dict[str, StationModel],
        executor: InferenceExecutor,
        reload_requested: threading.Event,
    ) -> None:
        """Begin with one model for each station.

        The bundles are read again when `reload_requested` is set, when a watched file changes, or when capture wants
        one that is missing.
        """
        self._stations = config.stations
        self._options = config.workers[index]
        self._executor = executor
        self._models = {(name, model.bundle.sha256): model for name, model in models.items()}
        grace_ns = {name: int(station.deadline_ms * 1e6) + GRACE_NS for name, station in config.stations.items()}
        self._held = {
            name: HeldBundles(model.bundle.sha256, grace_ns=grace_ns[name], now_ns=now_ns())
            for name, model in models.items()
        }
        self._refused: dict[str, Refusal] = {}
        self._attempts = 0
        #: When to read a station's file because of this bundle, which capture wants and the worker lacks.
        self._recheck_ns: dict[tuple[str, str], int] = {}
        #: Counts the changes of `accepts` and `refused`.
        self.version = 0
        self._watcher: BundleWatcher[StationModel] = BundleWatcher(
            config.stations,
            reload_requested,
            load=self._load,
            knows=lambda station, bundle_sha256: (station, bundle_sha256) in self._models,
            request=str,
        )
        self._watcher.start()

    def model(self, station: str, bundle_sha256: str) -> StationModel | None:
        """Return the model for a frame that has arrived; None: the bundle is not held."""
        model = self._models.get((station, bundle_sha256))
        if model is not None:
            self._held[station].use(bundle_sha256, now_ns())
        return model

    def accepts(self, stations: set[str]) -> dict[str, tuple[str, ...]]:
        """Return the bundles that are held for each of these stations."""
        return {name: self._held[name].bundle_sha256s for name in stations}

    def refused(self, stations: set[str]) -> dict[str, Refusal]:
        """Return, for those of these stations that have one, the last bundle that could not be loaded."""
        return {name: refusal for name, refusal in self._refused.items() if name in stations}

    def on_wanted(self, wanted: WantedBundles) -> None:
        """Note the bundles that capture needs."""
        now = now_ns()
        for station, bundle_sha256s in wanted.bundle_sha256s.items():
            if station not in self._held:
                continue
            self._held[station].on_wanted(bundle_sha256s, now)
            for bundle_sha256 in bundle_sha256s:
                self._recheck_if_missing(station, bundle_sha256, now)

    def _recheck_if_missing(self, station: str, bundle_sha256: str, now: int) -> None:
        """Read the file when capture keeps wanting a bundle that is not held.

        Either no reload was requested on this host, or capture is new and has read a newer file.
        """
        key, refusal = (station, bundle_sha256), self._refused.get(station)
        is_refused = refusal is not None and refusal.bundle_sha256 in (bundle_sha256, "")
        if key in self._models or is_refused:
            self._recheck_ns.pop(key, None)
        elif now >= self._recheck_ns.setdefault(key, now + _REQUEST_GRACE_NS):
            self._recheck_ns[key] = now + _RECHECK_NS
            self._watcher.recheck(station)

    def step(self) -> None:
        """Add the bundles that were loaded since the last call, and release those that are out of use."""
        for update in self._watcher.updates():
            self.version += 1
            self._on_update(update)
        for station, held in self._held.items():
            for bundle_sha256 in held.release(now_ns()):
                self.version += 1
                del self._models[station, bundle_sha256]
                log.info("station %s: bundle %s released", station, bundle_sha256[:12])

    def _on_update(self, update: BundleUpdate[StationModel]) -> None:
        station, bundle_sha256 = update.station, update.bundle_sha256
        if update.error is not None:
            log.error("station %s: bundle refused: %s", station, update.error)
            self._attempts += 1
            self._refused[station] = Refusal(bundle_sha256, self._attempts, update.error[:500])
            metrics.RELOADS.labels("refused").inc()
            return
        self._refused.pop(station, None)
        if update.loaded is not None:
            log.info("station %s: bundle %s loaded", station, bundle_sha256[:12])
            self._models[station, bundle_sha256] = update.loaded
            metrics.RELOADS.labels("loaded").inc()
        if (station, bundle_sha256) in self._models:
            self._held[station].load(bundle_sha256, now_ns())

    def _load(self, station: str) -> tuple[str, StationModel]:
        """Load a bundle beside the one in use, and test it between two batches; called in the watcher's thread."""
        path = self._stations[station].bundle
        extractors = {model.group: model.extractor for model in list(self._models.values())}
        lanes = next(iter(extractors.values())).lanes
        model = load_station_model(station, self._stations[station], self._options, lanes, extractors)
        shadow = self._stations[station].shadow
        if shadow is not None:
            shadow_bundle(shadow, model.bundle, self._stations[station].roi)
        # One image at a time in each lane, since an extractor is not re-entrant there.
        for _ in range(self._executor.count):
            self._executor.call(functools.partial(run_self_test, model, path))
        return model.bundle.sha256, model
