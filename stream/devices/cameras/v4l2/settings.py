"""What a V4L2 camera was asked for, what it answered, and what it could do instead."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)


class Settings(NamedTuple):
    """Settings of a camera: as wished, where None keeps the present one, or as answered."""

    pixel_format: str | None
    width: int | None
    height: int | None
    fps: float | None
    exposure_ms: float | None


def refused(wishes: Settings, answer: Settings) -> str | None:
    """Name the settings that differ and change the picture, or return None: its format and its size."""
    differ = [
        f"{name} is {got}, not {wish}"
        for name, wish, got in (
            ("pixel_format", wishes.pixel_format, answer.pixel_format),
            ("width", wishes.width, answer.width),
            ("height", wishes.height, answer.height),
        )
        if wish is not None and got != wish
    ]
    return f"it answers with other settings: {', '.join(differ)}" if differ else None


def nearly(wishes: Settings, answer: Settings) -> list[str]:
    """Name the settings that the camera rounded to what it can: rate and exposure."""
    differences = []
    if wishes.fps is not None and answer.fps is not None and abs(answer.fps - wishes.fps) > 0.01 * wishes.fps:
        differences.append(f"fps is {answer.fps:g}, not {wishes.fps:g}")
    wish_ms, got_ms = wishes.exposure_ms, answer.exposure_ms
    # V4L2 counts exposure in steps of 0.1 ms, and cameras in coarser ones.
    if wish_ms is not None and got_ms is not None and abs(got_ms - wish_ms) > max(0.1, 0.05 * wish_ms):
        differences.append(f"exposure_ms is {got_ms:g}, not {wish_ms:g}")
    return differences


def rounded(device: str, wishes: Settings, answer: Settings) -> None:
    """Warn of settings that the camera rounded."""
    if differences := nearly(wishes, answer):
        log.warning("%s answers with other settings: %s; %s", device, ", ".join(differences), offers(device))


def offers(device: str) -> str:
    """Say what the device can do, as v4l2-ctl knows it; without v4l2-ctl, how to find out."""
    program = shutil.which("v4l2-ctl")
    if program is None:
        return f"`v4l2-ctl --device {device} --list-formats-ext` (package v4l-utils) lists what it offers"
    command = [program, "--device", device, "--list-formats-ext"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return f"v4l2-ctl cannot list what it offers: {error}"
    return f"it offers {formats(output) or 'no formats'}"


def formats(output: str) -> str:
    """Shorten the output of `v4l2-ctl --list-formats-ext`: `MJPG 1280x720 at 30, 15 fps; YUYV 640x480 at 30 fps`."""
    found: list[str] = []
    pixel_format = ""
    rates: list[str] = []
    for line in output.splitlines():
        if name := re.search(r"\[\d+\]: '(.{4})'", line):
            pixel_format = name[1]
        elif size := re.search(r"Size: \w+ (\d+x\d+(?: - \d+x\d+)?)", line):
            rates = []
            found.append(f"{pixel_format} {size[1]}")
        elif (rate := re.search(r"\((\d+\.\d+)(?:-(\d+\.\d+))? fps\)", line)) and found:
            rates.append(" to ".join(f"{float(each):g}" for each in rate.groups() if each))
            found[-1] = f"{found[-1].split(' at ')[0]} at {', '.join(rates)} fps"
    return "; ".join(found)


def devices(folder: Path = Path("/dev")) -> str:
    """Say which video devices this host has."""
    present = sorted(str(path) for path in folder.glob("video*"))
    return f"this host has {', '.join(present)}" if present else "this host has no /dev/video*"
