"""GenICam cameras that the GenTL producers of this host see: to list them, and to find one by its serial number."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stream.core.errors import CameraError
from stream.devices.cameras.genicam.nodes import message_of
from stream.devices.cameras.reconnecting import CameraLost

#: Folders of producers, separated by colons; the producers' installers set it.
PRODUCERS_VARIABLE = "GENICAM_GENTL64_PATH"

# Harvesters logs tracebacks for what is reported here in one line.
_harvesters_log = logging.getLogger("stream.harvesters")
_harvesters_log.setLevel(logging.WARNING)
_harvesters_log.propagate = False
_harvesters_log.addHandler(logging.NullHandler())


class GenicamDevice(NamedTuple):
    """One camera as its producer describes it, and the producer's own object for it."""

    serial: str
    vendor: str
    model: str
    producer: Path
    info: Any

    def __str__(self) -> str:
        return f"{self.serial} ({self.vendor} {self.model})"


def producers(producer: Path | None = None) -> list[Path]:
    """Return the given producer, or all below the folders of GENICAM_GENTL64_PATH."""
    if producer is not None:
        return [producer]
    folders = [Path(folder) for folder in os.environ.get(PRODUCERS_VARIABLE, "").split(os.pathsep) if folder]
    return sorted({path.resolve() for folder in folders for path in folder.glob("*.cti")})


def open_harvester(files: list[Path]) -> Any:
    """Return a Harvester that knows the cameras of these producers.

    Raises:
        CameraError: the library is not installed.
        CameraLost: a producer cannot be loaded, or there is none.
    """
    try:
        from harvesters.core import Harvester
    except ImportError:
        raise CameraError("GenICam cameras need the extra `genicam`: pip install 'patchline[genicam]'") from None
    if not files:
        raise CameraLost(
            f"there is no GenTL producer (a .cti file): install the one of the camera's maker and set `producer` "
            f"to its path, or {PRODUCERS_VARIABLE} to its folder"
        )
    harvester = Harvester(logger=_harvesters_log)
    for path in files:
        try:
            harvester.add_file(str(path), check_existence=True, check_validity=True)
        except FileNotFoundError:
            raise CameraLost(f"{path}: no such GenTL producer") from None
        except OSError as error:
            raise CameraLost(f"{path} cannot be loaded as a GenTL producer: {error}") from None
    with _complaints() as complaints:
        harvester.update()
    if complaints and not harvester.device_info_list:
        harvester.reset()
        raise CameraLost(f"the GenTL producer does not start: {complaints[0]}; is it in use already?")
    return harvester


def devices(harvester: Any) -> list[GenicamDevice]:
    """Return the cameras in the order of the producers."""
    return [_device(info) for info in harvester.device_info_list]


def find(harvester: Any, serial: str | None) -> GenicamDevice:
    """Return the camera with this serial number, or the only one there is; raises CameraLost naming those present."""
    present = devices(harvester)
    wanted = [device for device in present if serial in (None, device.serial)]
    # One camera may be seen by several producers.
    if wanted and (serial is not None or len({device.serial for device in wanted}) == 1):
        return wanted[0]
    found = f"present: {', '.join(map(str, present))}" if present else "the producer sees no camera at all"
    if serial is None and present:
        raise CameraLost(f"several cameras; set `serial` to one of them; {found}")
    raise CameraLost(f"there is no camera{'' if serial is None else f' with serial {serial!r}'}; {found}")


@contextlib.contextmanager
def interrupt_untouched() -> Iterator[None]:
    """Give Ctrl-C back to whom it belongs: Harvesters takes it over when a camera is opened in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what Harvesters logs instead of raising it: a producer that fails looks like one without cameras."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(message_of(Exception(record.getMessage())))  # type: ignore[method-assign]
    _harvesters_log.addHandler(handler)
    try:
        yield messages
    finally:
        _harvesters_log.removeHandler(handler)


def _device(info: Any) -> GenicamDevice:
    serial = _text_of(info, "serial_number") or _text_of(info, "id_") or "unknown"
    producer = Path(str(info.parent.parent.parent.path_name))
    return GenicamDevice(serial, _text_of(info, "vendor") or "", _text_of(info, "model") or "", producer, info)


def _text_of(info: Any, what: str) -> str | None:
    """Return a producer's information about a camera, any of which may be missing."""
    from genicam import gentl

    try:
        return str(getattr(info, what))
    except gentl.GenericException:
        return None
