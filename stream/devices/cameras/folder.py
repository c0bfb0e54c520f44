"""`kind: folder`: pictures on disk, played back as if a part stood in front of the camera for each."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import DatasetError, FrameFault
from stream.core.images import list_images, read_image
from stream.core.options import ConfigPath, PositiveHz
from stream.core.verdict import Cause
from stream.devices.cameras.camera import BeforeReady, Camera, CommonCameraOptions, Frame, Start
from stream.devices.cameras.ticks import tick_ns, wait_until


class FolderCameraOptions(CommonCameraOptions):
    """A folder of pictures, each of which is a part."""

    kind: Literal["folder"]
    path: ConfigPath  # the folder; png jpg jpeg bmp tif tiff webp, subfolders are not searched
    rate_hz: PositiveHz = 10.0  # software triggers per second
    loop: bool = False  # begin again after the last picture
    shuffle_seed: int | None = None  # mix the order, always in the same way; None: by file name

    def open(self) -> Camera:
        """Return the camera; raises DatasetError when the folder holds no picture."""
        return _FolderCamera(ordered_images(self.path, self.shuffle_seed), self.rate_hz, loop=self.loop)


class _FolderCamera:
    before_ready: BeforeReady = "held"
    stall_ns = None
    reconnects = 0
    frozen_frames = None

    def __init__(self, pictures: list[Path], rate_hz: float, *, loop: bool) -> None:
        self._pictures = pictures
        self._rate_hz = rate_hz
        self._loop = loop

    @property
    def fault(self) -> str | None:
        """None: a folder is always well; a damaged picture is the fault of its frame."""
        return None

    def frames(self, start: Start, stop: threading.Event) -> Iterator[Frame]:
        """Yield picture after picture at the rate, beginning with the first that has not been done."""
        begin_ns = time.monotonic_ns()
        for tick in itertools.count():
            index = start.frames_done + tick
            if index >= len(self._pictures) and not self._loop:
                return
            path = self._pictures[index % len(self._pictures)]
            # Decoded before the trigger: the part's deadline does not pay for the disk.
            image, fault = picture_or_fault(path)
            if not wait_until(tick_ns(begin_ns, tick, self._rate_hz), stop):
                return
            yield Frame(image, time.monotonic_ns(), path.name, fault)


def ordered_images(folder: Path, shuffle_seed: int | None) -> list[Path]:
    """Return the folder's pictures by name, or mixed by the seed; raises DatasetError when there are none."""
    pictures = list_images(folder)
    if shuffle_seed is not None:
        random.Random(shuffle_seed).shuffle(pictures)  # noqa: S311 - an order, not a secret
    return pictures


def picture_or_fault(path: Path) -> tuple[NDArray[np.uint8], None] | tuple[None, FrameFault]:
    """Return the (H, W, 3) uint8 BGR picture, or the fault of a frame whose file cannot be read."""
    try:
        return read_image(path), None
    except DatasetError as error:
        return None, FrameFault(Cause.BAD_FRAME, str(error))
