"""The bundles that a worker holds while its line goes from one to the next: loaded, tested, released."""

from __future__ import annotations

import functools
import logging
import threading

from stream.core import metrics
from stream.core.clock import now_ns
from stream.inference.executor import InferenceExecutor
from stream.inference.policy.held_bundles import GRACE_NS, Held
from stream.inference.station_models import load_station_model
from stream.line.bundle_watcher import BundleWatcher
from stream.line.config import LineConfig
from stream.model.bundle import shadow_bundle
from stream.model.station_model import StationModel, run_self_test
from stream.transport.messages import Refusal, WantedBundles

log = logging.getLogger(__name__)

#: So long a worker waits to be asked for a bundle that capture wants.
_PATIENCE_NS = 3_000_000_000


class LoadedBundles:
    """Every station's models, by the hash of their bundle."""

    def __init__(
        self,
        config: LineConfig,
        index: int,
        models: dict[str, StationModel],
        executor: InferenceExecutor,
        asked: threading.Event,
    ) -> None:
        """Begin with one model for each station; read the bundles again when `asked`, or when a watched one changes."""
        self._stations = config.stations
        self._options = config.workers[index]
        self._executor = executor
        self._models = {(name, model.bundle.sha256): model for name, model in models.items()}
        grace_ns = {name: int(station.deadline_ms * 1e6) + GRACE_NS for name, station in config.stations.items()}
        self._held = {
            name: Held(model.bundle.sha256, grace_ns=grace_ns[name], now_ns=now_ns()) for name, model in models.items()
        }
        self._refused: dict[str, Refusal] = {}
        self._attempts = 0
        self._look_ns: dict[tuple[str, str], int] = {}
        #: Counts the changes of `accepts` and `refused`.
        self.version = 0
        self._watcher: BundleWatcher[StationModel] = BundleWatcher(
            config.stations,
            asked,
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
        """Return for each of these stations the bundles that are held."""
        return {name: self._held[name].bundle_sha256s for name in stations}

    def refused(self, stations: set[str]) -> dict[str, Refusal]:
        """Return what became of the last bundle that could not be loaded."""
        return {name: refusal for name, refusal in self._refused.items() if name in stations}

    def on_wanted(self, wanted: WantedBundles) -> None:
        """Take in what capture says it needs."""
        now = now_ns()
        for station, bundle_sha256s in wanted.bundle_sha256s.items():
            if station not in self._held:
                continue
            self._held[station].on_wanted(bundle_sha256s, now)
            for bundle_sha256 in bundle_sha256s:
                self._miss(station, bundle_sha256, now)

    def _miss(self, station: str, bundle_sha256: str, now: int) -> None:
        """Look at the file when capture goes on wanting what is not held: nobody has asked here, or capture is new."""
        refusal = self._refused.get(station)
        if (station, bundle_sha256) in self._models or (
            refusal is not None and refusal.bundle_sha256 in (bundle_sha256, "")
        ):
            self._look_ns.pop((station, bundle_sha256), None)
        elif now >= self._look_ns.setdefault((station, bundle_sha256), now + _PATIENCE_NS):
            self._look_ns[station, bundle_sha256] = now + 10 * _PATIENCE_NS
            self._watcher.recheck(station)

    def step(self) -> None:
        """Take over what was loaded meanwhile, release what is out of use."""
        for update in self._watcher.updates():
            self.version += 1
            if update.error is not None:
                log.error("station %s: bundle refused: %s", update.station, update.error)
                self._attempts += 1
                self._refused[update.station] = Refusal(update.bundle_sha256, self._attempts, update.error[:500])
                metrics.RELOADS.labels("refused").inc()
                continue
            self._refused.pop(update.station, None)
            if update.loaded is not None:
                log.info("station %s: bundle %s is ready", update.station, update.bundle_sha256[:12])
                self._models[update.station, update.bundle_sha256] = update.loaded
                metrics.RELOADS.labels("loaded").inc()
            if (update.station, update.bundle_sha256) in self._models:
                self._held[update.station].load(update.bundle_sha256, now_ns())
        for station, held in self._held.items():
            for bundle_sha256 in held.release(now_ns()):
                self.version += 1
                del self._models[station, bundle_sha256]
                log.info("station %s: bundle %s released", station, bundle_sha256[:12])

    def _load(self, station: str) -> tuple[str, StationModel]:
        """Load a bundle beside the live one and test it between two batches; runs in the watcher's thread."""
        path = self._stations[station].bundle
        extractors = {model.group: model.extractor for model in list(self._models.values())}
        lanes = next(iter(extractors.values())).lanes
        model = load_station_model(self._stations[station], self._options, lanes, extractors)
        shadow = self._stations[station].shadow
        if shadow is not None:
            shadow_bundle(shadow, model.bundle, self._stations[station].roi)
        # In the lanes, where an extractor is not used twice at a time: each time one lane is taken for one picture.
        for _ in range(self._executor.count):
            self._executor.call(functools.partial(run_self_test, model, path))
        return model.bundle.sha256, model
