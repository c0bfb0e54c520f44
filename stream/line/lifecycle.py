"""What all processes of a line share: logging, one lock per role, READY, stop signals, ending with the supervisor."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import IO

from stream.core import metrics_page
from stream.line.config import LineConfig
from stream.line.folders import check_folders
from stream.line.locks import lock_role
from stream.line.log import configure_logging
from stream.line.permissions import mend

#: Environment variable, set by the supervisor for its children: id of the run, the same across restarts.
RUN_VARIABLE = "PATCHLINE_RUN"

#: Sent by a capture process whose source has ended.
FINISHED = "STATUS=the source has ended"
#: Sent by a process that must stop the whole line; the reason follows.
STOP_LINE = "STATUS=stop the line: "

#: Environment variable: id of the process that a process must not outlive.
PARENT_VARIABLE = "PATCHLINE_PARENT_PID"

_AUTOGROUP = Path("/proc/self/autogroup")
_PR_SET_PDEATHSIG = 1

log = logging.getLogger(__name__)


class Role:
    """The running process as a role of the line: its name, signals and lock."""

    def __init__(
        self,
        name: str,
        stop: threading.Event,
        lock: IO[str],
        reload: threading.Event | None = None,
        starting: threading.Event | None = None,
    ) -> None:
        """Hold the lock for as long as the process lives."""
        self.name = name
        self._starting = starting or threading.Event()
        self.stop = stop
        #: Set when the bundles are to be read again; the reader clears it.
        self.reload = reload or threading.Event()
        self._lock = lock

    def ready(self) -> None:
        """Report to the supervisor or systemd that this process is at work; from now on it stops in good order."""
        self._starting.clear()
        notify("READY=1")

    def finished(self) -> None:
        """Report to the supervisor that the work is done: the end of this process is no death that needs a restart."""
        notify(FINISHED)

    def stop_line(self, reason: str) -> None:
        """Have the supervisor stop the whole line, and stop this process; without a supervisor only this one stops."""
        log.error("the line is to be stopped: %s", reason)
        notify(STOP_LINE + reason)
        self.stop.set()

    def stopping(self) -> None:
        """Report to the supervisor or systemd that this process is stopping on purpose."""
        notify("STOPPING=1")


def start_role(name: str, config: LineConfig, *, idle_until_ready: bool = False) -> Role:
    """Make this process a role of the line.

    Args:
        name: of the role.
        config: of the line.
        idle_until_ready: nothing is lost if the process ends before it is ready, so a signal ends it at once,
            however long loading takes.

    Raises:
        TransportError: the role runs already, or its metrics address is taken.
        DiskError: a folder of the line cannot be written.
    """
    configure_logging(name, os.environ.get("PATCHLINE_LOG", "INFO").upper())
    reload, starting = threading.Event(), threading.Event()
    if idle_until_ready:
        starting.set()
    stop = stop_on_signals(reload, starting)
    die_with_parent()
    os.umask(config.store.umask)
    if RUN_VARIABLE not in os.environ:  # else the supervisor has done so
        mend(config)
        check_folders(config, name)
    allow_open_files()
    # A thread that decodes frames must not hold the GIL for 5 ms while another one announces parts.
    sys.setswitchinterval(0.0005)
    lock = lock_role(name, config.state)
    metrics_page.serve(config.metrics_address(name))
    return Role(name, stop, lock, reload, starting)


def allow_open_files() -> None:
    """Raise the limit of open files to the hardest one: connections must not use up what the line needs."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a container that forbids it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def stop_on_signals(reload: threading.Event | None = None, starting: threading.Event | None = None) -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; SIGHUP sets `reload`, if given.

    While `starting` is set, SIGTERM and SIGINT end the process at once instead.
    """
    stop = threading.Event()
    events: dict[int, threading.Event] = {signal.SIGTERM: stop, signal.SIGINT: stop}
    if reload is not None:
        events[signal.SIGHUP] = reload
    # A handler runs in the main thread between two of its bytecodes: perhaps while that holds the event's own lock, and
    # not before a library returns that compiles a model for seconds. The interpreter writes to a pipe without delay,
    # and a thread passes the signals on.
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)

    def pass_on() -> None:
        while True:
            for number in os.read(read_end, 64):
                event = events.get(number)
                if event is stop and starting is not None and starting.is_set():
                    os._exit(0)
                if event is not None:
                    event.set()

    threading.Thread(target=pass_on, name="signals", daemon=True).start()
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in events:
        signal.signal(number, lambda _number, _frame: None)
    return stop


def lower_priority(nice: int) -> None:
    """Lower this process's priority by `nice` steps, 1 to 19, also where the kernel schedules by session."""
    os.nice(nice)
    # With autogroups, niceness only applies within a session, and each role is a session by itself. A process started
    # by hand shares the shell's session, which must not be slowed down.
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # a kernel without autogroups, or a change too soon after the last
            _AUTOGROUP.write_text(str(nice))


def notify(state: str) -> None:
    """Send a state to the supervisor or systemd, by systemd's notification protocol (sd_notify)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.sendall(state.encode())
        except OSError as error:
            log.warning("cannot notify %s: %s", address, error)


def die_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent ends, however that ends."""
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):  # the parent ended before the request
        sys.exit(0)
