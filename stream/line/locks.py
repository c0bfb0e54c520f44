"""One lock file for each role of a line: whether the role runs, and as which process."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from stream.core.errors import DiskError, TransportError

#: Attempts to lock and pause between them: `lock_owner` holds a lock for a moment, which must not prevent a start.
_ATTEMPTS, _RETRY_S = 20, 0.01


def lock_role(name: str, state: Path) -> IO[str]:
    """Lock a role of this line for as long as the file is open.

    Raises:
        TransportError: another process has it.
        DiskError: the file cannot be made.
    """
    path = state / f"{name}.lock"
    try:
        state.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise DiskError(
            f"store.path: {path}: cannot be written: {error.strerror}; check owner, permissions and space"
        ) from None
    if not _locked(file):
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise TransportError(
            f"{name} of this line runs already (process {owner}, lock {path}); "
            "stop it, or give this line another store.path"
        ) from None
    try:
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
    except OSError as error:
        with suppress(OSError):
            file.close()
        raise DiskError(f"store.path: {path}: cannot be written: {error.strerror}; free space on its disk") from None
    return file


def _locked(file: IO[str]) -> bool:
    for _ in range(_ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(_RETRY_S)
        else:
            return True
    return False


def lock_owner(name: str, state: Path) -> int | None:
    """Return the id of the process that runs a role of this line on this host, or None."""
    try:
        with (state / f"{name}.lock").open("r", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                owner = file.read().strip()
                return int(owner) if owner.isdecimal() else None
    except OSError:
        pass
    return None
