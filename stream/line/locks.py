"""Which role of a line runs, and as which process: one lock file for each."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO

from stream.core.errors import TransportError

#: Whoever looks at a lock with `lock_owner` has it for a moment: no reason for a process of the line not to start.
_TRIES, _AGAIN_S = 20, 0.01


def lock_role(name: str, state: Path) -> IO[str]:
    """Hold an exclusive lock on a role of this line; raises TransportError when another process has it."""
    state.mkdir(parents=True, exist_ok=True)
    path = state / f"{name}.lock"
    file = path.open("a+", encoding="utf-8")
    if not _locked(file):
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise TransportError(
            f"{name} of this line runs already (process {owner}, lock {path}); "
            "stop it, or give this line another store.path"
        ) from None
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file


def _locked(file: IO[str]) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(_AGAIN_S)
        else:
            return True
    return False


def lock_owner(name: str, state: Path) -> int | None:
    """Return the id of the process that holds a role of this line on this host; None: nobody."""
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
