"""Running a whole line for a trial, as a user would with `patchline run`: for the demo and the bench."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from stream.config import LineConfig
from stream.errors import LineFailed, PatchLineError, StoreError
from stream.line.ledger import Counts
from stream.store import FILE_NAME, EventStore

#: Called with the ledger by station and the process id of the supervisor.
Look = Callable[[dict[str, Counts], int], None]


def run_trial(path: Path, config: LineConfig, log: Path, look: Look) -> None:
    """Run the line at `path` to its end, looking at its ledger a few times a second and once afterwards.

    Raises:
        LineFailed: the line ended with an error; the end of its log stands in the message.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        line = subprocess.Popen(
            [sys.executable, "-m", "stream", "run", str(path)], stderr=output, stdout=output, start_new_session=True
        )
        try:
            while line.poll() is None:
                look(_ledger(config), line.pid)
                time.sleep(0.2)
        except BaseException:
            line.send_signal(signal.SIGTERM)
            line.wait()
            raise
    look(_ledger(config), line.pid)
    if line.returncode != 0:
        tail = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise LineFailed(f"the line ended with exit code {line.returncode}; see {log}:\n" + "\n".join(tail))


def _ledger(config: LineConfig) -> dict[str, Counts]:
    """Look into the store of the running line; empty while there is none."""
    try:
        store = EventStore.read(config.store.path / FILE_NAME)
    except StoreError:
        return {}
    try:
        return store.ledger()
    except StoreError:
        return {}
    finally:
        store.close()


def free_ports(count: int) -> int:
    """Return the first port of a free row, beginning at the usual one, so that a line may run beside the trial."""
    for first in range(9464, 9464 + 400, 20):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise PatchLineError("no row of free ports for /metrics between 9464 and 9864 on 127.0.0.1")
