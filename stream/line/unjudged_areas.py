"""What of a station's parts is not judged, by the bundle that judged them: for the pictures that people see."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import BundleError
from stream.core.files import identity
from stream.line.config import LineConfig
from stream.model.bundle import live_bundle


def archived_bundle(line: LineConfig, station: str, bundle_sha256: str) -> Path:
    """Return the path of a bundle of a station in the archive of its changes, whether it is archived or not."""
    return line.store.path / "bundles" / station / f"{bundle_sha256}.safetensors"


def unjudged_area(line: LineConfig, station: str, bundle_sha256: str | None) -> NDArray[np.bool_] | None:
    """Return which pixels of the network input are not judged, (H, W), over the part's region; any thread may call.

    A bundle is read once. None: everything is judged; so it is where there is no such station, and where the bundle is
    neither live nor archived any more.
    """
    options = line.stations.get(station)
    if options is None or bundle_sha256 is None:
        return None
    for path in (options.bundle, archived_bundle(line, station, bundle_sha256)):
        stamp = identity(path)
        if stamp is None:
            continue
        try:
            read_sha256, filled = _read(path, stamp)
        except BundleError:
            continue
        if read_sha256 == bundle_sha256:
            return filled
    return None


@lru_cache(maxsize=64)
def _read(path: Path, _identity: tuple[int, int, int]) -> tuple[str, NDArray[np.bool_] | None]:
    bundle = live_bundle(path)
    return bundle.sha256, bundle.info.filled
