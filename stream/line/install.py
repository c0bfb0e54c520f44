"""Putting a bundle live: the file is replaced and the line reloads it; if the line refuses, all is as before."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.core.errors import BundleError, ConflictError, PatchLineError, ReloadError
from stream.core.files import file_sha256, replace
from stream.line.config import LineConfig
from stream.line.locks import lock_owner
from stream.line.reload_request import request_reload

#: Beyond what the line allows its processes to get ready.
_PATIENCE_S = 5.0
#: For the bundle before, which the line still holds as a rule.
_BACK_S = 30.0


def camera_runs_here(line: LineConfig, station: str) -> bool:
    """Whether the process of a station's camera runs on this host."""
    return lock_owner(f"capture-{line.stations[station].camera}", line.state) is not None


def put_live(line: LineConfig, station: str, bundle: Path, *, base: str) -> None:
    """Give a station another bundle; a running line takes it between two parts.

    Args:
        line: whose station it is.
        station: its name; others with the same file change with it.
        bundle: file to put in place, which stays.
        base: hash of the file that is to be replaced, so that nobody's change is lost.

    Raises:
        ConflictError: the present file is not `base`, or a camera that decides about it does not run here.
        ReloadError: the line refused the bundle and keeps its own.
        BundleError: a file cannot be read or written.
    """
    target = line.stations[station].bundle
    found = _sha256(target)
    if found != base:
        raise ConflictError(
            f"{target}: holds bundle {found[:12]} by now, not {base[:12]} that this change begins with; "
            "somebody has replaced it: make the change anew"
        )
    _demand_cameras(line, target)
    with _aside(target) as before:
        wanted = _sha256(bundle)
        replace(bundle, target)
        # Renamed: this needs no space on the disk.
        _take(line, target, wanted, base, lambda: before.replace(target))


def confirm_live(line: LineConfig, station: str, *, before: Path) -> None:
    """Have the line take the file that lies there already, as `put_live` does; if it refuses, `before` comes back."""
    target = line.stations[station].bundle
    _demand_cameras(line, target)
    _take(line, target, _sha256(target), _sha256(before), lambda: replace(before, target))


@contextmanager
def _aside(target: Path) -> Iterator[Path]:
    """Keep a copy of a file beside it for as long as the block lasts."""
    try:
        folder = tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.", ignore_cleanup_errors=True)
    except OSError as error:
        raise _not_kept(target, error) from None
    with folder as name:
        before = Path(name) / "before"
        try:
            shutil.copy2(target, before)
        except OSError as error:
            raise _not_kept(target, error) from None
        yield before


def _not_kept(target: Path, error: OSError) -> BundleError:
    return BundleError(
        f"{target}: cannot be kept aside: {error.strerror}; check the space and rights of its folder: "
        "a bundle is replaced in one step, from beside it"
    )


def _runs_here(line: LineConfig) -> bool:
    """Whether any process of the line runs on this host, besides the dashboard."""
    return any(lock_owner(role, line.state) is not None for role in line.roles if role != "dashboard")


def sharing(line: LineConfig, target: Path) -> dict[str, str]:
    """Return the stations that have a bundle file, however they write its path, and the camera of each."""
    place = _place(target)
    return {name: station.camera for name, station in line.stations.items() if _place(station.bundle) == place}


def _place(path: Path) -> Path:
    # A link is replaced itself, not what it leads to.
    return path.parent.resolve() / path.name


def _demand_cameras(line: LineConfig, target: Path) -> None:
    """Refuse where nobody could say whether the line takes a bundle: what runs would not be what is called live."""
    if not _runs_here(line):
        return
    absent = {camera for name, camera in sharing(line, target).items() if not camera_runs_here(line, name)}
    if absent:
        raise ConflictError(
            f"the line runs, but not its camera {', '.join(sorted(absent))} on this host, which decides about the "
            "bundle; try again when it is there, or where it is"
        )


def _take(line: LineConfig, target: Path, wanted: str, base: str, put_back: Callable[[], object]) -> None:
    """Have the line take the file in place; whatever is in its way brings the file before back."""
    if not _runs_here(line):
        return
    try:
        _reload(line, target, wanted, timeout_s=line.restarts.ready_s + _PATIENCE_S)
    except BaseException as error:
        told = _go_back(line, target, base, put_back)
        if told and isinstance(error, PatchLineError):
            raise ReloadError(f"{error}; {told}") from error
        raise


def _go_back(line: LineConfig, target: Path, base: str, put_back: Callable[[], object]) -> str:
    """Return what a person should know of it; empty: all is as before."""
    try:
        put_back()
    except (OSError, BundleError) as error:
        return f"and bundle {base[:12]} could not be put back ({error}): copy it to {target} and reload the line"
    try:
        if _runs_here(line):
            _reload(line, target, base, timeout_s=_BACK_S)
    except ReloadError as error:
        return f"bundle {base[:12]} lies in place again, but the line has not confirmed it ({error})"
    return ""


def _reload(line: LineConfig, target: Path, wanted: str, *, timeout_s: float) -> None:
    stations = sharing(line, target)
    reports = request_reload(line, timeout_s=timeout_s, cameras=set(stations.values()))
    said = {station: change for report in reports.values() for station, change in report.stations.items()}
    for station in stations:
        change = said.get(station)
        if change is None:
            raise ReloadError(f"station {station}: its camera's process has not said whether it takes the bundle")
        if change.why is not None:
            raise ReloadError(f"station {station} keeps its bundle {change.old_sha256[:12]}: {change.why}")
        if change.new_sha256 != wanted:
            raise ReloadError(
                f"station {station} has read bundle {change.new_sha256[:12]}, not {wanted[:12]}; "
                f"was the line started with another file than {target}?"
            )


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None
