"""Runs a whole line for a trial, like `patchline run`, for the demo and the bench."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from stream.core.errors import LineFailed, PatchLineError, StoreError
from stream.core.parts import LedgerCounts
from stream.line.config import LineConfig
from stream.line.lifecycle import PARENT_VARIABLE
from stream.store.event_reader import FILE_NAME, EventReader

#: Called with the ledger by station and the process id of the supervisor.
Look = Callable[[dict[str, LedgerCounts], int], None]


def run_trial(path: Path, config: LineConfig, log: Path, look: Look, *, look_s: float = 0.2) -> None:
    """Run the line at `path` to its end; call `look` with its ledger every `look_s` seconds and once afterwards.

    An exception of `look` stops the line, like Ctrl-C, and is raised again once the line has ended.

    Raises:
        LineFailed: the line ended with an error; the message ends with the last lines of its log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        line = subprocess.Popen(
            [sys.executable, "-m", "stream", "run", str(path)],
            stderr=output,
            stdout=output,
            start_new_session=True,
            env=os.environ | {PARENT_VARIABLE: str(os.getpid())},
        )
        try:
            while line.poll() is None:
                look(ledger_of(config), line.pid)
                time.sleep(look_s)
        except BaseException:
            line.send_signal(signal.SIGTERM)
            line.wait()
            raise
    look(ledger_of(config), line.pid)
    if line.returncode != 0:
        tail = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise LineFailed(f"the line ended with exit code {line.returncode}; see {log}:\n" + "\n".join(tail))


def ledger_of(config: LineConfig) -> dict[str, LedgerCounts]:
    """Return the ledger in the line's store, by station; empty while there is none."""
    try:
        with EventReader.open(config.store.path / FILE_NAME) as store:
            return store.ledger()
    except StoreError:
        return {}


def free_ports(count: int, usual: int = 9464) -> int:
    """Return the first of `count` free ports in a row, from `usual` on, so that a line may run beside the trial."""
    for first in range(usual, usual + 400, 20):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise PatchLineError(f"no row of {count} free ports between {usual} and {usual + 400} on 127.0.0.1")
