"""Shadow bundles: they score real parts when the worker has nothing else to do, for the metrics only."""

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
from stream.core.verdict import Verdict
from stream.inference.policy.batching import QueuedFrame
from stream.line.config import LineConfig
from stream.line.rules import rules_of
from stream.line.sections import WorkerOptions
from stream.model.bundle import Bundle, shadow_bundle
from stream.model.cpu_lanes import Lanes
from stream.model.extractor import choose_device, load_extractor
from stream.model.patchcore.inspector import Extractor, nearest_patches, score_patches
from stream.model.patchcore.own_banks import search_own_banks
from stream.model.patchcore.search import MemoryBank
from stream.model.station_model import (
    InspectedPart,
    StationModel,
    build_memory_bank,
    inspect_batch,
    prepare,
    run_self_test,
)

log = logging.getLogger(__name__)

#: Parts that may wait until the worker is idle; then the oldest is skipped.
_MAX_WAITING = 16


class _Part(NamedTuple):
    """A part that the live model has inspected: its patch features, of this group, and the live verdict."""

    frame: QueuedFrame
    group: str
    patches: NDArray[np.float32] | None
    live_verdict: Verdict


class Shadow(threading.Thread):
    """Inspects with the stations' shadow bundles, on one core, and begins none while a live part waits."""

    def __init__(self, config: LineConfig, index: int, models: dict[str, StationModel]) -> None:
        """Load and test the shadow bundles beside the live `models`; raises PatchLineError."""
        super().__init__(name="shadow", daemon=True)
        self._options = config.workers[index]
        self._extractors: dict[str, Extractor] = {}
        self._models: dict[str, StationModel] = {}
        for name, station in config.stations.items():
            if station.shadow is None:
                continue
            live = models[name]
            bundle = shadow_bundle(station.shadow, live.bundle, station.roi)
            spec = bundle.info.spec
            # The self-test may call the live extractor here, before the line runs; after that only the live models may.
            shared = spec.key == live.group and live.extractor.device != "cuda"
            extractor = live.extractor if shared else self._extractor(bundle)
            on_gpu = extractor.device == "cuda"
            memory = (
                build_memory_bank(bundle, extractor)
                if on_gpu
                else MemoryBank(bundle.bank, search_own_banks(bundle.bank, spec.coordinates))
            )
            rules = rules_of(name, station, bundle.info)
            model = self._models[name] = StationModel(bundle, extractor, memory, spec.key, False, rules)
            run_self_test(model, station.shadow)
            log.info("station %s: shadow %s, %d patches", name, station.shadow, len(bundle.bank))
        self._changed = threading.Condition()
        self._waiting: deque[_Part] = deque()
        self._idle = self._ending = False

    def end(self) -> None:
        """Stop the thread after the part it is inspecting."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        if self.is_alive():
            self.join(timeout=5.0)

    def offer(self, frame: QueuedFrame, live: StationModel, inspected: InspectedPart, verdict: Verdict) -> None:
        """Queue a part whose live verdict has been sent."""
        if frame.header.station not in self._models:
            return
        with self._changed:
            if len(self._waiting) >= _MAX_WAITING:
                metrics.SHADOW_SKIPPED.labels(self._waiting.popleft().frame.header.station).inc()
            self._waiting.append(_Part(frame, live.group, inspected.patches, verdict))

    def step(self, *, idle: bool) -> None:
        """Run queued parts while the worker is idle; skip them otherwise."""
        if not self._models:
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
        """Inspect one part after the other until `end` is called."""
        faiss.omp_set_num_threads(1)  # of this thread only
        while self._models:
            with self._changed:
                self._changed.wait_for(lambda: self._ending or (self._idle and self._waiting))
                if self._ending:
                    return
                part = self._waiting.popleft()
            try:
                self._inspect(part)
            except Exception:
                # A shadow must not affect the line: its errors do not end the worker.
                metrics.SHADOW_SKIPPED.labels(part.frame.header.station).inc()
                log.exception("shadow of station %s", part.frame.header.station)

    def _inspect(self, part: _Part) -> None:
        header = part.frame.header
        model = self._models[header.station]
        if part.patches is not None and part.group == model.group and isinstance(model.memory, MemoryBank):
            nearest = nearest_patches(model.memory, part.patches)
            inspection = score_patches(model.memory, part.patches, nearest, model.scoring)
        else:
            image = np.frombuffer(part.frame.pixels, np.uint8).reshape(1, header.height_px, header.width_px, 3)
            separate = dataclasses.replace(model, extractor=self._extractor(model.bundle))
            (inspected,) = inspect_batch([separate], image)
            inspection = inspected.inspection
        thresholds = model.bundle.info.thresholds
        assert thresholds is not None, "shadows are calibrated"
        verdict = model.judge(inspection, header.region_px).verdict
        metrics.SHADOW_VERDICTS.labels(header.station, part.live_verdict, verdict).inc()
        if thresholds.image > 0:
            metrics.SHADOW_SCORE_RATIO.labels(header.station).observe(max(0.0, inspection.score / thresholds.image))

    def _extractor(self, bundle: Bundle) -> Extractor:
        """Return an extractor that only this thread uses; on a CPU it takes one core."""
        spec = bundle.info.spec
        if spec.key not in self._extractors:
            options: WorkerOptions = self._options
            device = choose_device(options.device if bundle.graph is None else "openvino")
            lanes = Lanes(1) if device == "openvino" else None
            self._extractors[spec.key] = load_extractor(
                spec, device=device, threads=options.threads, lanes=lanes, graph=bundle.graph
            )
            if device == "cuda":
                prepare(self._extractors[spec.key], 1)
        return self._extractors[spec.key]
