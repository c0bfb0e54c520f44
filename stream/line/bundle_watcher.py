"""A thread that reads bundles anew beside a process's work: when it is asked to, or when a file has changed."""

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

_POLL_S = 1.0

T = TypeVar("T")


class BundleUpdate(NamedTuple, Generic[T]):
    """What became of reading one station's bundle.

    Attributes:
        station: whose.
        bundle_sha256: hash of the file; empty when it could not be read.
        loaded: what was made of it; None when there is an error, or the process knew it already.
        error: why it cannot be used.
        request: name of the request that this answers; None when only the file had changed.
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
        asked: threading.Event,
        *,
        load: Callable[[str], tuple[str, T]],
        knows: Callable[[str, str], bool],
        request: Callable[[], str],
    ) -> None:
        """Wait for `asked`, and for changes of the files that are to be watched.

        Args:
            stations: by name.
            asked: set when all are to be read; cleared here.
            load: reads a station's bundle in this thread; returns its hash and what was made of it.
            knows: whether a station's bundle of this hash is at hand, so that it need not be read.
            request: names the present request.
        """
        super().__init__(name="bundle-watcher", daemon=True)
        self._stations = stations
        self._asked = asked
        self._load = load
        self._knows = knows
        self._request = request
        self._updates: deque[BundleUpdate[T]] = deque()
        self._recheck: set[str] = set()
        #: The file as it was last read, and as it was seen at the last look.
        self._read = {name: identity(station.bundle) for name, station in stations.items()}
        self._seen = dict(self._read)

    def recheck(self, station: str) -> None:
        """Have one station's file looked at as if it had changed."""
        self._recheck.add(station)

    def updates(self) -> list[BundleUpdate[T]]:
        """Take out what has become known since the last call."""
        return [self._updates.popleft() for _ in range(len(self._updates))]

    def run(self) -> None:
        """Read what is to be read, for ever."""
        while True:
            if self._asked.wait(_POLL_S):
                self._asked.clear()
                request = self._request()
                for name in self._stations:
                    self._look(name, request)
                continue
            for name, station in self._stations.items():
                doubted = name in self._recheck
                self._recheck.discard(name)
                if doubted or (station.watch and self._changed(name, station)):
                    self._look(name, None)

    def _changed(self, name: str, station: StationOptions) -> bool:
        """Whether there is another file than the one read last, and nobody is still writing to it."""
        found, before = identity(station.bundle), self._seen[name]
        self._seen[name] = found
        return found is not None and found == before and found != self._read[name]

    def _look(self, name: str, request: str | None) -> None:
        path = self._stations[name].bundle
        bundle_sha256, loaded, why = "", None, None
        self._read[name] = identity(path)
        try:
            bundle_sha256 = file_sha256(path)
            if not self._knows(name, bundle_sha256):
                bundle_sha256, loaded = self._load(name)
        except PatchLineError as error:
            why = str(error)
        except OSError as error:
            why = f"{path}: cannot be read: {error.strerror}"
        except Exception as error:
            # Whatever a library makes of a file: the line goes on with the bundle that it has.
            log.exception("reading %s", path)
            why = f"{path}: {type(error).__name__}: {error}"
        self._updates.append(BundleUpdate(name, bundle_sha256, loaded, why, request))
