"""The bundle files of changes: each kept under its hash, in a folder of its station beside the event store."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

from stream.core.errors import BundleError, ConflictError
from stream.core.files import file_sha256, identity, replace
from stream.line.config import LineConfig
from stream.model.bundle import Bundle, live_bundle


class BundleArchive:
    """The files of one line; any thread may call."""

    def __init__(self, config: LineConfig) -> None:
        """Remove whatever a job has left that was killed: that lies in folders whose names begin with a dot."""
        self._config = config
        self._folder = config.store.path / "bundles"
        for left in self._folder.glob("*/.*"):
            remove(left)

    def keep_live(self, station: str) -> tuple[Path, Bundle]:
        """Keep the bundle that a station has now; returns the kept file. Raises BundleError."""
        bundle = live_bundle(self._config.stations[station].bundle)
        kept = self.file(station, bundle.sha256)
        if not kept.is_file():
            replace(self._config.stations[station].bundle, kept)
            if file_sha256(kept) != bundle.sha256:
                kept.unlink()
                raise BundleError(f"{kept}: the bundle was replaced meanwhile; try again")
        return kept, bundle

    def scratch_dir(self, station: str) -> Path:
        """Return a new folder in which to make a bundle; `remove` it in the end. Raises BundleError."""
        folder = self.folder(station)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(dir=folder, prefix=".new-"))
        except OSError as error:
            raise BundleError(
                f"{folder}: cannot be written: {error.strerror}; check the space and rights of its folder"
            ) from None

    def add(self, station: str, bundle: str, made: Path) -> None:
        """Keep a file that was made, under its hash. Raises BundleError."""
        try:
            made.replace(self.file(station, bundle))
        except OSError as error:
            raise BundleError(f"{made}: cannot be kept: {error.strerror}") from None

    def folder(self, station: str) -> Path:
        """Return where a station's bundles are kept."""
        return self._folder / station

    def file(self, station: str, bundle: str) -> Path:
        """Return where a bundle of this hash is kept, if it is."""
        return self.folder(station) / f"{bundle}.safetensors"

    def whole(self, station: str, bundle: str) -> Path:
        """Return the kept file of a bundle; raises ConflictError when it is gone, or is not what was kept."""
        file = self.file(station, bundle)
        try:
            found = file_sha256(file)
        except OSError:
            raise ConflictError(f"{file}: this bundle is not kept any more") from None
        if found != bundle:
            raise ConflictError(f"{file}: damaged: its content is not that of its name; make the change anew")
        return file

    def live(self, station: str) -> str:
        """Return the hash of the bundle that a station has; empty when it cannot be read."""
        known = self._config.stations.get(station)
        found = None if known is None else identity(known.bundle)
        if known is None or found is None:
            return ""
        try:
            return _hash_of(known.bundle, found)
        except OSError:
            return ""

    def tidy(self, station: str, kept: Collection[str]) -> None:
        """Remove the bundles of a station that are neither `kept` nor live."""
        wanted = {*kept, self.live(station)}
        for file in self.folder(station).glob("*.safetensors"):
            if file.stem not in wanted:
                remove(file)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; somebody else may be doing the same."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


@lru_cache(maxsize=64)
def _hash_of(path: Path, _identity: tuple[int, int, int]) -> str:
    return file_sha256(path)
