from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.job_targets import GENEROUS_S, count, deaf, linger, refuse, stumble, until, vanish, wait

from stream.core.errors import ConflictError, ReloadError
from stream.dashboard.tuning.jobs import Job, Jobs


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    found = Jobs()
    yield found
    found.close()


def scratch_dir() -> Path:
    """A folder with something half done in it."""
    folder = Path(tempfile.mkdtemp())
    (folder / "half").write_bytes(b"half")
    return folder


def begin(jobs: Jobs, work: Callable[..., Any], finish: Callable[[Any], int] = lambda _: 0, **arguments: Any) -> Job:
    return jobs.begin("accept", "cap", "anna", work, arguments, finish, scratch_dir())


def ended(job: Job) -> bool:
    return job.state != "running"


def test_what_comes_of_the_work_is_finished_here_and_named(jobs: Jobs):
    threads: list[str] = []

    def finish(result: int) -> int:
        threads.append(threading.current_thread().name)
        return result * 10

    first = begin(jobs, count, finish, parts=4)
    assert (first.state, first.who, first.station) == ("running", "anna", "cap")
    job = until(jobs, ended)
    assert (job.state, job.error, job.change) == ("done", "", 50)
    assert (job.stage, job.done, job.total) == ("count", 4, 4)
    assert threads == ["job"]


@pytest.mark.parametrize(
    ("work", "says"),
    [
        (refuse, "good: too few pictures; give more"),
        (stumble, "ZeroDivisionError: of nothing"),
        (vanish, "its process ended without a result"),
    ],
)
def test_work_that_fails_says_why_and_the_next_may_begin(jobs: Jobs, work: Callable[..., Any], says: str):
    begin(jobs, work)
    job = until(jobs, ended)
    assert (job.state, job.change) == ("failed", None)
    assert says in job.error
    begin(jobs, count, parts=1)
    assert until(jobs, ended).state == "done"
    assert [each.state for each in jobs.all()] == ["done", "failed"]


def test_a_result_that_cannot_be_kept_fails_the_job(jobs: Jobs):
    def refuse_result(_result: int) -> int:
        raise ReloadError("the bundle was replaced")

    begin(jobs, count, refuse_result, parts=1)
    job = until(jobs, ended)
    assert (job.state, job.error) == ("failed", "the bundle was replaced")


def test_one_thing_is_done_at_a_time_and_it_can_be_stopped_in_order(jobs: Jobs, tmp_path: Path):
    trace = tmp_path / "trace"
    number = begin(jobs, wait, trace=trace).id
    until(jobs, lambda job: job.stage == "wait")
    with pytest.raises(ConflictError, match="anna has a job running"):
        begin(jobs, count, parts=1)
    stopped = jobs.stop(number)
    assert stopped is not None
    assert stopped.state == "stopped"
    assert trace.read_text() == "left in order"
    assert jobs.stop(number + 1) is None
    begin(jobs, count, parts=1)
    assert until(jobs, ended).state == "done"


@pytest.mark.parametrize(("work", "state"), [(count, "done"), (refuse, "failed"), (vanish, "failed")])
def test_nothing_is_left_where_a_job_has_worked(jobs: Jobs, work: Callable[..., Any], state: str):
    folder = scratch_dir()
    jobs.begin("accept", "cap", "anna", work, {"parts": 1} if work is count else {}, lambda _: 0, folder)
    assert until(jobs, ended).state == state
    assert not folder.exists()


def test_a_job_that_is_refused_leaves_nothing_and_one_that_is_stopped_neither(jobs: Jobs, tmp_path: Path):
    first, second = scratch_dir(), scratch_dir()
    jobs.begin("accept", "cap", "anna", wait, {"trace": tmp_path / "trace"}, lambda _: 0, first)
    with pytest.raises(ConflictError):
        jobs.begin("accept", "cap", "otto", count, {"parts": 1}, lambda _: 0, second)
    assert not second.exists()
    jobs.stop(jobs.all()[0].id)
    assert not first.exists()


def test_what_a_stopped_job_has_made_even_so_is_not_kept(jobs: Jobs, tmp_path: Path):
    finished: list[int] = []

    def finish(result: int) -> int:
        finished.append(result)
        return 0

    number = begin(jobs, deaf, finish, go_on=tmp_path / "go on").id
    until(jobs, lambda job: job.stage == "deaf")
    stopping = threading.Thread(target=jobs.stop, args=(number,))
    stopping.start()
    until(jobs, lambda job: job.state == "stopped")
    (tmp_path / "go on").touch()
    stopping.join(GENEROUS_S)
    assert not stopping.is_alive()
    assert (finished, jobs.all()[0].state, jobs.all()[0].change) == ([], "stopped", None)


def test_a_process_that_lingers_behind_its_result_holds_up_nobody(jobs: Jobs):
    begin(jobs, linger)
    assert until(jobs, ended).state == "done"


def test_a_job_ends_with_its_dashboard_also_when_it_hears_no_signal(tmp_path: Path):
    program = (
        "import sys, pathlib, time\n"
        "from stream.dashboard.tuning.jobs import Jobs\n"
        "from support.job_targets import deaf, until\n"
        "if __name__ == '__main__':\n"
        "    jobs = Jobs()\n"
        "    never = pathlib.Path(sys.argv[1]) / 'never'\n"
        "    jobs.begin('accept', 'cap', 'anna', deaf, {'go_on': never}, lambda _: 0, never)\n"
        "    print(until(jobs, lambda job: job.stage == 'deaf').done, flush=True)\n"
        "    time.sleep(600)\n"
    )
    (tmp_path / "dashboard.py").write_text(program)
    dashboard = subprocess.Popen(
        [sys.executable, str(tmp_path / "dashboard.py"), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        assert dashboard.stdout is not None
        job = psutil.Process(int(dashboard.stdout.readline()))
    finally:
        dashboard.kill()
        dashboard.communicate(timeout=GENEROUS_S)
    psutil.wait_procs([job], timeout=GENEROUS_S)
    assert not job.is_running() or job.status() == psutil.STATUS_ZOMBIE
