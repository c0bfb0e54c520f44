from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from stream.core.errors import BundleError


def file_sha256(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is replaced or written to (inode, ns, bytes); None while it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def cache_folder() -> Path:
    """Return $PATCHLINE_CACHE, else `patchline` below $XDG_CACHE_HOME or ~/.cache."""
    chosen = os.environ.get("PATCHLINE_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "patchline"


def weights_folder() -> Path:
    """Return the folder in which weight files are looked for, by backbone name or by hash."""
    return cache_folder() / "weights"


def replace(source: Path, target: Path) -> None:
    """Copy a file into the place of another, whole or not at all, also when the power fails. Raises BundleError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as partial:
            try:
                with source.open("rb") as file:
                    shutil.copyfileobj(file, partial)
                partial.flush()
                os.fsync(partial.fileno())
                Path(partial.name).chmod(0o644)
                Path(partial.name).replace(target)
            except BaseException:
                Path(partial.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise BundleError(
            f"{target}: cannot be written: {error.strerror}; check the space and rights of its folder"
        ) from None
