"""Whether this process can write where the line keeps its data: found out before anything runs, with what to do."""

from __future__ import annotations

import errno
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stream.core.errors import DiskError
from stream.line.config import LineConfig

#: Bytes that a folder must have room for: a new event store with its journal.
_ROOM_BYTES = 512 * 1024
#: Databases and folders below `store.path` that an earlier run, perhaps of another user, has left.
_OF_THE_STORE = ("*.sqlite", "*.sqlite-wal", "*.sqlite-shm", "state", "state/*", "overlays", "overlays/*")


def check_folders(config: LineConfig, role: str) -> None:
    """Raise DiskError with a line for each folder that `role`, or any role if it is the supervisor, cannot write."""
    problems = [problem for _, problem in folder_problems(config, role) if problem is not None]
    if problems:
        raise DiskError("\n".join(problems))


def folder_problems(config: LineConfig, role: str = "supervisor") -> Iterator[tuple[str, str | None]]:
    """Yield every option that names a folder to write in, and why that is impossible; missing folders are made."""
    left = [path for pattern in _OF_THE_STORE for path in sorted(config.store.path.glob(pattern))]
    yield "store.path", _problem("store.path", config.store.path, left)
    for name, camera in config.cameras.items():
        if camera.record is not None and role in ("supervisor", f"capture-{name}"):
            option = f"cameras.{name}.record.path"
            yield option, _problem(option, camera.record.path, [])
    for name, actuator in config.actuators.items():
        if actuator.kind == "log" and role in ("supervisor", "sink"):
            option = f"actuators.{name}.path"
            present = [actuator.path] if actuator.path.exists() else []
            yield option, _problem(option, actuator.path.parent, present)


def _problem(option: str, folder: Path, left: list[Path]) -> str | None:
    """Return why a folder, and what is left in it, cannot be written, as one line; None if it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_ROOM_BYTES))
    except OSError as error:
        return f"{option}: {folder}: {_reason(error, folder)}"
    for path in left:
        allowed = os.access(path, os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0), effective_ids=True)
        if not allowed and path.exists():  # else another role, which starts meanwhile, has replaced it
            return f"{option}: {path}: cannot be written{_owners(path, folder)}"
    return None


def _reason(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"the disk has no room for {_ROOM_BYTES // 1024} KiB ({error.strerror}); free some, or name another one"
    if error.errno == errno.EROFS:
        return "is on a read-only file system; name another folder, or mount it for writing"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "a file is in the place of a folder; name another folder, or remove the file"
    existing = next(path for path in (folder, *folder.parents) if path.exists() or path == path.parent)
    what = "cannot be written" if existing == folder else "cannot be made"
    return f"{what} ({error.strerror}){_owners(existing, existing)}"


def _owners(path: Path, folder: Path) -> str:
    """Return, where a path is another user's, whose it is and what to do."""
    owner, own = path.stat().st_uid, os.geteuid()
    if owner == own:
        return (
            f"; its permissions are {path.stat().st_mode & 0o777:o}: `chmod -R u+rwX {folder}`, or name another folder"
        )
    return (
        f"; {path} belongs to {_user(owner)}, this process runs as {_user(own)}: "
        f"`chown -R {own} {folder}` as root, or name another folder"
    )


def _user(number: int) -> str:
    try:
        return f"user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"user id {number}"
