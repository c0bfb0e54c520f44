"""Long work that users start: one job at a time, in a separate process with lower priority than the line."""

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
import threadpoolctl
from pydantic import BaseModel

from stream.core.errors import ConflictError, PatchLineError
from stream.dashboard.tuning.bundle_archive import remove

log = logging.getLogger(__name__)

_NICE = 19
_REMEMBERED = 20
#: Grace period in which a stopped process may remove its files, in seconds.
_GOODBYE_S = 5.0

JobKind = Literal["accept", "marks", "teach", "leave_out"]


class Job(BaseModel):
    """Work that the user `who` started: its progress, and the number of the `change` that it made."""

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
        user: str,
        work: Callable[..., Any],
        arguments: Mapping[str, Any],
        finish: Callable[[Any], int],
        scratch_dir: Path,
    ) -> Job:
        """Start a job, unless another is running.

        Args:
            kind: of the work.
            station: that it is for.
            user: who starts it.
            work: function of a module, called as `work(track, **arguments)` in a separate process.
            arguments: of `work`; they and its result are pickled between the processes.
            finish: called in this process with the result; returns the number of the change that was made of it.
            scratch_dir: folder for the work's files; it is removed in the end, also when the work fails.

        Raises:
            ConflictError: another job is running, or no process can be started.
        """
        try:
            with self._turn:
                if self._jobs and self._jobs[0].state == "running":
                    other = self._jobs[0]
                    raise ConflictError(f"{other.who} has a job running ({other.kind} of {other.station}); wait for it")
                job = Job(id=next(self._numbers), kind=kind, station=station, who=user, begun_s=time.time())
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
        """Return the last jobs, latest first."""
        with self._turn:
            return [job.model_copy() for job in self._jobs]

    def stop(self, number: int) -> Job | None:
        """Stop a job that runs; returns it, or None where no job has this number. A finished job stays as it is."""
        with self._turn:
            job = next((job for job in self._jobs if job.id == number), None)
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
        """Stop the running job."""
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
        """Receive progress until the process sends its result or ends; then finish the job and remove its files."""
        state: Literal["done", "failed"] = "failed"
        error, change = "its process ended without a result; see the log", None
        try:
            with pipe:
                outcome, value = self._outcome(job, pipe)
            if outcome == "failed":
                error = value
            elif outcome == "done" and self._begin_to_finish(job):
                change = finish(value)
                state, error = "done", ""
        except Exception as unforeseen:
            # A result that cannot be stored fails its job, not the dashboard.
            log.exception("%s of station %s", job.kind, job.station)
            state, error = "failed", str(unforeseen)
        _end(process)
        remove(scratch_dir)
        with self._turn:
            if job.state == "running":
                job.state, job.error, job.change = state, error, change

    def _outcome(self, job: Job, pipe: Connection) -> tuple[str, Any]:
        """Follow the progress until (done, result) or (failed, error); an empty kind where the process just ended."""
        try:
            while True:
                kind, value = pipe.recv()
                if kind != "track":
                    return kind, value
                job.stage, job.done, job.total = value
        except (EOFError, OSError):
            return "", None

    def _begin_to_finish(self, job: Job) -> bool:
        """Whether a job was not stopped before its result came; from now on it cannot be."""
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
    """Do the work in this process, which has no other purpose."""
    os.nice(_NICE)
    _compute_in_one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the dashboard, which ends its jobs
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
    except Exception as error:  # noqa: BLE001 - the user has to see any of them
        pipe.send(("failed", f"{type(error).__name__}: {error}"))


def _compute_in_one_thread() -> None:
    """Keep numerical libraries to one thread each, those too that are loaded later.

    Their threads wait for one another in loops. At this priority, beside a line, one alone is quicker.
    """
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    threadpoolctl.threadpool_limits(1)
    cv2.setNumThreads(1)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GOODBYE_S)  # a library in a long computation does not handle the signal
        os.kill(os.getpid(), signal.SIGKILL)


def _end(process: multiprocessing.process.BaseProcess) -> None:
    """Wait for a process that has sent its outcome; threads of libraries may keep it alive."""
    process.join(_GOODBYE_S)
    if process.exitcode is None:
        process.kill()
        process.join()
