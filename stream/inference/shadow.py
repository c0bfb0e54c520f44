"""Second bundles, tried on real parts: scored when the worker has nothing else to do, and only for the metrics."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections import deque
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from stream.core import metrics
from stream.core.verdict import Verdict, verdict_of
from stream.inference.policy.batching import QueuedFrame
from stream.line.config import LineConfig
from stream.line.sections import WorkerOptions
from stream.model.bundle import Bundle, shadow_bundle
from stream.model.cpu_lanes import Lanes
from stream.model.extractor import choose_device, load_extractor
from stream.model.patchcore.inspector import Extractor, nearest_patches, score_patches
from stream.model.patchcore.search import MemoryBank, flat_index
from stream.model.station_model import (
    InspectedPart,
    StationModel,
    build_memory_bank,
    inspect_batch,
    prepare,
    run_self_test,
)

log = logging.getLogger(__name__)

#: Parts that wait for the worker's next idle moment.
_WAITING = 16


class _Part(NamedTuple):
    frame: QueuedFrame
    group: str
    patches: NDArray[np.float32] | None
    live: Verdict


class Shadow(threading.Thread):
    """Judges with the stations' shadow bundles. It computes on one core, and never while a part waits."""

    def __init__(self, config: LineConfig, index: int, judges: dict[str, StationModel]) -> None:
        """Load and test the shadows of all stations that have one; raises PatchLineError."""
        super().__init__(name="shadow", daemon=True)
        self._options = config.workers[index]
        self._own: dict[str, Extractor] = {}
        self._judges: dict[str, StationModel] = {}
        for name, station in config.stations.items():
            if station.shadow is None:
                continue
            live = judges[name]
            bundle = shadow_bundle(station.shadow, live.bundle, station.roi)
            spec = bundle.info.spec
            # The live extractor may be called here, before the line runs, and at no other time.
            shared = spec.key == live.group and live.extractor.device != "cuda"
            extractor = live.extractor if shared else self._extractor(bundle)
            on_gpu = extractor.device == "cuda"
            memory = (
                build_memory_bank(bundle, extractor) if on_gpu else MemoryBank(bundle.bank, flat_index(bundle.bank))
            )
            self._judges[name] = StationModel(bundle, extractor, memory, spec.key, frame_checks=False)
            run_self_test(self._judges[name], station.shadow)
            log.info("station %s: shadow %s, %d patches", name, station.shadow, len(bundle.bank))
        self._changed = threading.Condition()
        self._waiting: deque[_Part] = deque()
        self._idle = self._ending = False

    def end(self) -> None:
        """Stop the thread; it finishes the part in its hands."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        if self.is_alive():
            self.join(timeout=5.0)

    def offer(self, frame: QueuedFrame, live: StationModel, judged: InspectedPart, verdict: Verdict) -> None:
        """Note a part whose verdict has been sent."""
        if frame.header.station not in self._judges:
            return
        with self._changed:
            if len(self._waiting) >= _WAITING:
                metrics.SHADOW_SKIPPED.labels(self._waiting.popleft().frame.header.station).inc()
            self._waiting.append(_Part(frame, live.group, judged.patches, verdict))

    def step(self, *, idle: bool) -> None:
        """Begin with what waits while the worker is idle; else give it up."""
        if not self._judges:
            return
        with self._changed:
            self._idle = idle
            if not idle:
                for part in self._waiting:
                    metrics.SHADOW_SKIPPED.labels(part.frame.header.station).inc()
                self._waiting.clear()
            elif self._waiting:
                self._changed.notify()

    def run(self) -> None:
        """Judge one part after the other, for ever."""
        faiss.omp_set_num_threads(1)  # of this thread only
        while self._judges:
            with self._changed:
                self._changed.wait_for(lambda: self._ending or (self._idle and self._waiting))
                if self._ending:
                    return
                part = self._waiting.popleft()
            try:
                self._judge(part)
            except Exception:
                # A shadow has no power over the line, not even that of ending its worker.
                metrics.SHADOW_SKIPPED.labels(part.frame.header.station).inc()
                log.exception("shadow of station %s", part.frame.header.station)

    def _judge(self, part: _Part) -> None:
        header = part.frame.header
        one = self._judges[header.station]
        if part.patches is not None and part.group == one.group and isinstance(one.memory, MemoryBank):
            nearest = nearest_patches(one.memory, part.patches)
            found = score_patches(
                one.memory, part.patches, nearest, reweight_neighbours=one.bundle.info.reweight_neighbours
            )
        else:
            image = np.frombuffer(part.frame.pixels, np.uint8).reshape(1, header.height_px, header.width_px, 3)
            own = dataclasses.replace(one, extractor=self._extractor(one.bundle))
            (judged,) = inspect_batch([own], image)
            found = judged.inspection
        thresholds = one.bundle.info.thresholds
        assert thresholds is not None, "shadows are calibrated"
        verdict = verdict_of(found.score, thresholds.image)
        metrics.SHADOW_VERDICTS.labels(header.station, part.live, verdict).inc()
        if thresholds.image > 0:
            metrics.SHADOW_SCORE_RATIO.labels(header.station).observe(found.score / thresholds.image)

    def _extractor(self, bundle: Bundle) -> Extractor:
        """Return an extractor that nobody else uses, on one core of a CPU."""
        spec = bundle.info.spec
        if spec.key not in self._own:
            options: WorkerOptions = self._options
            device = choose_device(options.device if bundle.graph is None else "openvino")
            lanes = Lanes(1) if device == "openvino" else None
            self._own[spec.key] = load_extractor(
                spec, device=device, threads=options.threads, lanes=lanes, graph=bundle.graph
            )
            if device == "cuda":
                prepare(self._own[spec.key], 1)
        return self._own[spec.key]
