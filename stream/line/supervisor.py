"""All processes of a line on one host: start in order, wait for READY, restart the dead, stop in order.

The children notify the supervisor by systemd's protocol, so the same processes also run as systemd units. Each has
its own session (Ctrl-C reaches only the supervisor, which stops them in the order of the data flow) and receives
SIGTERM from the kernel if the supervisor itself is killed.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import deque
from pathlib import Path

from stream.core import metrics
from stream.core.backoff import Backoff
from stream.core.errors import EXIT_USAGE, LineFailed
from stream.core.files import temporary_folder
from stream.line.config import LineConfig
from stream.line.lifecycle import FINISHED, PARENT_VARIABLE, RUN_VARIABLE, STOP_LINE, start_role
from stream.model.bundle import live_bundle, shadow_bundle
from stream.model.mask_files import check_masks

log = logging.getLogger(__name__)

#: Interval at which children are checked.
_TICK_S = 0.05
#: Pauses before a restart, from the second death on. The dashboard may die without limit, so its restarts must not
#: take the CPU from the other processes.
_RESTARTS, _DASHBOARD_RESTARTS = Backoff(first_s=1.0, longest_s=5.0), Backoff(first_s=1.0, longest_s=30.0)


class Child:
    """One supervised process."""

    def __init__(self, role: str, arguments: list[str], folder: Path, run: str) -> None:
        self.role = role
        self.ready = False
        self.was_ready = False
        self.finished = False
        self.ended = False
        #: Whether SIGHUP is still to be sent: not before the child handles signals.
        self.reload_pending = False
        self.stop_reason: str | None = None
        self.optional = role == "dashboard"
        self.deaths: deque[float] = deque()
        #: Starts in a row that ended before the process was ready, at whatever intervals.
        self.failed_starts = 0
        self.started_s = 0.0
        self._arguments = arguments
        self._run = run
        self._process: subprocess.Popen[bytes] | None = None
        self._address = folder / secrets.token_hex(4)  # not the role: socket paths must be short
        self._socket = _listening(self._address)
        self._not_before_s = 0.0

    def start(self) -> None:
        """Start the process."""
        environment = os.environ | {
            "NOTIFY_SOCKET": str(self._address),
            PARENT_VARIABLE: str(os.getpid()),
            RUN_VARIABLE: self._run,
        }
        self.ready = self.reload_pending = False
        self.started_s = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stream", *self._arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int | None:
        """Process id while it runs, else None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def receive(self) -> None:
        """Receive the process's notifications; never blocks.

        A socket whose file was removed, perhaps by a job that cleans up temporary folders, is made again: without it a
        restarted process could not report READY.
        """
        while True:
            try:
                state = self._socket.recv(4096)
            except BlockingIOError:
                if not self._address.exists():
                    self._listen_again()
                return
            if FINISHED.encode() in state:
                self.finished = True
            if state.startswith(STOP_LINE.encode()):
                self.stop_reason = state.decode(errors="replace").removeprefix(STOP_LINE)
            if b"READY=1" in state and not self.ready:
                self.ready = self.was_ready = True
                self.failed_starts = 0
                metrics.ROLE_UP.labels(self.role).set(1)
                log.info("%s ready after %.1f s", self.role, time.monotonic() - self.started_s)

    def _listen_again(self) -> None:
        try:
            self._address.parent.mkdir(mode=0o700, exist_ok=True)
            if self._address.parent.lstat().st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, "another user has made its folder")
            again = _listening(self._address)
        except OSError as error:
            log.error("%s: removed, and cannot be made again: %s", self._address, error.strerror)  # noqa: TRY400
            return
        self._socket.close()
        self._socket = again
        log.warning("%s: the folder of the supervisor's sockets was removed; made again", self._address.parent)

    def exit_code(self) -> int | None:
        """Return the exit code of a process that has ended since the last call, else None."""
        if self._process is None:
            return None
        code = self._process.poll()
        if code is not None:
            self.receive()  # its last notifications
            self.failed_starts += not self.ready
            self._process = None
            self.ready = False
            metrics.ROLE_UP.labels(self.role).set(0)
        return code

    def postpone(self, delay_s: float) -> None:
        """Make the next start due after a delay."""
        self._not_before_s = time.monotonic() + delay_s

    @property
    def due(self) -> bool:
        """Whether the process does not run and is to be started now."""
        return self._process is None and not self.ended and time.monotonic() >= self._not_before_s

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if the process runs."""
        if self.pid is not None and self._process is not None:
            self._process.send_signal(number)

    def close(self) -> None:
        """Close the notification socket."""
        self._socket.close()


def _listening(address: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        listening.bind(str(address))
    except OSError:
        listening.close()
        raise
    return listening


class Supervisor:
    """The line as a whole."""

    def __init__(self, config: LineConfig, path: Path) -> None:
        """Check the bundles before anything is started; raises PatchLineError."""
        for name, station in config.stations.items():
            live = live_bundle(station.bundle)
            check_masks(name, station.masks, station.bundle, live.info)
            if station.shadow is not None:
                shadow_bundle(station.shadow, live, station.roi)
        self.config = config
        self.role = start_role("supervisor", config)
        self._folder = tempfile.TemporaryDirectory(prefix="patchline-", dir=temporary_folder())
        folder, run = Path(self._folder.name), uuid.uuid4().hex
        config_path = str(path)
        self.sink = Child("sink", ["sink", config_path], folder, run)
        self.workers = [
            Child(name, ["infer", config_path, "--worker", str(index)], folder, run)
            for index, name in enumerate(config.worker_names)
        ]
        self.cameras = [
            Child(f"capture-{name}", ["capture", config_path, "--camera", name], folder, run) for name in config.cameras
        ]
        self.dashboards = [Child("dashboard", ["dashboard", config_path], folder, run)][: config.dashboard.enabled]
        self.children = [self.sink, *self.workers, *self.cameras, *self.dashboards]

    def run(self) -> None:
        """Run the line until every camera has ended or a signal stops it.

        Raises:
            LineFailed: a process could not start, or died more often than allowed.
        """
        config = self.config
        log.info(
            "line %s: %d cameras, %d stations, %d workers",
            config.line, len(config.cameras), len(config.stations), len(config.workers),
        )  # fmt: skip
        try:
            self._start(self.sink, *self.workers)
            self._start(*self.cameras)
            for dashboard in self.dashboards:
                dashboard.start()
            self.role.ready()
            # A sink that is being restarted must become ready to close the ledger.
            while not self.role.stop.is_set() and not (
                all(camera.ended for camera in self.cameras) and self.sink.ready
            ):
                self._check_children()
                self.role.stop.wait(_TICK_S)
        finally:
            self._stop()

    def _start(self, *children: Child) -> None:
        """Start processes together and wait until all of them are ready, or have ended normally."""
        for child in children:
            child.start()
        while not self.role.stop.is_set() and not all(child.ready or child.ended for child in children):
            self._check_children()
            self.role.stop.wait(_TICK_S)

    def _check_children(self) -> None:
        """Receive notifications, pass reloads on, handle exits, restart what is due, kill what never became ready."""
        limits = self.config.restarts
        if self.role.reload.is_set():
            self.role.reload.clear()
            log.info("reloading the bundles")
            for child in self.children:
                child.reload_pending = child.pid is not None
        for child in self.children:
            child.receive()
            if child.reload_pending and child.ready:
                child.reload_pending = False
                child.signal(signal.SIGHUP)
            code = child.exit_code()
            if child.stop_reason is not None:
                raise LineFailed(f"{child.role} stops the line: {child.stop_reason}")
            if code is not None:
                self._handle_exit(child, code)
            if child.due and child.started_s:
                metrics.RESTARTS.labels(child.role).inc()
                child.start()
            if child.pid is not None and not child.ready and time.monotonic() - child.started_s > limits.ready_s:
                log.error("%s was not ready after %.0f s", child.role, limits.ready_s)
                child.signal(signal.SIGKILL)

    def _handle_exit(self, child: Child, code: int) -> None:
        """Restart a process that died, later at each death; raises LineFailed when the line must stop."""
        if code == 0 and child.finished:
            child.ended = True
            log.info("%s has ended", child.role)
            return
        if child.optional and code == EXIT_USAGE:
            child.ended = True
            log.error("%s cannot run, see its message above; the line goes on without it", child.role)
            return
        if code == EXIT_USAGE and not child.was_ready:
            raise LineFailed(f"{child.role} cannot run with this configuration; see its message above")
        limits, now = self.config.restarts, time.monotonic()
        child.deaths.append(now)
        while child.deaths and now - child.deaths[0] > limits.within_s:
            child.deaths.popleft()
        reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if len(child.deaths) > limits.limit and not child.optional:
            raise LineFailed(
                f"{child.role} died {len(child.deaths)} times within {limits.within_s:.0f} s (last: {reason}); "
                "the line is stopped (restarts.limit)"
            )
        if child.failed_starts > limits.limit and not child.optional:
            raise LineFailed(
                f"{child.role} was not ready at {child.failed_starts} starts in a row, each given {limits.ready_s:g} s "
                f"(last: {reason}); the line is stopped (restarts.limit, restarts.ready_s); see its log above"
            )
        backoff = _DASHBOARD_RESTARTS if child.optional else _RESTARTS
        delay_s = 0.0 if len(child.deaths) == 1 else backoff.pause_s(len(child.deaths) - 1)
        log.error("%s died (%s), starting again in %.2f s", child.role, reason, delay_s)
        child.postpone(delay_s)

    def _stop(self) -> None:
        """Stop in the order of the data flow, so that parts on their way still get a verdict."""
        self.role.stopping()
        for children in (self.cameras, self.workers, [self.sink, *self.dashboards]):
            self._end(children)
        for child in self.children:
            child.close()
        self._folder.cleanup()

    def _end(self, children: list[Child]) -> None:
        for child in children:
            child.signal(signal.SIGTERM)
        until_s = time.monotonic() + self.config.drain_s
        while any(child.pid is not None for child in children) and time.monotonic() < until_s:
            time.sleep(0.01)
        for child in children:
            if child.pid is not None:
                log.error("%s did not end within %.0f s: killed", child.role, self.config.drain_s)
                child.signal(signal.SIGKILL)
            child.exit_code()


def main(config: LineConfig, path: Path) -> None:
    """Run all processes of the line until it ends or a signal stops it."""
    Supervisor(config, path).run()
