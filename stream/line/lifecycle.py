"""What every process of the line does alike: log, be alone, say READY, stop on a signal, not outlive its parent."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import IO

from stream.core import metrics
from stream.core.errors import ConfigError
from stream.line.config import LineConfig
from stream.line.locks import lock_role

#: Set by the supervisor for its children: the same for all processes and restarts of one run.
RUN_VARIABLE = "PATCHLINE_RUN"

#: Said by a capture process whose source has ended.
FINISHED = "STATUS=the source has ended"
#: Said by a process that wants the whole line stopped; the reason follows.
STOP_LINE = "STATUS=stop the line: "

_AUTOGROUP = Path("/proc/self/autogroup")

log = logging.getLogger(__name__)


class Role:
    """The running process: its name, its signals, its lock."""

    def __init__(self, name: str, stop: threading.Event, lock: IO[str], reload: threading.Event | None = None) -> None:
        """Hold the lock for as long as the process lives."""
        self.name = name
        self.stop = stop
        #: Set when the bundles are to be read anew; whoever does it clears it.
        self.reload = reload or threading.Event()
        self._lock = lock

    def ready(self) -> None:
        """Tell the supervisor or systemd that this process does its work now."""
        notify("READY=1")

    def finished(self) -> None:
        """Tell the supervisor that there is nothing more to do: not an end to be mended by a restart."""
        notify(FINISHED)

    def stop_line(self, reason: str) -> None:
        """Have the supervisor stop the whole line, and end this process as if told to; without one it ends alone."""
        log.error("the line is to be stopped: %s", reason)
        notify(STOP_LINE + reason)
        self.stop.set()

    def stopping(self) -> None:
        """Tell the supervisor or systemd that this process ends on purpose."""
        notify("STOPPING=1")


def start_role(name: str, config: LineConfig) -> Role:
    """Make this process a role of the line.

    Raises:
        TransportError: the role runs already, or its metrics address is taken.
    """
    configure_logging(name)
    die_with_parent()
    # A thread that decodes pictures must not hold up the one that announces parts for 5 ms at a time.
    sys.setswitchinterval(0.0005)
    reload = threading.Event()
    stop = stop_on_signals(reload)
    lock = lock_role(name, config.state)
    metrics.serve(config.metrics_address(name))
    return Role(name, stop, lock, reload)


def configure_logging(name: str) -> None:
    """Write log lines with time, role and level to standard error."""
    level = os.environ.get("PATCHLINE_LOG", "INFO").upper()
    if level not in logging.getLevelNamesMapping():
        raise ConfigError(f"PATCHLINE_LOG: expected DEBUG, INFO, WARNING or ERROR, got '{level}'")
    logging.basicConfig(
        level=level,
        format=f"%(asctime)s.%(msecs)03d {name:<14} %(levelname)-7s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )


def stop_on_signals(reload: threading.Event | None = None) -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; SIGHUP sets `reload`, if given."""
    stop = threading.Event()
    events: dict[int, threading.Event] = {signal.SIGTERM: stop, signal.SIGINT: stop}
    if reload is not None:
        events[signal.SIGHUP] = reload
    # A handler interrupts the main thread anywhere, also while that holds the event's own lock: setting it
    # there could wait for itself. A pipe has no lock, and a thread that waits for it does not mind the end.
    heard, tell = os.pipe()

    def pass_on() -> None:
        while True:
            for number in os.read(heard, 64):
                events[number].set()

    threading.Thread(target=pass_on, name="signals", daemon=True).start()
    for number in events:
        signal.signal(number, lambda number, _frame: os.write(tell, bytes((number,))))
    return stop


def lower_priority(nice: int) -> None:
    """Let other processes go first: `nice` steps, 1 to 19, also where the kernel shares the cores among sessions."""
    os.nice(nice)
    # With autogroups niceness counts within a session only, and each role is a session of its own. Started by hand
    # the process shares the shell's, which is not ours to slow down.
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # a kernel without them, or one that wants no change so soon
            _AUTOGROUP.write_text(str(nice))


def notify(state: str) -> None:
    """Send a state to whoever started this process, by systemd's notification protocol (sd_notify)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.sendall(state.encode())
        except OSError as error:
            log.warning("cannot notify %s: %s", address, error)


#: Set for a process by the one that it must not outlive: the starting process's own id.
PARENT_VARIABLE = "PATCHLINE_PARENT_PID"

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when the one that started it ends, however that ends."""
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):  # it ended before the request was made
        sys.exit(0)
