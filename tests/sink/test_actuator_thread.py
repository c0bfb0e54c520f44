from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from stream.core.clock import now_ns
from stream.core.errors import ConfigError
from stream.core.verdict import Cause, Verdict
from stream.devices.actuators.actuator import RejectCommand
from stream.devices.actuators.log import LogActuatorOptions
from stream.sink.actuator_thread import ActuatorThread, Fired

MS = 1_000_000
GENEROUS_S = 10.0


class Gate:
    """An output that records its calls; it can hang, each call until it is released, and it can fail."""

    def __init__(self) -> None:
        self.fired: list[tuple[int, int]] = []
        self.hangs = False
        self.entered = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)
        self.error: BaseException | None = None
        self.closed = 0
        self.edges: list[tuple[str, int]] = []
        self.checked = 0
        self.heartbeat_ns: int | None = None
        self.fault: str | None = None

    def check(self, _until_ns: int) -> None:
        self.checked += 1

    def end(self) -> None:
        self.edges.append(("off", now_ns()))

    def beat(self, level: bool, _until_ns: int) -> None:
        self.edges.append((f"beat {level}", now_ns()))

    def begin(self, command: RejectCommand, fired_ns: int) -> None:
        self.fired.append((command.seq, fired_ns))
        self.edges.append((f"on {command.seq}", fired_ns))
        self.entered.release()
        if self.hangs:
            assert self.let_go.acquire(timeout=GENEROUS_S)
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed += 1


def command(seq: int, planned_ns: int, tolerance_ms: float = 2_000) -> RejectCommand:
    return RejectCommand("cap", seq, None, Verdict.DEFECT, None, planned_ns, int(tolerance_ms * MS), pulse_ns=60 * MS)


def wait_for(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + GENEROUS_S
    while not condition():
        assert time.monotonic() < until_s, "it never came"
        time.sleep(0.001)


def outcomes(thread: ActuatorThread, count: int) -> list[Fired]:
    results: list[Fired] = []

    def enough() -> bool:
        results.extend(thread.outcomes())
        assert thread.is_alive()
        return len(results) >= count

    wait_for(enough)
    return results


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def thread(gate: Gate) -> Iterator[ActuatorThread]:
    running = ActuatorThread("gate", gate)
    running.start()
    yield running
    gate.let_go.release(100)
    running.end()
    assert not running.is_alive()


def test_a_reject_is_fired_at_its_moment_or_a_little_after_and_acknowledged(gate: Gate, thread: ActuatorThread):
    planned = [command(seq, now_ns() + (30 + 20 * seq) * MS) for seq in range(5)]
    for item in planned:
        thread.plan(item)
    results = outcomes(thread, 5)
    assert [fired.command for fired in results] == planned
    for fired in results:
        assert fired.command.planned_ns <= fired.fired_ns <= fired.command.expires_ns
        assert fired.fired_ns <= fired.acknowledged_ns
        assert fired.error is None
    assert gate.fired == [(fired.command.seq, fired.fired_ns) for fired in results]


def test_an_earlier_reject_wakes_the_thread_that_sleeps_until_a_later_one(gate: Gate, thread: ActuatorThread):
    begun_ns = now_ns()
    thread.plan(command(1, begun_ns + 3_600_000 * MS))
    thread.plan(command(2, begun_ns + 20 * MS))
    assert [fired.command.seq for fired in outcomes(thread, 1)] == [2]
    assert not thread.idle


def test_a_reject_whose_time_is_over_is_not_fired(gate: Gate, thread: ActuatorThread):
    late = command(1, now_ns() - 100 * MS, tolerance_ms=50)
    thread.plan(late)
    assert outcomes(thread, 1) == [Fired(late, None, None, None)]
    assert gate.fired == []


def test_a_reject_planned_within_its_tolerance_is_fired_at_once(gate: Gate, thread: ActuatorThread):
    begun_ns = now_ns()
    thread.plan(command(1, begun_ns - 100 * MS, tolerance_ms=5_000))
    [fired] = outcomes(thread, 1)
    assert fired.fired_ns >= begun_ns
    assert [seq for seq, _ in gate.fired] == [1]


def test_a_slow_output_makes_the_next_reject_late_and_it_is_not_fired(gate: Gate, thread: ActuatorThread):
    gate.hangs = True
    planned_ns = now_ns() + 20 * MS
    slow, next_one = command(1, planned_ns), command(2, planned_ns + 10 * MS, tolerance_ms=15)
    thread.plan(slow)
    thread.plan(next_one)
    assert gate.entered.acquire(timeout=GENEROUS_S)
    wait_for(lambda: now_ns() > next_one.expires_ns)
    gate.let_go.release()
    first, second = outcomes(thread, 2)
    assert (first.command, first.error) == (slow, None)
    assert first.acknowledged_ns > next_one.expires_ns
    assert second == Fired(next_one, None, None, None)
    assert [seq for seq, _ in gate.fired] == [1]


def test_of_two_rejects_due_together_the_second_is_late_when_the_first_takes_too_long(
    gate: Gate, thread: ActuatorThread
):
    gate.hangs = True
    thread.plan(command(0, now_ns()))
    assert gate.entered.acquire(timeout=GENEROUS_S)  # busy, so that both of the following are taken out at once
    planned_ns = now_ns()
    together = [command(1, planned_ns, 60_000), command(2, planned_ns, 100)]
    for item in together:
        thread.plan(item)
    gate.let_go.release()
    assert gate.entered.acquire(timeout=GENEROUS_S)
    wait_for(lambda: now_ns() > together[1].expires_ns)
    gate.let_go.release()
    fired = {item.command.seq for item in outcomes(thread, 3) if item.fired_ns is not None}
    assert fired == {seq for seq, _ in gate.fired} == {0, 1}


def test_planning_never_waits_for_a_hanging_output(gate: Gate, thread: ActuatorThread):
    gate.hangs = True
    thread.plan(command(0, now_ns()))
    assert gate.entered.acquire(timeout=GENEROUS_S)
    begun_s = time.monotonic()
    for seq in range(1, 1_001):
        thread.plan(command(seq, now_ns() + 3_600_000 * MS))
    assert time.monotonic() - begun_s < 2.0
    assert thread.outcomes() == []


@pytest.mark.parametrize(
    "error",
    [
        OSError("coil 3: connection reset"),
        RuntimeError("the library is confused"),
        Exception(),
        asyncio.CancelledError("the library gave up waiting"),
        SystemExit(3),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_exception_of_an_output_fails_its_reject_and_the_next_one_is_fired(
    gate: Gate, thread: ActuatorThread, error: BaseException
):
    def failed() -> float:
        return REGISTRY.get_sample_value("patchline_failed_rejects_total", {"actuator": "gate"}) or 0.0

    before = failed()
    gate.error = error
    thread.plan(command(1, now_ns()))
    [fired] = outcomes(thread, 1)
    assert fired.fired_ns is not None
    assert fired.error == f"{type(error).__name__}: {error}"
    assert failed() == before + 1

    gate.error = None
    thread.plan(command(2, now_ns()))
    [fired] = outcomes(thread, 1)
    assert (fired.command.seq, fired.error) == (2, None)
    assert failed() == before + 1
    assert [seq for seq, _ in gate.fired] == [1, 2], "a failed reject is not repeated"


def test_the_thread_is_idle_when_nothing_is_planned_or_being_fired(gate: Gate, thread: ActuatorThread):
    assert thread.idle
    gate.hangs = True
    thread.plan(command(1, now_ns()))
    assert not thread.idle
    assert gate.entered.acquire(timeout=GENEROUS_S)
    assert not thread.idle
    gate.let_go.release()
    wait_for(lambda: thread.idle)
    assert gate.edges[-1][0] == "off"
    assert [fired.command.seq for fired in thread.outcomes()] == [1]


def test_the_output_is_on_for_the_pulse_and_overlapping_pulses_end_with_the_last(gate: Gate, thread: ActuatorThread):
    begun_ns = now_ns() + 20 * MS
    thread.plan(command(1, begun_ns))
    thread.plan(command(2, begun_ns + 30 * MS))
    wait_for(lambda: thread.idle)
    assert [name for name, _ in gate.edges] == ["on 1", "on 2", "off"]
    (_, second), (_, off) = gate.edges[1:]
    assert off >= second + 60 * MS


def test_a_part_that_must_not_pass_ends_the_pulse_before_it(gate: Gate, thread: ActuatorThread):
    begun_ns = now_ns() + 20 * MS
    thread.plan(command(1, begun_ns)._replace(pulse_ns=60_000 * MS))
    thread.plan(command(2, begun_ns + 30 * MS)._replace(pulse_ns=0))
    wait_for(lambda: thread.idle)
    assert [name for name, _ in gate.edges] == ["on 1", "off"]
    assert [fired.command.seq for fired in thread.outcomes()] == [1]


def test_an_output_is_switched_off_after_a_pulse_that_was_not_acknowledged(gate: Gate, thread: ActuatorThread):
    gate.error = OSError("no answer")
    thread.plan(command(1, now_ns()))
    wait_for(lambda: thread.idle)
    assert [name for name, _ in gate.edges] == ["on 1", "off"]


def test_liveness_is_checked_before_a_pulse_unless_the_output_has_a_fault(gate: Gate, thread: ActuatorThread):
    thread.plan(command(1, now_ns() + 30 * MS))
    outcomes(thread, 1)
    assert gate.checked == 1
    gate.fault = "the cable is out"
    thread.plan(command(2, now_ns() + 30 * MS))
    outcomes(thread, 1)
    assert gate.checked == 1


def test_the_heartbeat_toggles_while_the_line_reports_healthy_and_then_stops(gate: Gate):
    gate.heartbeat_ns = 20 * MS
    thread = ActuatorThread("gate", gate)
    thread.start()
    try:
        thread.alive(now_ns())
        wait_for(lambda: len(gate.edges) >= 6)
        assert [name for name, _ in gate.edges[:4]] == ["beat True", "beat False", "beat True", "beat False"]
        wait_for(lambda: now_ns() - gate.edges[-1][1] > 300 * MS)
        thread.alive(now_ns())
        beats = len(gate.edges)
        wait_for(lambda: len(gate.edges) > beats)
    finally:
        thread.end()
    assert gate.closed == 1


def test_planned_commands_are_returned_until_they_are_fired(gate: Gate, thread: ActuatorThread):
    gate.hangs = True
    now, later = command(1, now_ns()), command(2, now_ns() + 3_600_000 * MS)
    thread.plan(later)
    assert thread.planned() == [later]
    thread.plan(now)
    assert gate.entered.acquire(timeout=GENEROUS_S)
    assert thread.planned() == [later]


def test_outcomes_are_returned_once(gate: Gate, thread: ActuatorThread):
    thread.plan(command(1, now_ns()))
    assert len(outcomes(thread, 1)) == 1
    assert thread.outcomes() == []


def test_ending_fires_nothing_that_is_planned_and_closes_the_output_once(gate: Gate):
    thread = ActuatorThread("gate", gate)
    thread.start()
    thread.plan(command(1, now_ns() + 3_600_000 * MS))
    assert gate.closed == 0
    thread.end()
    assert not thread.is_alive()
    assert gate.closed == 1
    assert gate.fired == []


def test_ending_waits_for_a_hanging_output_for_a_limited_time(gate: Gate):
    gate.hangs = True
    thread = ActuatorThread("gate", gate)
    thread.start()
    thread.plan(command(1, now_ns()))
    assert gate.entered.acquire(timeout=GENEROUS_S)
    begun_s = time.monotonic()
    thread.end()
    assert time.monotonic() - begun_s < 5.0
    gate.let_go.release()
    thread.join(GENEROUS_S)
    assert gate.closed == 1


def test_why_a_part_is_rejected_reaches_the_output(gate: Gate, thread: ActuatorThread):
    rejected = RejectCommand("cap", 1, "A-17", Verdict.UNINSPECTED, Cause.TIMEOUT, now_ns(), 2_000 * MS, 60 * MS)
    thread.plan(rejected)
    [fired] = outcomes(thread, 1)
    assert fired.command == rejected


def test_the_log_actuator_appends_a_line_for_every_reject_before_it_acknowledges(tmp_path: Path):
    path = tmp_path / "outputs" / "gate.jsonl"
    for seq in (1, 2):  # the second time after a restart
        thread = ActuatorThread("log", LogActuatorOptions(kind="log", path=path).open())
        thread.start()
        thread.plan(command(seq, now_ns()))
        [fired] = outcomes(thread, 1)
        line = json.loads(path.read_text().splitlines()[-1])
        thread.end()
        assert (line["station"], line["seq"], line["verdict"], line["cause"]) == ("cap", seq, "DEFECT", None)
        assert (line["planned_ns"], line["actual_ns"]) == (fired.command.planned_ns, fired.fired_ns)
        assert line["error_ms"] == pytest.approx((fired.fired_ns - fired.command.planned_ns) / MS)
        assert line["pulse_ms"] == 60
    assert len(path.read_text().splitlines()) == 2


def test_a_log_that_cannot_be_written_is_refused_by_name(tmp_path: Path):
    with pytest.raises(ConfigError, match=f"cannot write {tmp_path}"):
        LogActuatorOptions(kind="log", path=tmp_path).open()


def test_a_full_disk_fails_the_pulse_and_keeps_nothing_of_it_for_a_later_one():
    """/dev/full takes no byte, as a full disk."""
    thread = ActuatorThread("log", LogActuatorOptions(kind="log", path=Path("/dev/full")).open())
    thread.start()
    for seq in (1, 2):
        thread.plan(command(seq, now_ns()))
        [fired] = outcomes(thread, 1)
        assert "No space left on device" in fired.error
    thread.end()
    assert not thread.is_alive()


def test_a_line_that_only_fits_in_part_leaves_no_part_of_it_and_the_next_one_fits_again(tmp_path: Path):
    """A limit on the size of files cuts a write short, as a disk does that fills up midway."""
    program = """
import resource, signal, sys
from pathlib import Path
from stream.core.verdict import Verdict
from stream.devices.actuators.actuator import RejectCommand
from stream.devices.actuators.log import LogActuatorOptions
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
gate = LogActuatorOptions(kind="log", path=path).open()
command = RejectCommand("cap", 1, None, Verdict.DEFECT, None, 7, 15, 60)
gate.begin(command, 1)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
try:
    gate.begin(command, 2)
except OSError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
gate.begin(command, 3)
gate.close()
"""
    path = tmp_path / "gate.jsonl"
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert "No space left on device" in done.stdout
    assert [json.loads(line)["actual_ns"] for line in path.read_text().splitlines()] == [1, 3]


def test_an_output_that_cannot_be_closed_ends_without_a_traceback(gate: Gate, caplog: pytest.LogCaptureFixture):
    def close() -> None:
        raise OSError("No space left on device")

    gate.close = close
    thread = ActuatorThread("gate", gate)
    thread.start()
    thread.end()
    assert not thread.is_alive()
    assert "actuator gate: not closed: No space left on device" in caplog.text
