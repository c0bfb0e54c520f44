"""Work for `Jobs` to do in a separate process, which imports it from here; and waiting for its outcome."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from stream.core.errors import DatasetError
from stream.dashboard.tuning.jobs import Job, Jobs
from stream.training.progress import Track

GENEROUS_S = 60.0


def count(track: Track, *, parts: int) -> int:
    track("count", parts, parts)
    return parts + 1


def refuse(_track: Track) -> None:
    raise DatasetError("good: too few pictures; give more")


def stumble(_track: Track) -> None:
    raise ZeroDivisionError("of nothing")


def vanish(_track: Track) -> None:
    os._exit(3)


def wait(track: Track, *, trace: Path) -> None:
    trace.write_text("begun")
    try:
        track("wait", 1, 2)
        while True:
            time.sleep(0.05)  # until it is stopped
    finally:
        trace.write_text("left in order")


def deaf(track: Track, *, go_on: Path) -> int:
    """Work of a library that does not handle SIGTERM, and has its result even so."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    track("deaf", os.getpid(), 1)
    while not go_on.exists():
        time.sleep(0.01)
    return 1


def linger(_track: Track) -> int:
    threading.Thread(target=time.sleep, args=(600,)).start()
    return 3


def until(jobs: Jobs, holds: Callable[[Job], bool]) -> Job:
    until_s = time.monotonic() + GENEROUS_S
    while not holds(job := jobs.all()[0]):
        assert time.monotonic() < until_s, f"still {job}"
        time.sleep(0.01)
    return job
