"""A stand-in for a line's processes: it holds their locks, and answers requests for a reload with given answers.

A separate process: the signal that requests a reload must not interrupt the tests.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from stream.core.files import file_sha256, write_atomically
from stream.line.config import LineConfig
from stream.line.locks import lock_role
from stream.line.reload_request import ReloadReport, StationReport, report_path, request_path

#: A request is signalled to the supervisor alone, where there is one.
ROLES = ("supervisor", "worker0", "capture-top", "capture-side")


class Answer(msgspec.Struct, frozen=True):
    """What camera `top` does on a request.

    Attributes:
        new: bundle that its station `cap` has read; None: the one currently on disk.
        why: of its refusal.
        old: bundle that its station had.
        ends: it ends before it answers.
        fills_the_disk: from now on no file of the test's process can exceed 4 KiB.
        removes_what_lies_aside: the copy that was kept beside the bundle is removed.
    """

    new: str | None = None
    why: str | None = None
    old: str = "before"
    ends: bool = False
    fills_the_disk: bool = False
    removes_what_lies_aside: bool = False


class _Part(msgspec.Struct, frozen=True):
    state: str
    bundle: str
    roles: tuple[str, ...]
    answers: tuple[Answer, ...]
    tests: int


@contextmanager
def standing_in(config: LineConfig, tests: int, answers: tuple[Answer, ...], roles: tuple[str, ...]) -> Iterator[None]:
    """Hold the roles of a line, and give one answer to each request, during the block."""
    part = _Part(str(config.state), str(config.stations["cap"].bundle), roles, answers, tests)
    command = [sys.executable, __file__, msgspec.json.encode(part).decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.terminate()


def _main(part: _Part) -> None:
    signals, write_end = os.pipe()
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: os.write(write_end, bytes((number,))))
    state, bundle, left = Path(part.state), Path(part.bundle), list(part.answers)
    with ExitStack() as held:
        locks = {role: held.enter_context(lock_role(role, state)) for role in part.roles}
        print("ready", flush=True)
        while os.read(signals, 1)[0] == signal.SIGHUP:
            if not left:
                continue
            answer = left.pop(0)
            if answer.ends:
                locks["capture-top"].close()
                continue
            if answer.fills_the_disk:
                _, hard = resource.prlimit(part.tests, resource.RLIMIT_FSIZE)
                resource.prlimit(part.tests, resource.RLIMIT_FSIZE, (4096, hard))
            if answer.removes_what_lies_aside:
                for aside in bundle.parent.glob(f".{bundle.name}.*"):
                    shutil.rmtree(aside)
            new = file_sha256(bundle) if answer.new is None else answer.new
            report = ReloadReport(request_path(state).read_text(), {"cap": StationReport(answer.old, new, answer.why)})
            write_atomically(report_path(state, "top"), msgspec.json.encode(report), durable=False)


if __name__ == "__main__":
    _main(msgspec.json.decode(sys.argv[1], type=_Part))
