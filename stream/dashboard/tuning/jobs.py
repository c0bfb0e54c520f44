"""Long work that people ask for: one at a time, in a process of its own that gives way to the line."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import cv2
from pydantic import BaseModel

from stream.core.errors import ConflictError, PatchLineError
from stream.dashboard.tuning.bundle_archive import remove

log = logging.getLogger(__name__)

_NICE = 19
_REMEMBERED = 20
#: A process that is told to end has so long to remove its files.
_GOODBYE_S = 5.0

JobKind = Literal["accept", "teach"]


class Job(BaseModel):
    """Work that somebody asked for: how far it is, and the `change` that came of it."""

    id: int
    kind: JobKind
    station: str
    who: str
    begun_s: float
    stage: str = "begin"
    done: int = 0
    total: int = 0
    state: Literal["running", "done", "failed", "stopped"] = "running"
    error: str = ""
    change: int | None = None


class Jobs:
    """The jobs of one dashboard; any thread may call."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._numbers = itertools.count(1)
        self._jobs: deque[Job] = deque(maxlen=_REMEMBERED)
        self._process: multiprocessing.process.BaseProcess | None = None
        self._follower = threading.Thread()

    def begin(
        self,
        kind: JobKind,
        station: str,
        who: str,
        work: Callable[..., Any],
        arguments: Mapping[str, Any],
        finish: Callable[[Any], int],
        scratch_dir: Path,
    ) -> Job:
        """Start work, unless some is under way.

        Args:
            kind: of the work.
            station: it is for.
            who: asked for it.
            work: function of a module, called as `work(track, **arguments)` in a process of its own.
            arguments: and its result are sent between the processes.
            finish: called here with the result; returns the number of the change that was made of it.
            workplace: folder for what the work writes, which is removed in the end, however that comes.

        Raises:
            ConflictError: another job is running, or no process can be started.
        """
        try:
            with self._turn:
                if self._jobs and self._jobs[0].state == "running":
                    other = self._jobs[0]
                    raise ConflictError(f"{other.who} has a job running ({other.kind} of {other.station}); wait for it")
                job = Job(id=next(self._numbers), kind=kind, station=station, who=who, begun_s=time.time())
                here, process = _started(kind, work, arguments)
                self._jobs.appendleft(job)
                self._process = process
                self._follower = threading.Thread(
                    target=self._follow, args=(job, here, process, finish, scratch_dir), name="job", daemon=True
                )
                self._follower.start()
                return job.model_copy()
        except BaseException:
            remove(scratch_dir)
            raise

    def all(self) -> list[Job]:
        """Return the last jobs, the newest first."""
        with self._turn:
            return [job.model_copy() for job in self._jobs]

    def stop(self, number: int) -> Job | None:
        """End a job; returns it, or None when there is none of this number. What is done already stays done."""
        with self._turn:
            job = next((each for each in self._jobs if each.id == number), None)
            process, follower = self._process, self._follower
            if job is None or job.state != "running" or process is None:
                return None if job is None else job.model_copy()
            job.state = "stopped"
        process.terminate()
        follower.join(_GOODBYE_S)
        if follower.is_alive():
            process.kill()
            follower.join()
        return job.model_copy()

    def close(self) -> None:
        """End what runs."""
        for job in self.all():
            if job.state == "running":
                self.stop(job.id)

    def _follow(
        self,
        job: Job,
        pipe: Connection,
        process: multiprocessing.process.BaseProcess,
        finish: Callable[[Any], int],
        scratch_dir: Path,
    ) -> None:
        """Hear what the process says until it has its result or ends; nothing of it stays but what was finished."""
        state: Literal["done", "failed"] = "failed"
        error, change = "its process ended without a word; see the log", None
        try:
            with pipe:
                said, value = self._last_word(job, pipe)
            if said == "failed":
                error = value
            elif said == "done" and self._begin_to_finish(job):
                change = finish(value)
                state, error = "done", ""
        except Exception as unforeseen:
            # A result that cannot be kept: its job says so, and the dashboard goes on.
            log.exception("%s of station %s", job.kind, job.station)
            state, error = "failed", str(unforeseen)
        _end(process)
        remove(scratch_dir)
        with self._turn:
            if job.state == "running":
                job.state, job.error, job.change = state, error, change

    def _last_word(self, job: Job, pipe: Connection) -> tuple[str, Any]:
        try:
            while True:
                said, value = pipe.recv()
                if said != "track":
                    return said, value
                job.stage, job.done, job.total = value
        except (EOFError, OSError):
            return "", None

    def _begin_to_finish(self, job: Job) -> bool:
        """Whether nobody has stopped a job before its result came; from now on nobody can."""
        with self._turn:
            if job.state != "running":
                return False
            self._process = None
            return True


def _started(
    kind: JobKind, work: Callable[..., Any], arguments: Mapping[str, Any]
) -> tuple[Connection, multiprocessing.process.BaseProcess]:
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_work, args=(there, work, dict(arguments)), name=f"job-{kind}")
    try:
        process.start()
    except OSError as error:
        here.close()
        raise ConflictError(f"the job's process cannot be started: {error.strerror}; is there memory left?") from None
    finally:
        there.close()
    return here, process


def _work(pipe: Connection, work: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Do the work in this process, which is there for nothing else."""
    os.nice(_NICE)
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the dashboard's to hear
    signal.signal(signal.SIGTERM, _interrupt)  # temporary files are removed on the way out
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def track(stage: str, done: int, total: int) -> None:
        pipe.send(("track", (stage, done, total)))

    try:
        pipe.send(("done", work(track, **arguments)))
    except PatchLineError as error:
        pipe.send(("failed", str(error)))
    except KeyboardInterrupt:
        pass
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked wants to know
        pipe.send(("failed", f"{type(error).__name__}: {error}"))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GOODBYE_S)  # a library that computes for long does not hear it
        os.kill(os.getpid(), signal.SIGKILL)


def _end(process: multiprocessing.process.BaseProcess) -> None:
    """Wait for a process that has said its last word; libraries may keep it."""
    process.join(_GOODBYE_S)
    if process.exitcode is None:
        process.kill()
        process.join()
