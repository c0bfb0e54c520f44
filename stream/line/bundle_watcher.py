"""A background thread that reads bundles again: on request, or when a file has changed."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from stream.core.errors import PatchLineError
from stream.core.files import file_sha256, identity
from stream.line.sections import StationOptions

log = logging.getLogger(__name__)

#: Interval at which watched files are checked.
_POLL_S = 1.0

T = TypeVar("T")


class BundleUpdate(NamedTuple, Generic[T]):
    """Outcome of reading one station's bundle.

    Attributes:
        station: its name.
        bundle_sha256: hash of the file; empty when it could not be read.
        loaded: result of `load`; None when there is an error, or the process holds this bundle already.
        error: why the bundle cannot be used.
        request: id of the request that this answers; None when only the file had changed.
    """

    station: str
    bundle_sha256: str
    loaded: T | None
    error: str | None
    request: str | None


class BundleWatcher(threading.Thread, Generic[T]):
    """Reads the stations' bundles, one after the other, in the background."""

    def __init__(
        self,
        stations: Mapping[str, StationOptions],
        requested: threading.Event,
        *,
        load: Callable[[str], tuple[str, T]],
        knows: Callable[[str, str], bool],
        request: Callable[[], str],
    ) -> None:
        """Wait for `requested`, and for changes of the files of stations with `watch`.

        Args:
            stations: by name.
            requested: set when all bundles are to be read; cleared here.
            load: reads a station's bundle, in this thread; returns its SHA-256 and the loaded object.
            knows: whether the process holds a station's bundle of this SHA-256, so that it need not be read.
            request: returns the id of the present request.
        """
        super().__init__(name="bundle-watcher", daemon=True)
        self._stations = stations
        self._requested = requested
        self._load = load
        self._knows = knows
        self._request = request
        self._updates: deque[BundleUpdate[T]] = deque()
        self._recheck: set[str] = set()
        #: Identity of each file when it was last read, and at the last check.
        self._read_identity = {name: identity(station.bundle) for name, station in stations.items()}
        self._seen_identity = dict(self._read_identity)

    def recheck(self, station: str) -> None:
        """Have one station's file read as if it had changed."""
        self._recheck.add(station)

    def updates(self) -> list[BundleUpdate[T]]:
        """Take the updates since the last call."""
        return [self._updates.popleft() for _ in range(len(self._updates))]

    def run(self) -> None:
        """Read on request and on change, until the process ends."""
        while True:
            if self._requested.wait(_POLL_S):
                self._requested.clear()
                request = self._request()
                for name in self._stations:
                    self._read(name, request)
                continue
            for name, station in self._stations.items():
                recheck = name in self._recheck
                self._recheck.discard(name)
                if recheck or (station.watch and self._changed(name, station)):
                    self._read(name, None)

    def _changed(self, name: str, station: StationOptions) -> bool:
        """Whether the file differs from the one read last, and is no longer being written."""
        current, previous = identity(station.bundle), self._seen_identity[name]
        self._seen_identity[name] = current
        return current is not None and current == previous and current != self._read_identity[name]

    def _read(self, name: str, request: str | None) -> None:
        path = self._stations[name].bundle
        bundle_sha256, loaded, fault = "", None, None
        self._read_identity[name] = identity(path)
        try:
            bundle_sha256 = file_sha256(path)
            if not self._knows(name, bundle_sha256):
                bundle_sha256, loaded = self._load(name)
        except PatchLineError as error:
            fault = str(error)
        except OSError as error:
            fault = f"{path}: cannot be read: {error.strerror}"
        except Exception as error:
            # Whatever a library raises for a damaged file: the line goes on with the bundle that it has.
            log.exception("reading %s", path)
            fault = f"{path}: {type(error).__name__}: {error}"
        self._updates.append(BundleUpdate(name, bundle_sha256, loaded, fault, request))
