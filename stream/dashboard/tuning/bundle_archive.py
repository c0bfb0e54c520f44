"""The bundle files of changes: each stored under its hash, in a folder of its station beside the event store."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

from stream.core.errors import BundleError, ConflictError
from stream.core.files import file_sha256, replace
from stream.line.config import LineConfig
from stream.line.install import BundleFile, bundle_sha256
from stream.line.unjudged_areas import archived_bundle
from stream.model.bundle import Bundle, live_bundle


class BundleArchive:
    """The archive of one line; any thread may call."""

    def __init__(self, config: LineConfig) -> None:
        """Remove the scratch folders of killed jobs: their names begin with a dot."""
        self._config = config
        for scratch_dir in (config.store.path / "bundles").glob("*/.*"):
            remove(scratch_dir)

    def keep_live(self, station: str) -> tuple[Path, Bundle]:
        """Archive a station's live bundle; returns the archived file and the bundle. Raises BundleError, DiskError."""
        bundle = live_bundle(self._config.stations[station].bundle)
        archived = self.path(station, bundle.sha256)
        if not archived.is_file():
            replace(self._config.stations[station].bundle, archived)
            if file_sha256(archived) != bundle.sha256:
                archived.unlink()
                raise BundleError(f"{archived}: the bundle was replaced meanwhile; try again")
        return archived, bundle

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

    def add(self, station: str, sha256: str, made: Path) -> None:
        """Move a bundle file that was made into the archive, under its hash. Raises BundleError."""
        try:
            made.replace(self.path(station, sha256))
        except OSError as error:
            raise BundleError(f"{made}: cannot be archived: {error.strerror}") from None

    def folder(self, station: str) -> Path:
        """Return the folder of a station's bundles."""
        return self.path(station, "").parent

    def path(self, station: str, sha256: str) -> Path:
        """Return the path of the bundle of this hash, whether it is archived or not."""
        return archived_bundle(self._config, station, sha256)

    def verified(self, station: str, sha256: str) -> BundleFile:
        """Return an archived bundle after hashing its file; raises ConflictError when it is gone or damaged."""
        path = self.path(station, sha256)
        try:
            actual = file_sha256(path)
        except OSError:
            raise ConflictError(f"{path}: this bundle is no longer kept") from None
        if actual != sha256:
            raise ConflictError(f"{path}: damaged: its content is not that of its name; make the change again")
        return BundleFile(path, sha256)

    def live_sha256(self, station: str) -> str:
        """Return the hash of a station's live bundle; empty when it cannot be read or there is no such station."""
        options = self._config.stations.get(station)
        try:
            return "" if options is None else bundle_sha256(options.bundle)
        except BundleError:
            return ""

    def tidy(self, station: str, wanted: Collection[str]) -> None:
        """Remove the bundles of a station that are neither wanted, by their hashes, nor live, nor its shadow."""
        wanted = {*wanted, self.live_sha256(station)}
        options = self._config.stations.get(station)
        if options is not None and options.shadow is not None:
            wanted.add(options.shadow.stem)
        for path in self.folder(station).glob("*.safetensors"):
            if path.stem not in wanted:
                remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder with all its content; another process may be doing the same."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
