"""A station's rules on spots: checked against its bundle, and named on a command line."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import ConfigError
from stream.core.verdict import Verdict, verdict_of
from stream.line.config import LineConfig, load
from stream.line.sections import StationOptions
from stream.model.bundle import live_bundle
from stream.model.bundle_info import BundleInfo
from stream.model.patchcore.rules import Rules
from stream.model.ruling import decided_by_score, ruling_on


class RuledStation(NamedTuple):
    """A station whose rules are tried on other parts than its own; `source` names configuration and station."""

    source: str
    name: str
    station: StationOptions


class PartVerdict(NamedTuple):
    """What a bundle and a station's rules say of a part.

    Attributes:
        score: its image score.
        verdict: GOOD or DEFECT; None: rules may decide, and its patch distances are not known.
        within_spec: GOOD only because rules let every spot pass.
    """

    score: float
    verdict: Verdict | None
    within_spec: bool = False


def verdict_on(
    score: float, distances: NDArray[np.floating] | None, info: BundleInfo, name: str, station: StationOptions
) -> PartVerdict:
    """Return the verdict that a station would give by a bundle.

    Args:
        score: of the part by this bundle.
        distances: (h, w) patch distances by this bundle; None: not known.
        info: of the bundle, which is calibrated.
        name: of the station.
        station: its options.

    Raises:
        ConfigError: see `rules_of`.
    """
    rules = rules_of(name, station, info)
    if distances is None:
        assert info.thresholds is not None, "judged by calibrated bundles only"
        known = decided_by_score(score, info, rules)
        return PartVerdict(score, verdict_of(score, info.thresholds.image) if known else None)
    roi = station.roi or info.roi
    region_px = roi[2:] if roi is not None else info.picture_px or info.spec.input_px
    ruling = ruling_on(score, distances, info, rules, region_px)
    return PartVerdict(score, ruling.verdict, ruling.within_spec)


def rules_of(name: str, station: StationOptions, info: BundleInfo) -> Rules:
    """Return the rules of a station with the ruler for them.

    Raises:
        ConfigError: a rule in mm without a ruler, or for a zone that the bundle does not have.
    """
    rules = Rules(tuple(station.rules), station.mm_per_px or info.mm_per_px)
    rules.check(f"stations.{name}", info.zones.names)
    return rules


def check_rules(config: LineConfig) -> None:
    """Raise ConfigError if the rules of a station cannot be used with its bundle; BundleError if that is unusable."""
    for name, station in config.stations.items():
        if station.rules:
            rules_of(name, station, live_bundle(station.bundle).info)


def ruled_station(text: str) -> RuledStation:
    """Return the station that `CONFIG` or `CONFIG:STATION` names; without a station the only one that has rules.

    Raises:
        ConfigError: no such configuration or station, or one without rules.
    """
    path, _, wanted = (text, "", "") if Path(text).is_file() else text.rpartition(":")
    config = load(Path(path or text))
    ruled = [name for name, station in config.stations.items() if station.rules]
    listed = ", ".join(ruled) or "none"
    if wanted and wanted not in config.stations:
        known = ", ".join(config.stations)
        raise ConfigError(f"--rules: {path} has no station '{wanted}'; stations: {known}; with rules: {listed}")
    if wanted and wanted not in ruled:
        raise ConfigError(f"--rules: stations.{wanted} of {path} has no rules; stations with rules: {listed}")
    if not wanted and len(ruled) != 1:
        raise ConfigError(f"--rules: name one station as {text}:STATION; stations with rules: {listed}")
    name = wanted or ruled[0]
    return RuledStation(f"{path or text}:{name}", name, config.stations[name])
