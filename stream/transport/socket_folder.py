"""The folder of a line's Unix sockets: whoever can write to it can put another socket in a socket's place."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Final

from stream.core.errors import TransportError

#: Interval at which a socket's file and folder are touched: cleaners wait for days.
_TOUCH_NS: Final = 60_000_000_000


def prepare_folder(folder: Path) -> None:
    """Make the folder, for its owner only, if it is missing; raises TransportError when others could change it.

    It must be a folder and no symbolic link, belong to this process's user, be closed to all others, and be in a folder
    in which nobody else may rename it.
    """
    try:
        if not folder.is_symlink():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status, above = folder.lstat(), folder.parent.stat()
    except OSError as error:
        raise TransportError(
            f"{folder}: cannot be made for the line's sockets: {error.strerror}; "
            "check the permissions of its folder, or set XDG_RUNTIME_DIR to one of your own"
        ) from None
    for path, problem in (
        (folder, folder_problem(status, os.geteuid())),
        (folder.parent, parent_problem(above, os.geteuid())),
    ):
        if problem is not None:
            raise TransportError(
                f"{path}: the folder of the line's sockets {problem}, so another user could take a socket's place; "
                f"remove it or `chmod 700 {path}`, or set XDG_RUNTIME_DIR to a folder of your own"
            )


def folder_problem(status: os.stat_result, user: int) -> str | None:
    """Return why others than `user` could change what is in a folder with this `lstat`; or None."""
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return "is no folder"
    if status.st_uid != user:
        return f"belongs to another user ({status.st_uid})"
    mode = stat.S_IMODE(status.st_mode)
    return f"has mode {mode:04o}, not 0700" if mode != 0o700 else None


def parent_problem(status: os.stat_result, user: int) -> str | None:
    """Return why others than `user` could rename what is in a folder with this `stat`; or None."""
    if status.st_uid not in (user, 0):
        return f"is below one of another user ({status.st_uid})"
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        return f"is below one in which others may rename it (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def has_listener(path: Path) -> bool:
    """Whether a process listens on this Unix socket; the file alone may be left over from one that was killed."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True  # alive but busy
        except OSError:
            return False
    return True


class SocketFile:
    """The file of a bound Unix socket."""

    def __init__(self, path: Path) -> None:
        """Remember the file that is there now; raises OSError without one."""
        status = path.stat()
        self._path = path
        self._file = status.st_dev, status.st_ino
        self._next_touch_ns = 0

    def is_in_place(self, now_ns: int) -> bool:
        """Return whether the path still leads to this file; now and then also touch it and its folder."""
        try:
            status = self._path.stat()
            if (status.st_dev, status.st_ino) != self._file:
                return False
            if now_ns >= self._next_touch_ns:
                self._next_touch_ns = now_ns + _TOUCH_NS
                os.utime(self._path)
                os.utime(self._path.parent)
        except OSError:
            return False
        return True
