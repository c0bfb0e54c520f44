from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support.programs import needs_program

from stream.core.errors import TransportError
from stream.line.lifecycle import PARENT_VARIABLE, Role, notify
from stream.line.locks import lock_owner, lock_role

GENEROUS_S = 20.0


def python(program: str, *arguments: object, close_fds: bool = True, **environment: str) -> subprocess.Popen[str]:
    """Start a Python process whose standard output we read."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        close_fds=close_fds,
    )


def wait_for(condition: Callable[[], bool], within_s: float = GENEROUS_S) -> None:
    until_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until_s, "it never came"
        time.sleep(0.01)


def test_a_role_runs_once_and_the_error_names_the_process_that_has_it(tmp_path: Path):
    state = tmp_path / "line" / "state"
    with lock_role("sink", state):
        with pytest.raises(
            TransportError, match=rf"sink of this line runs already \(process {os.getpid()}, lock .*sink"
        ):
            lock_role("sink", state)
        # The refused attempt has not damaged the message for the next one.
        with pytest.raises(TransportError, match=rf"process {os.getpid()}"):
            lock_role("sink", state)


def test_different_roles_and_different_lines_run_side_by_side(tmp_path: Path):
    with lock_role("sink", tmp_path / "a"), lock_role("worker0", tmp_path / "a"), lock_role("sink", tmp_path / "b"):
        assert (tmp_path / "a" / "worker0.lock").read_text() == str(os.getpid())


def test_a_role_that_has_ended_can_be_started_again(tmp_path: Path):
    lock_role("sink", tmp_path).close()
    with lock_role("sink", tmp_path):
        assert (tmp_path / "sink.lock").read_text() == str(os.getpid())


def test_the_lock_of_another_process_holds_until_it_is_killed(tmp_path: Path):
    lock_owner = python(
        "import sys, time, pathlib; from stream.line.locks import lock_role;"
        "lock = lock_role('sink', pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(60)",
        tmp_path,
    )
    try:
        assert lock_owner.stdout.readline() == "held\n"
        with pytest.raises(
            TransportError, match=rf"process {lock_owner.pid}, .*stop it, or give this line another store"
        ):
            lock_role("sink", tmp_path)
    finally:
        lock_owner.kill()
        lock_owner.communicate(timeout=GENEROUS_S)
    with lock_role("sink", tmp_path):
        assert (tmp_path / "sink.lock").read_text() == str(os.getpid())


def test_a_child_process_does_not_inherit_the_lock(tmp_path: Path):
    with lock_role("sink", tmp_path):
        child = python("import time; print('up', flush=True); time.sleep(60)", close_fds=False)
        assert child.stdout.readline() == "up\n"
    try:
        with lock_role("sink", tmp_path):
            assert child.poll() is None
    finally:
        child.kill()
        child.communicate(timeout=GENEROUS_S)


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch):
    """A datagram socket like that of systemd or the supervisor."""
    with (
        tempfile.TemporaryDirectory(prefix="pl") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(f"{folder}/notify")
        receiver.settimeout(GENEROUS_S)
        monkeypatch.setenv("NOTIFY_SOCKET", f"{folder}/notify")
        yield receiver


def test_the_parent_is_notified_when_the_process_is_ready_and_when_it_stops(tmp_path: Path, listener: socket.socket):
    with lock_role("sink", tmp_path) as lock:
        role = Role("sink", threading.Event(), lock)
        role.ready()
        assert listener.recv(100) == b"READY=1"
        role.stopping()
        assert listener.recv(100) == b"STOPPING=1"


def test_an_abstract_address_is_notified_too(monkeypatch: pytest.MonkeyPatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0patchline-test-{os.getpid()}")
        receiver.settimeout(GENEROUS_S)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@patchline-test-{os.getpid()}")
        notify("READY=1")
        assert receiver.recv(100) == b"READY=1"


def test_without_an_address_nothing_is_notified(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    assert caplog.messages == []


def test_a_missing_listener_is_a_warning_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "gone" in caplog.messages[0]


CHILD = """
import sys, time
from stream.line.lifecycle import die_with_parent

die_with_parent()
print("child", flush=True)
time.sleep(60)
print("outlived", flush=True)
"""

PARENT = """
import os, subprocess, sys, time

environment = os.environ | {sys.argv[2]: str(os.getpid())}
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=environment, start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_child_does_not_outlive_a_supervisor_that_was_killed():
    parent = python(PARENT, CHILD, PARENT_VARIABLE)
    child = psutil.Process(int(parent.stdout.readline()))
    try:
        assert parent.stdout.readline() == "child\n"
        assert child.is_running()
        parent.kill()
        wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, within_s=5.0)
        assert parent.stdout.read() == "", "it ended, it did not finish"
    finally:
        parent.kill()
        parent.communicate(timeout=GENEROUS_S)
        if child.is_running():
            child.kill()


def test_a_child_whose_supervisor_ended_before_the_request_ends_at_once():
    orphan = python(CHILD, **{PARENT_VARIABLE: "1" if os.getpid() != 1 else "2"})
    output, _ = orphan.communicate(timeout=GENEROUS_S)
    assert (orphan.returncode, output) == (0, "")


def test_a_process_started_by_hand_is_not_bound_to_its_parent():
    program = "from stream.line.lifecycle import die_with_parent; die_with_parent(); print('alive')"
    environment = {name: value for name, value in os.environ.items() if name != PARENT_VARIABLE}
    answer = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout == "alive\n"


def test_the_owner_of_a_lock_is_known_while_it_lives(tmp_path: Path):
    assert lock_owner("sink", tmp_path) is None
    with lock_role("sink", tmp_path):
        assert lock_owner("sink", tmp_path) == os.getpid()
        assert lock_owner("capture-top", tmp_path) is None
    assert lock_owner("sink", tmp_path) is None


# In separate processes: libraries that other tests load leave too small a stack for signals.
SIGNALLED = """
import os, signal, sys, threading
from stream.line.lifecycle import stop_on_signals

reload = threading.Event()
stop = stop_on_signals(reload)
for number in map(int, sys.argv[1:]):
    expected = reload if number == signal.SIGHUP else stop
    assert not expected.is_set()
    os.kill(os.getpid(), number)
    assert expected.wait(20), number
    assert reload.is_set() != stop.is_set()
    expected.clear()
print("done")
"""


@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM)],
    ids=["SIGTERM", "SIGINT", "SIGHUP twice, then SIGTERM"],
)
def test_a_signal_asks_the_process_to_stop_or_to_reload_and_interrupts_nothing(numbers: tuple[signal.Signals, ...]):
    process = python(SIGNALLED, *(int(number) for number in numbers))
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "done\n")


STARTING = """
import os, signal, sys, threading, time
from stream.line.lifecycle import stop_on_signals

starting = threading.Event()
starting.set()
stop = stop_on_signals(None, starting)
if sys.argv[1] == "ready":
    starting.clear()
print("starting", flush=True)
if sys.argv[1] == "ready":
    print("stopped" if stop.wait(20) else "lost", flush=True)
else:
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_process_at_once_that_is_still_loading(number: signal.Signals):
    process = python(STARTING, "loading")
    assert process.stdout.readline() == "starting\n"
    process.send_signal(number)
    output, _ = process.communicate(timeout=GENEROUS_S)
    assert (process.returncode, output) == (0, "")


def test_a_process_that_is_ready_stops_in_good_order():
    process = python(STARTING, "ready")
    assert process.stdout.readline() == "starting\n"
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=GENEROUS_S)
    assert (process.returncode, output) == (0, "stopped\n")


# The command as the first process of a container: the kernel drops signals that it has no handler for.
FIRST_PROCESS = """
import sys, time
import stream.__main__ as command

sys.modules["stream.cli.main"] = sys  # in place of all that is loaded before the work begins
sys.main = lambda: (print("loading", flush=True), time.sleep(600))
command.main()
"""


def first_process(program: str) -> subprocess.Popen[str]:
    """Start a program as process 1 of a namespace."""
    namespace = ("unshare", "--pid", "--fork", "--kill-child", "--user", "--map-root-user")
    if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this host permits no namespaces")
    return subprocess.Popen([*namespace, sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


@needs_program("unshare")
def test_the_first_process_of_a_container_ends_when_it_is_asked_to_while_it_loads():
    with first_process(FIRST_PROCESS) as process:
        assert process.stdout.readline() == "loading\n"
        (inner,) = psutil.Process(process.pid).children()
        inner.send_signal(signal.SIGTERM)
        try:
            assert process.wait(GENEROUS_S) == 128 + signal.SIGTERM
        finally:
            process.kill()


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="the kernel has no autogroups")
@pytest.mark.parametrize(("leader", "nice"), [(True, "nice 10"), (False, "nice 0")])
def test_lower_priority_applies_between_sessions_and_does_not_slow_a_shared_session(leader: bool, nice: str):
    lower = "from stream.line.lifecycle import lower_priority; lower_priority(10)"
    report = "from pathlib import Path; print(Path('/proc/self/autogroup').read_text())"
    shared = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {f'{lower}; {report}'!r}])"
    program = [sys.executable, "-c", f"{lower}; {report}" if leader else shared]
    done = subprocess.run(program, start_new_session=True, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip().endswith(nice)
