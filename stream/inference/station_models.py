"""Loads and warms up the stations' bundles in a worker."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping

from stream.line.config import LineConfig
from stream.line.rules import rules_of
from stream.line.sections import StationOptions, WorkerOptions
from stream.model.bundle import live_bundle
from stream.model.cpu_lanes import Lanes
from stream.model.extractor import load_extractor
from stream.model.patchcore.inspector import Extractor
from stream.model.station_model import StationModel, build_memory_bank, precision_note, prepare, run_self_test

log = logging.getLogger(__name__)


def load_station_models(config: LineConfig, index: int) -> dict[str, StationModel]:
    """Load every station's bundle for worker `index`, test it and warm all up; raises PatchLineError."""
    options = config.workers[index]
    extractors: dict[str, Extractor] = {}
    lanes = Lanes(options.threads)
    models: dict[str, StationModel] = {}
    for name, station in config.stations.items():
        model = models[name] = load_station_model(name, station, options, lanes, extractors)
        extractor, path = model.extractor, station.bundle
        extractors[model.group] = extractor
        # The first pass is the slow one: on all cores, and in each lane.
        run_self_test(model, path)
        if extractor.lanes is not None:
            extractor.lanes.everywhere(functools.partial(run_self_test, model, path))
        log.info("station %s: %s, %d patches, %s", name, path, len(model.bundle.bank), extractor.device)
    return models


def load_station_model(
    name: str,
    station: StationOptions,
    options: WorkerOptions,
    lanes: Lanes | None,
    extractors: Mapping[str, Extractor],
) -> StationModel:
    """Load the bundle of a station `name`, without running its network; raises PatchLineError.

    It shares one of the `extractors`, given by their groups, if one computes the same features; else it loads another.
    """
    bundle = live_bundle(station.bundle)
    spec, rules = bundle.info.spec, rules_of(name, station, bundle.info)
    extractor = extractors.get(spec.key)
    if extractor is None:
        extractor = load_extractor(
            spec, device=options.device, threads=options.threads, lanes=lanes, graph=bundle.graph
        )
        if extractor.device == "cuda":
            prepare(extractor, options.max_batch)
    memory = build_memory_bank(bundle, extractor)
    model = StationModel(bundle, extractor, memory, spec.key, station.frame_checks, rules)
    note = precision_note(model, station.bundle)
    if note is not None:
        log.warning(note)
    return model
