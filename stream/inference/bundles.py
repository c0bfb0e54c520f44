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
    """Every station's judges, by the hash of their bundle."""

    def __init__(
        self,
        config: LineConfig,
        index: int,
        judges: dict[str, StationModel],
        desk: InferenceExecutor,
        asked: threading.Event,
    ) -> None:
        """Begin with one judge for each station; read the bundles again when `asked`, or when a watched one changes."""
        self._stations = config.stations
        self._options = config.workers[index]
        self._desk = desk
        self._judges = {(name, one.bundle.sha256): one for name, one in judges.items()}
        grace_ns = {name: int(station.deadline_ms * 1e6) + GRACE_NS for name, station in config.stations.items()}
        self._held = {
            name: Held(one.bundle.sha256, grace_ns=grace_ns[name], now_ns=now_ns()) for name, one in judges.items()
        }
        self._refused: dict[str, Refusal] = {}
        self._attempts = 0
        self._look_ns: dict[tuple[str, str], int] = {}
        #: Counts the changes of `accepts` and `refused`.
        self.version = 0
        self._renewal: BundleWatcher[StationModel] = BundleWatcher(
            config.stations,
            asked,
            load=self._load,
            knows=lambda station, bundle: (station, bundle) in self._judges,
            request=str,
        )
        self._renewal.start()

    def judge(self, station: str, bundle: str) -> StationModel | None:
        """Return the judge of a frame that has come; None: the bundle is not held."""
        one = self._judges.get((station, bundle))
        if one is not None:
            self._held[station].use(bundle, now_ns())
        return one

    def accepts(self, stations: set[str]) -> dict[str, tuple[str, ...]]:
        """Return for each of these stations the bundles that are held."""
        return {name: self._held[name].bundles for name in stations}

    def refused(self, stations: set[str]) -> dict[str, Refusal]:
        """Return what became of the last bundle that could not be loaded."""
        return {name: refusal for name, refusal in self._refused.items() if name in stations}

    def want(self, wanted_bundles: WantedBundles) -> None:
        """Take in what capture says it needs."""
        now = now_ns()
        for station, bundles in wanted_bundles.bundles.items():
            if station not in self._held:
                continue
            self._held[station].want(bundles, now)
            for bundle in bundles:
                self._miss(station, bundle, now)

    def _miss(self, station: str, bundle: str, now: int) -> None:
        """Look at the file when capture goes on wanting what is not held: nobody has asked here, or capture is new."""
        refusal = self._refused.get(station)
        if (station, bundle) in self._judges or (refusal is not None and refusal.bundle in (bundle, "")):
            self._look_ns.pop((station, bundle), None)
        elif now >= self._look_ns.setdefault((station, bundle), now + _PATIENCE_NS):
            self._look_ns[station, bundle] = now + 10 * _PATIENCE_NS
            self._renewal.doubt(station)

    def step(self) -> None:
        """Take over what was loaded meanwhile, release what is out of use."""
        for news in self._renewal.news():
            self.version += 1
            if news.error is not None:
                log.error("station %s: bundle refused: %s", news.station, news.error)
                self._attempts += 1
                self._refused[news.station] = Refusal(news.bundle, self._attempts, news.error[:500])
                metrics.RELOADS.labels("refused").inc()
                continue
            self._refused.pop(news.station, None)
            if news.loaded is not None:
                log.info("station %s: bundle %s is ready", news.station, news.bundle[:12])
                self._judges[news.station, news.bundle] = news.loaded
                metrics.RELOADS.labels("loaded").inc()
            if (news.station, news.bundle) in self._judges:
                self._held[news.station].load(news.bundle, now_ns())
        for station, held in self._held.items():
            for bundle in held.release(now_ns()):
                self.version += 1
                del self._judges[station, bundle]
                log.info("station %s: bundle %s released", station, bundle[:12])

    def _load(self, station: str) -> tuple[str, StationModel]:
        """Load a bundle beside the live one and test it between two batches; runs in the renewal's thread."""
        path = self._stations[station].bundle
        extractors = {one.group: one.extractor for one in list(self._judges.values())}
        lanes = next(iter(extractors.values())).lanes
        one = load_station_model(self._stations[station], self._options, lanes, extractors)
        shadow = self._stations[station].shadow
        if shadow is not None:
            shadow_bundle(shadow, one.bundle, self._stations[station].roi)
        # In the lanes, where an extractor is not used twice at a time: each time one lane is taken for one picture.
        for _ in range(self._desk.count):
            self._desk.call(functools.partial(run_self_test, one, path))
        return one.bundle.sha256, one
