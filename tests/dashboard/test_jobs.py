from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.dashboard.jobs import Job, Jobs
from stream.errors import DatasetError, ReloadError
from stream.pictures import Track

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
            time.sleep(0.05)  # until it is told to stop
    finally:
        trace.write_text("left in order")


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    found = Jobs()
    yield found
    found.close()


def begin(jobs: Jobs, work: Callable[..., Any], finish: Callable[[Any], int] = lambda _: 0, **arguments: Any) -> Job:
    workplace = Path(tempfile.mkdtemp())
    return jobs.begin("accept", "cap", "anna", work, arguments, finish, workplace)


def until(jobs: Jobs, holds: Callable[[Job], bool]) -> Job:
    until_s = time.monotonic() + GENEROUS_S
    while not holds(job := jobs.all()[0]):
        assert time.monotonic() < until_s, f"still {job}"
        time.sleep(0.01)
    return job


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
        (vanish, "its process ended without a word"),
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
    with pytest.raises(ReloadError, match="anna has a job running"):
        begin(jobs, count, parts=1)
    stopped = jobs.stop(number)
    assert stopped is not None
    assert stopped.state == "stopped"
    assert trace.read_text() == "left in order"
    assert jobs.stop(number + 1) is None
    begin(jobs, count, parts=1)
    assert until(jobs, ended).state == "done"
