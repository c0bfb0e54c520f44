"""Putting a bundle live: the file is replaced and the line reloads it; if the line refuses, all is as before."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from stream.asking import ask_for_reload
from stream.bundle_file import file_sha256
from stream.config import LineConfig
from stream.errors import BundleError, ReloadError
from stream.locks import holder

#: Beyond what the line allows its processes to get ready.
_PATIENCE_S = 5.0


def runs_here(line: LineConfig) -> bool:
    """Whether a camera or a worker of the line runs on this host."""
    others = ("sink", "supervisor", "dashboard")
    return any(holder(role, line.state) is not None for role in line.roles if role not in others)


def install(line: LineConfig, station: str, bundle: Path, *, base: str) -> None:
    """Give a station another bundle; a running line takes it between two parts.

    Args:
        line: whose station it is.
        station: its name; others with the same file change with it.
        bundle: file to put in place, which stays.
        base: hash of the file that is to be replaced, so that nobody's change is lost.

    Raises:
        ReloadError: another file lies there than `base`, or the line refuses the bundle and goes on with its own.
        BundleError: a file cannot be read or written.
    """
    target = line.stations[station].bundle
    found = _sha256(target)
    if found != base:
        raise ReloadError(
            f"{target}: holds bundle {found[:12]} by now, not {base[:12]} that this change begins with; "
            "somebody has replaced it: make the change anew"
        )
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as aside:
        before = Path(aside) / "before"
        try:
            shutil.copyfile(target, before)
        except OSError as error:
            raise BundleError(f"{target}: cannot be kept aside: {error.strerror}") from None
        replace(bundle, target)
        if not runs_here(line):
            return
        try:
            _reload(line, target)
        except BaseException:
            replace(before, target)
            if runs_here(line):
                ask_for_reload(line, timeout_s=line.restarts.ready_s + _PATIENCE_S)
            raise


def replace(source: Path, target: Path) -> None:
    """Copy a file into the place of another, whole or not at all. Raises BundleError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as partial:
            try:
                with source.open("rb") as file:
                    shutil.copyfileobj(file, partial)
                Path(partial.name).chmod(0o644)
                Path(partial.name).replace(target)
            except BaseException:
                Path(partial.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise BundleError(f"{target}: cannot be written: {error.strerror}") from None


def _reload(line: LineConfig, target: Path) -> None:
    reports = ask_for_reload(line, timeout_s=line.restarts.ready_s + _PATIENCE_S)
    for report in reports.values():
        for station, change in report.stations.items():
            if line.stations[station].bundle == target and change.why is not None:
                raise ReloadError(f"station {station} keeps its bundle {change.old[:12]}: {change.why}")


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None
