"""Asking a running line of this host for a reload, and waiting for what becomes of it."""

from __future__ import annotations

import os
import signal
import time
import uuid

import msgspec

from stream.config import LineConfig
from stream.errors import ReloadError
from stream.locks import holder
from stream.switching import Report, report_path, request_path

_POLL_S = 0.05


def ask_for_reload(line: LineConfig, *, timeout_s: float) -> dict[str, Report]:
    """Have the roles of this host read their bundles anew; returns what each camera's process says.

    Raises:
        ReloadError: no camera of the line runs on this host, or one did not answer in time.
    """
    cameras = [name for name in line.cameras if holder(f"capture-{name}", line.state) is not None]
    if not cameras:
        raise ReloadError(
            f"line {line.line}: none of its cameras runs on this host (locks in {line.state}); "
            "start it with `patchline run`, it reads its bundles then"
        )
    request = uuid.uuid4().hex
    partial = request_path(line.state).with_suffix(".partial")
    partial.write_text(request, encoding="utf-8")
    partial.replace(request_path(line.state))
    supervisor = holder("supervisor", line.state)
    roles = [role for role in line.roles if role not in ("sink", "supervisor")]
    for process in [supervisor] if supervisor is not None else [holder(role, line.state) for role in roles]:
        if process is not None:
            os.kill(process, signal.SIGHUP)
    until_s = time.monotonic() + timeout_s
    reports: dict[str, Report] = {}
    while len(reports) < len(cameras):
        for camera in cameras:
            report = _read(line, camera)
            if report is not None and report.request == request:
                reports[camera] = report
        if time.monotonic() > until_s:
            silent = ", ".join(f"capture-{camera}" for camera in cameras if camera not in reports)
            raise ReloadError(f"{silent} did not answer within {timeout_s:.0f} s; see the line's log")
        time.sleep(_POLL_S)
    return {camera: reports[camera] for camera in cameras}


def _read(line: LineConfig, camera: str) -> Report | None:
    try:
        return msgspec.json.decode(report_path(line.state, camera).read_bytes(), type=Report)
    except (OSError, msgspec.MsgspecError):
        return None
