"""Files: their hash and identity, where the cache is, and writing one whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stream.core.errors import DiskError

#: Most symbolic links that are followed one after the other, as in Linux.
_MOST_LINKS = 40
#: What to do about errors of the system that neither space nor permissions mend.
_FIXES = {
    errno.EISDIR: "name a file in it",
    errno.ELOOP: "its links lead in a circle: remove them, or name another file",
    errno.ENOTDIR: "a file is in the place of a folder: name another one",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.EROFS: "its file system is read-only: name another place, or mount it for writing",
    errno.EINVAL: "name another file",
}
#: Longest path of a folder with the line's Unix sockets, whose paths are limited to 107 bytes with their names.
SOCKET_FOLDER_BYTES = 66
#: Longest one of a folder in which such a folder is made.
_TEMPORARY_FOLDER_BYTES = 45
#: Letters of a file's name that its partial file begins with: names are limited to 255 bytes.
_NAME_LETTERS = 40


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
    """Return $PATCHLINE_CACHE, else `patchline` below $XDG_CACHE_HOME or ~/.cache.

    A user without a home, as in a container that runs under a bare number, has it below `private_folder()`.
    """
    chosen = os.environ.get("PATCHLINE_CACHE")
    if chosen:
        return Path(chosen)
    caches = os.environ.get("XDG_CACHE_HOME")
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.expanduser raises where there is no home
    if caches or home != "~":
        return Path(caches or Path(home, ".cache")) / "patchline"
    return private_folder() / "cache"


def weights_folder() -> Path:
    """Return the folder in which weight files are looked for, by backbone name or by hash."""
    return cache_folder() / "weights"


def temporary_folder() -> Path:
    """Return the folder for temporary files; /tmp where the path of that is too long for a Unix socket below it."""
    folder = tempfile.gettempdir()
    return Path(folder if len(os.fsencode(folder)) <= _TEMPORARY_FOLDER_BYTES else "/tmp")  # noqa: S108 - as TMPDIR


def private_folder(parent: Path | None = None) -> Path:
    """Return a folder of this user below the one for temporary files, or below `parent`; it need not exist yet.

    Raises:
        DiskError: it exists and is another user's, who could change what is in it.
    """
    folder = (parent or temporary_folder()) / f"patchline-{os.getuid()}"
    with suppress(FileNotFoundError):
        status = folder.lstat()
        if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
            raise DiskError(f"{folder}: is not a folder of this user (id {os.getuid()}); remove it, or set TMPDIR")
    return folder


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file whole or not at all; see `partial_file` for `durable` and devices. Raises DiskError."""
    with partial_file(path, durable=durable) as partial:
        partial.write_bytes(data)


def replace(source: Path, target: Path) -> None:
    """Copy the content of a file over another one, whole or not at all. Raises DiskError."""
    with partial_file(target) as partial:
        shutil.copyfile(source, partial)


@contextmanager
def partial_file(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give the block an empty file to fill, which then takes the place of `path`.

    A reader sees the old content or the new one, never a part. If the block raises, the partial file is removed and
    `path` stays as it was. Symbolic links are followed, so that the file behind them is replaced and all who use it by
    another name see the new one. Permissions and, as far as this user may set it, owner are those of the file that is
    replaced; those of a new file are what the umask allows. Missing folders are made. Any thread may call.

    A pipe or a character device, such as /dev/stdout, is not replaced: once the block is through, its content is
    written there. Folders, sockets and block devices are refused.

    Args:
        path: the file.
        durable: flush to disk, so that a power failure leaves the old content or the new one, too. That takes
            milliseconds to seconds on a busy disk. Without it only the end of the process is survived: enough for
            what is of no use after a restart of the host, and for loops that must not wait for a disk.

    Raises:
        DiskError: the file cannot be written; also for an OSError of the block.
    """
    try:
        place = destination(path)
        if _is_stream(place):
            with tempfile.TemporaryDirectory(prefix="patchline-") as scratch:
                partial = Path(scratch, "partial")
                partial.touch()
                yield partial
                _pour(partial, place)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f".{place.name[:_NAME_LETTERS]}.{secrets.token_hex(4)}")
        partial.touch(exist_ok=False)
        mode = stat.S_IMODE(partial.stat().st_mode)
        try:
            yield partial
            partial.chmod(mode)  # a block may have put a file of its own there
            with suppress(FileNotFoundError):
                _dress(partial, place.stat())
            if durable:
                _flush(partial)
            partial.replace(place)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        if durable:
            _flush(place.parent)  # the rename itself
    except OSError as error:
        raise _unwritable(path, error) from error


def check_destination(path: Path, *, stream: bool = False) -> None:
    """Raise DiskError unless a file can be written under a name: before the work whose result it is to hold.

    Nothing is left behind; missing folders are not made yet.

    Args:
        path: the file.
        stream: whether a pipe or a character device such as /dev/stdout will do, as for a report. What is read
            again, as a bundle is, has to be a file.
    """
    try:
        place = destination(path)
        if not _is_stream(place):
            _probe(place.parent)
        elif not stream:
            raise OSError(errno.EINVAL, "a pipe or a device, not a file")
        elif not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unwritable(path, error) from None


def check_new_folder(folder: Path, purpose: str) -> None:
    """Raise DiskError unless a folder is new or empty and can be written, for a purpose such as `a review`."""
    try:
        place = destination(folder)
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise DiskError(f"{folder}: {purpose} needs a new or empty folder; name another or clear this one")
        _probe(place)
    except OSError as error:
        raise _unwritable(folder, error) from None


def _probe(folder: Path) -> None:
    """Write a file without a name into a folder, or where the folder would be made; raises OSError."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder):
        pass


def _unwritable(path: Path, error: OSError) -> DiskError:
    fix = _FIXES.get(error.errno or 0, "check the space and permissions of its folder")
    return DiskError(f"{path}: cannot be written: {error.strerror or error}; {fix}")


def destination(path: Path) -> Path:
    """Return what is written to under a name: the end of its symbolic links, or an open file of a process.

    Raises OSError for a circle of links.
    """
    for _ in range(_MOST_LINKS):
        path = Path(os.path.realpath(path.parent), path.name)
        if not path.is_symlink() or path.is_relative_to("/proc"):  # its links name what is open, not where it is
            return path
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _is_stream(path: Path) -> bool:
    """Whether a name leads to something that is written to, not replaced; raises OSError for what is neither."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.is_relative_to("/proc") or stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
        return True
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"a {'socket' if stat.S_ISSOCK(mode) else 'block device'}, not a file")
    return False


def _pour(source: Path, place: Path) -> None:
    """Write the content of a file to a device, a pipe or an open file."""
    if place.parent == Path(f"/proc/{os.getpid()}/fd"):
        # The file as it is open here: another one would begin at its start, over what was printed.
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        descriptor = os.dup(int(place.name))
    else:
        descriptor = os.open(place, os.O_WRONLY | os.O_NOCTTY)
    with source.open("rb") as content, os.fdopen(descriptor, "wb") as target:
        shutil.copyfileobj(content, target)


def _dress(partial: Path, replaced: os.stat_result) -> None:
    """Give a file the owner and the permissions of the one that it replaces."""
    for owner in (replaced.st_uid, -1):  # who is not root keeps the group at least
        with suppress(PermissionError):
            os.chown(partial, owner, replaced.st_gid)
            break
    partial.chmod(stat.S_IMODE(replaced.st_mode))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
