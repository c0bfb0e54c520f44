"""Files: their hash and identity, where the cache is, and writing one whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stream.core.errors import DiskError


def file_sha256(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is replaced or written to (inode, ns, bytes); None while it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def cache_folder() -> Path:
    """Return $PATCHLINE_CACHE, else `patchline` below $XDG_CACHE_HOME or ~/.cache."""
    chosen = os.environ.get("PATCHLINE_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "patchline"


def weights_folder() -> Path:
    """Return the folder in which weight files are looked for, by backbone name or by hash."""
    return cache_folder() / "weights"


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file whole or not at all; see `partial_file` for `durable`. Raises DiskError."""
    with partial_file(path, durable=durable) as partial:
        partial.write_bytes(data)


def replace(source: Path, target: Path) -> None:
    """Copy the content of a file over another one, whole or not at all. Raises DiskError."""
    with partial_file(target) as partial:
        shutil.copyfile(source, partial)


@contextmanager
def partial_file(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give the block an empty file to fill, in the folder of `path`, which then takes the place of `path`.

    A reader sees the old content or the new one, never a part. If the block raises, the partial file is removed and
    `path` stays as it was. The permissions are those that writing in place would leave: those of the file that is
    replaced, or, for a new file, what the umask allows. Missing folders are made. Any thread may call.

    Args:
        path: the file.
        durable: flush to disk, so that a power failure leaves the old content or the new one, too. That takes
            milliseconds to seconds on a busy disk. Without it only the end of the process is survived: enough for
            what is of no use after a restart of the host, and for loops that must not wait for a disk.

    Raises:
        DiskError: the file cannot be written; also for an OSError of the block.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        partial.touch(exist_ok=False)
        try:
            yield partial
            with suppress(FileNotFoundError):
                partial.chmod(stat.S_IMODE(path.stat().st_mode))
            if durable:
                _flush(partial)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        if durable:
            _flush(path.parent)  # the rename itself
    except OSError as error:
        raise DiskError(
            f"{path}: cannot be written: {error.strerror or error}; check the space and permissions of its folder"
        ) from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
