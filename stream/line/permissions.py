"""Who may read the files of a line: its user and group, as `store.mode` says."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.devices.actuators.log import LogActuatorOptions
from stream.line.config import LineConfig

log = logging.getLogger(__name__)

#: What a line writes below `store.path`; whatever else is there is left alone.
_OURS = ("events.sqlite*", "review.sqlite*", "overlays", "bundles", "state", "*.log", "*.jsonl")
_SECRET_MODE = 0o600


@contextmanager
def line_rights(config: LineConfig) -> Iterator[None]:
    """Have what the block makes for a line carry the rights of `store.mode`; for commands with one thread at work."""
    before = os.umask(config.store.umask)
    try:
        yield
    finally:
        os.umask(before)


def mend(config: LineConfig) -> None:
    """Give the line's folders and files the rights of `store.mode`, secrets 0600; one log line says how many changed.

    New files have them by the process's umask. Files of other users stay as they are, with a warning.
    """
    changed, failed = 0, ""
    for path, wanted in _wanted(config):
        try:
            before = stat.S_IMODE(path.lstat().st_mode)
            # Set-group-id and the like stay.
            after = (before & 0o7000) | wanted
            if before != after:
                path.chmod(after)
                changed += 1
        except FileNotFoundError:
            continue  # of a process that runs meanwhile
        except OSError as error:
            failed = failed or f"{path}: {error.strerror}"
    if changed:
        log.warning(
            "store.mode: %d files and folders of this line had other rights than %s, which they have now",
            changed, config.store.mode,
        )  # fmt: skip
    if failed:
        log.warning("store.mode: rights cannot be set, others may read it: %s", failed)


def _wanted(config: LineConfig) -> Iterator[tuple[Path, int]]:
    folder_mode, file_mode = config.store.folder_mode, config.store.file_mode
    store = config.store.path
    # A folder that everybody writes to, such as /tmp, was not made by a line.
    if store.is_dir() and not store.stat().st_mode & stat.S_ISVTX:
        yield store, folder_mode
    for pattern in _OURS:
        for path in store.glob(pattern):
            yield from _below(path, folder_mode, file_mode)
    for camera in config.cameras.values():
        folder = None if camera.record is None else camera.record.path
        # A recording may have millions of files: they are looked at where its folder was open to others.
        if folder is not None and folder.is_dir() and stat.S_IMODE(folder.stat().st_mode) & 0o777 != folder_mode:
            yield from _below(folder, folder_mode, file_mode)
    for actuator in config.actuators.values():
        if isinstance(actuator, LogActuatorOptions) and actuator.path.is_file():
            yield actuator.path, file_mode


def _below(path: Path, folder_mode: int, file_mode: int) -> Iterator[tuple[Path, int]]:
    """Yield a file, or a folder and all that is in it, without following links."""
    if path.is_symlink():
        return
    if not path.is_dir():
        if path.is_file():
            yield path, _SECRET_MODE if path.suffix == ".secret" else file_mode
        return
    yield path, folder_mode
    with os.scandir(path) as entries:
        for entry in entries:
            yield from _below(Path(entry.path), folder_mode, file_mode)
