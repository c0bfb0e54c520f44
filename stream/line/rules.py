"""A station's rules on spots: checked against its bundle, and named on a command line."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stream.core.errors import ConfigError
from stream.line.config import LineConfig, load
from stream.line.sections import StationOptions
from stream.model.bundle import live_bundle
from stream.model.bundle_info import BundleInfo
from stream.model.patchcore.rules import Rules


class RuledStation(NamedTuple):
    """A station whose rules are tried on other parts than its own; `source` names configuration and station."""

    source: str
    name: str
    station: StationOptions


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
