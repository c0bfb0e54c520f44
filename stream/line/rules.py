"""A station's rules on spots, checked against its bundle."""

from __future__ import annotations

from stream.line.config import LineConfig
from stream.line.sections import StationOptions
from stream.model.bundle import BundleInfo, live_bundle
from stream.model.patchcore.rules import Rules


def rules_of(name: str, station: StationOptions, info: BundleInfo) -> Rules:
    """Return the rules of a station with the ruler for them.

    Raises:
        ConfigError: a rule in mm without a ruler, or for a zone that the bundle does not have.
    """
    rules = Rules(tuple(station.rules), station.mm_per_px)
    rules.check(f"stations.{name}", info.zones.names)
    return rules


def check_rules(config: LineConfig) -> None:
    """Raise ConfigError if the rules of a station cannot be used with its bundle; BundleError if that is unusable."""
    for name, station in config.stations.items():
        if station.rules:
            rules_of(name, station, live_bundle(station.bundle).info)
