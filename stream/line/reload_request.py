"""Requesting a reload from the running line of this host, and waiting for its reports.

The request is a file with an id, then SIGHUP; each camera's capture process answers with a report file of that id.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Collection
from pathlib import Path

import msgspec

from stream.core.errors import DiskError, ReloadError
from stream.core.files import write_atomically
from stream.line.config import LineConfig
from stream.line.locks import lock_owner

#: Interval at which the reports are read.
_POLL_S = 0.05


class StationReport(msgspec.Struct, frozen=True):
    """One station's bundle before and after the reload; the `reason` if a new one was refused."""

    old_sha256: str
    new_sha256: str
    reason: str | None = None


class ReloadReport(msgspec.Struct, frozen=True):
    """Outcome of a request: written by the capture process of one camera to a file of the line's state."""

    request: str
    stations: dict[str, StationReport]


def request_path(state: Path) -> Path:
    """Return the file with the id of the present request."""
    return state / "reload.request"


def report_path(state: Path, camera: str) -> Path:
    """Return the file with a camera's last report."""
    return state / f"{camera}.reload.json"


def request_reload(
    line: LineConfig, *, timeout_s: float, cameras: Collection[str] | None = None
) -> dict[str, ReloadReport]:
    """Have the roles on this host read their bundles again; returns the report of each camera's process here.

    Only the `cameras` named are waited for, None: all; a process that waits for its camera does not report.

    Raises:
        ReloadError: no camera and no worker of the line runs on this host, or a camera did not report in time.
    """
    running = {role: process for role in line.roles if (process := lock_owner(role, line.state)) is not None}
    readers = [role for role in running if role not in ("sink", "supervisor")]
    awaited = [name for name in (line.cameras if cameras is None else cameras) if f"capture-{name}" in running]
    if not readers:
        raise ReloadError(
            f"line {line.line} does not run on this host (locks in {line.state}); "
            "start it with `patchline run`, it reads its bundles then"
        )
    request = uuid.uuid4().hex
    try:
        # Not durable: the processes that it is meant for do not outlive the host.
        write_atomically(request_path(line.state), request.encode(), durable=False)
        for role in ["supervisor"] if "supervisor" in running else readers:  # it signals its children
            with contextlib.suppress(ProcessLookupError):
                os.kill(running[role], signal.SIGHUP)
    except (OSError, DiskError) as error:
        raise ReloadError(
            f"line {line.line} cannot be signalled: {error}; run `patchline reload` as the user of the line"
        ) from None
    until_s = time.monotonic() + timeout_s
    reports: dict[str, ReloadReport] = {}
    while len(reports) < len(awaited):
        for camera in awaited:
            report = _read_report(line, camera)
            if report is not None and report.request == request:
                reports[camera] = report
        for camera in awaited:
            if camera not in reports and lock_owner(f"capture-{camera}", line.state) != running[f"capture-{camera}"]:
                raise ReloadError(f"capture-{camera} has ended before it answered; see the line's log")
        if time.monotonic() > until_s:
            silent = ", ".join(f"capture-{camera}" for camera in awaited if camera not in reports)
            raise ReloadError(f"{silent} did not answer within {timeout_s:.0f} s; see the line's log")
        time.sleep(_POLL_S)
    return {camera: reports[camera] for camera in awaited}


def _read_report(line: LineConfig, camera: str) -> ReloadReport | None:
    try:
        return msgspec.json.decode(report_path(line.state, camera).read_bytes(), type=ReloadReport)
    except (OSError, msgspec.MsgspecError):
        return None
