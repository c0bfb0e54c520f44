"""Putting a bundle live: the file is replaced and the line reloads it; if the line refuses, the file comes back."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from stream.core.errors import BundleError, ConflictError, DiskError, PatchLineError, ReloadError
from stream.core.files import file_sha256, identity, replace
from stream.line.config import LineConfig
from stream.line.locks import lock_owner
from stream.line.reload_request import request_reload

#: Time for the answers, in seconds, beyond what the line allows its processes to get ready.
_ANSWER_S = 5.0
#: Time for reloading the previous bundle, which the line still holds as a rule, in seconds.
_BACK_S = 30.0


class BundleFile(NamedTuple):
    """A bundle file and the hash of its content."""

    path: Path
    sha256: str


def bundle_sha256(path: Path) -> str:
    """Return the hash of a bundle file; computed once until the file is replaced or written to. Raises BundleError."""
    try:
        return _sha256_of(path, identity(path))
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None


def camera_runs_here(line: LineConfig, station: str) -> bool:
    """Whether the process of a station's camera runs on this host."""
    return lock_owner(f"capture-{line.stations[station].camera}", line.state) is not None


def put_live(line: LineConfig, station: str, bundle: BundleFile, *, base_sha256: str) -> None:
    """Give a station another bundle; a running line takes it between two parts.

    Args:
        line: whose station it is.
        station: its name; others with the same file change with it.
        bundle: file to put in place; it is copied.
        base_sha256: hash of the file that is to be replaced, so that no other change is lost.

    Raises:
        ConflictError: the present file is another one, or a camera that decides about it does not run here.
        ReloadError: the line refused the bundle and keeps its own.
        BundleError: a file cannot be read.
        DiskError: a file cannot be written.
    """
    target = line.stations[station].bundle
    present_sha256 = bundle_sha256(target)
    if present_sha256 != base_sha256:
        raise ConflictError(
            f"{target}: holds bundle {present_sha256[:12]} by now, not {base_sha256[:12]} that this change begins "
            "with; another user or program has replaced it: make the change again"
        )
    _demand_cameras(line, target)
    place = _place(target)
    with _aside(place) as before:
        replace(bundle.path, place)
        # Renamed: this needs no space on the disk.
        _take(line, target, bundle.sha256, base_sha256, lambda: before.replace(place))


def confirm_live(line: LineConfig, station: str, *, before: BundleFile) -> None:
    """Have the line take the file that is in place already, as `put_live` does; if it refuses, `before` comes back."""
    target = line.stations[station].bundle
    _demand_cameras(line, target)
    _take(line, target, bundle_sha256(target), before.sha256, lambda: replace(before.path, target))


@contextmanager
def _aside(target: Path) -> Iterator[Path]:
    """Keep a copy of a file beside it during the block."""
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
    """Return the stations that use a bundle file, however they spell its path, and the camera of each."""
    place = _place(target)
    return {name: station.camera for name, station in line.stations.items() if _place(station.bundle) == place}


def _place(path: Path) -> Path:
    # What a symbolic link leads to is replaced, not the link.
    return Path(os.path.realpath(path))


def _demand_cameras(line: LineConfig, target: Path) -> None:
    """Refuse where no camera could confirm the bundle: the running bundle might differ from the live one."""
    if not _runs_here(line):
        return
    absent = {camera for name, camera in sharing(line, target).items() if not camera_runs_here(line, name)}
    if absent:
        raise ConflictError(
            f"the line runs, but not its camera {', '.join(sorted(absent))} on this host, which decides about the "
            "bundle; try again once its process runs, or on its host"
        )


def _take(line: LineConfig, target: Path, wanted_sha256: str, base_sha256: str, put_back: Callable[[], object]) -> None:
    """Have the line take the file in place; on any failure the previous file comes back."""
    if not _runs_here(line):
        return
    try:
        _reload(line, target, wanted_sha256, timeout_s=line.restarts.ready_s + _ANSWER_S)
    except BaseException as error:
        trouble = _go_back(line, target, base_sha256, put_back)
        if trouble and isinstance(error, PatchLineError):
            raise ReloadError(f"{error}; {trouble}") from error
        raise


def _go_back(line: LineConfig, target: Path, base_sha256: str, put_back: Callable[[], object]) -> str:
    """Put the previous file back; returns what went wrong, empty where nothing did."""
    try:
        put_back()
    except (OSError, DiskError) as error:
        return f"and bundle {base_sha256[:12]} could not be put back ({error}): copy it to {target} and reload the line"
    try:
        if _runs_here(line):
            _reload(line, target, base_sha256, timeout_s=_BACK_S)
    except ReloadError as error:
        return f"bundle {base_sha256[:12]} is in place again, but the line has not confirmed it ({error})"
    return ""


def _reload(line: LineConfig, target: Path, wanted_sha256: str, *, timeout_s: float) -> None:
    stations = sharing(line, target)
    reports = request_reload(line, timeout_s=timeout_s, cameras=set(stations.values()))
    changes = {station: change for report in reports.values() for station, change in report.stations.items()}
    for station in stations:
        change = changes.get(station)
        if change is None:
            raise ReloadError(f"station {station}: its camera's process has not reported whether it takes the bundle")
        if change.reason is not None:
            raise ReloadError(f"station {station} keeps its bundle {change.old_sha256[:12]}: {change.reason}")
        if change.new_sha256 != wanted_sha256:
            raise ReloadError(
                f"station {station} has read bundle {change.new_sha256[:12]}, not {wanted_sha256[:12]}; "
                f"was the line started with another file than {target}?"
            )


@lru_cache(maxsize=64)
def _sha256_of(path: Path, _identity: tuple[int, int, int] | None) -> str:
    return file_sha256(path)
