"""Which cameras this host sees, by each of the ways that there are to look."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from stream.core.errors import CameraError
from stream.devices.cameras.genicam import devices as genicam_devices
from stream.devices.cameras.reconnecting import CameraLost

V4L2_FOLDER = Path("/sys/class/video4linux")
#: Lists GigE and USB3 Vision cameras without any maker's producer; not needed by anything else.
ARAVIS_TOOL = "arv-tool-0.8"
_ARAVIS_TIMEOUT_S = 15.0


class Attached(NamedTuple):
    """One camera.

    Attributes:
        kind: the way it was found.
        name: as it calls itself.
        options: what names it in the configuration.
        through: the file or program that sees it.
    """

    kind: str
    name: str
    options: str
    through: str


class Look(NamedTuple):
    """The cameras found in one way; without any, `remark` has where it searched or what is missing."""

    kind: str
    found: list[Attached]
    remark: str | None = None


def look_everywhere(producer: Path | None) -> list[Look]:
    """Look for V4L2, GenICam and Aravis cameras; a way that fails is reported and does not affect the others."""
    return [v4l2(V4L2_FOLDER), *genicam(producer), aravis()]


def v4l2(folder: Path) -> Look:
    """Look for USB and other V4L2 cameras; of a camera's several devices the first gives pictures."""
    found = [
        Attached("V4L2", _line(device / "name") or "unnamed", f"device: /dev/{device.name}", str(device))
        for device in sorted(folder.glob("video*"), key=lambda path: (len(path.name), path.name))
        if (_line(device / "index") or "0") == "0"
    ]
    return Look("V4L2", found, None if found else f"no device in {folder}")


def genicam(producer: Path | None) -> list[Look]:
    """Look through the given producer, or through each one that is installed."""
    files = genicam_devices.producers(producer)
    if not files:
        folders = os.environ.get(genicam_devices.PRODUCERS_VARIABLE)
        where = f"no .cti file in {folders}" if folders else f"{genicam_devices.PRODUCERS_VARIABLE} is not set"
        return [Look("GenICam", [], f"{where}; install the producer of the camera's maker, or give --producer")]
    return [_through(path) for path in files]


def aravis() -> Look:
    """Look with Aravis' own tool, if it is installed."""
    tool = shutil.which(ARAVIS_TOOL)
    if tool is None:
        return Look("Aravis", [], f"{ARAVIS_TOOL} is not installed (optional)")
    try:
        completed = subprocess.run([tool], capture_output=True, text=True, timeout=_ARAVIS_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Look("Aravis", [], f"{tool} failed: {error}")
    lines = [line.strip() for line in completed.stdout.splitlines() if line.strip()]
    if completed.returncode != 0 or (len(lines) == 1 and lines[0].lower().startswith("no device")):
        lines = []
    found = [Attached("Aravis", line, "kind: genicam, with its maker's producer", tool) for line in lines]
    return Look("Aravis", found, None if found else f"{tool} finds no camera")


def _through(producer: Path) -> Look:
    try:
        harvester = genicam_devices.open_harvester([producer])
    except (CameraLost, CameraError) as error:
        return Look("GenICam", [], str(error))
    try:
        found = [
            Attached("GenICam", f"{each.vendor} {each.model}", f'serial: "{each.serial}"', str(producer))
            for each in genicam_devices.devices(harvester)
        ]
    finally:
        harvester.reset()
    return Look("GenICam", found, None if found else f"{producer} sees no camera")


def _line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
