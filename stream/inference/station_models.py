"""Loading and warming up the stations' bundles in a worker."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping

from stream.line.config import LineConfig
from stream.line.sections import StationOptions, WorkerOptions
from stream.model.bundle import live_bundle
from stream.model.cpu_lanes import Lanes
from stream.model.extractor import load_extractor
from stream.model.patchcore.inspector import Extractor
from stream.model.station_model import StationModel, build_memory_bank, prepare, run_self_test

log = logging.getLogger(__name__)


def load_station_models(config: LineConfig, index: int) -> dict[str, StationModel]:
    """Load every station's bundle for worker `index`, test it and warm all up; raises PatchLineError."""
    options = config.workers[index]
    extractors: dict[str, Extractor] = {}
    lanes = Lanes(options.threads)
    judges: dict[str, StationModel] = {}
    for name, station in config.stations.items():
        one = judges[name] = load_station_model(station, options, lanes, extractors)
        extractors[one.group] = one.extractor
        # The first pass is the slow one, on all cores and in each lane.
        run_self_test(one, station.bundle)
        if one.extractor.lanes is not None:
            one.extractor.lanes.everywhere(functools.partial(run_self_test, one, station.bundle))
        log.info("station %s: %s, %d patches, %s", name, station.bundle, len(one.bundle.bank), one.extractor.device)
    return judges


def load_station_model(
    station: StationOptions, options: WorkerOptions, lanes: Lanes | None, extractors: Mapping[str, Extractor]
) -> StationModel:
    """Load a station's bundle; one of the `extractors`, by their groups, serves it if it can, but is not called.

    Raises PatchLineError.
    """
    bundle = live_bundle(station.bundle)
    spec = bundle.info.spec
    extractor = extractors.get(spec.key)
    if extractor is None:
        extractor = load_extractor(
            spec, device=options.device, threads=options.threads, lanes=lanes, graph=bundle.graph
        )
        if extractor.device == "cuda":
            prepare(extractor, options.max_batch)
    return StationModel(bundle, extractor, build_memory_bank(bundle, extractor), spec.key, station.frame_checks)
