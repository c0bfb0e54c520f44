"""`kind: conveyor`: a drawn belt that carries the pictures of a folder past a camera in real time."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stream.core.errors import CameraError, DatasetError, FrameFault
from stream.core.images import image_size
from stream.core.options import ConfigPath, PositiveHz
from stream.core.verdict import Cause
from stream.devices.cameras.camera import BeforeReady, Camera, CommonCameraOptions, Frame, Start
from stream.devices.cameras.conveyor.belt import Belt, BeltPart
from stream.devices.cameras.folder import ordered_images, picture_or_fault
from stream.devices.cameras.ticks import tick_ns, wait_until
from stream.devices.triggers import TriggerOptions

Side = Annotated[int, Field(ge=16, le=8192)]


class ConveyorCameraOptions(CommonCameraOptions):
    """A synthetic belt. Parts come whether the camera looks or not, as on a real one."""

    kind: Literal["conveyor"]
    path: ConfigPath  # folder of part pictures
    rate_hz: PositiveHz = 2.0  # parts per second
    belt_px: tuple[Side, Side] = (640, 480)  # width and height of the camera's picture
    fps: PositiveHz | None = None  # None: a sensor triggers when the part is centred; else free-running
    parts: Annotated[int, Field(ge=1)] | None = None  # how many pass; None: each picture once
    shuffle_seed: int | None = None  # mix the order, always in the same way; None: by file name
    trigger: TriggerOptions | None = None  # for a free-running camera (fps): event for each part

    @model_validator(mode="after")
    def _one_trigger(self) -> Self:
        if self.trigger is not None and self.fps is None:
            raise ValueError("trigger: the belt's own sensor triggers already; set fps for a free-running camera")
        return self

    def open(self) -> Camera:
        """Return the camera; raises DatasetError without pictures, CameraError when one exceeds the belt."""
        pictures = ordered_images(self.path, self.shuffle_seed)
        for path in pictures:
            try:
                width_px, height_px = image_size(path)
            except DatasetError:
                continue  # it becomes the fault of its frame
            if width_px > self.belt_px[0] or height_px > self.belt_px[1]:
                raise CameraError(
                    f"{path}: {width_px}x{height_px} px is larger than the belt; "
                    f"set belt_px to at least [{width_px}, {height_px}]"
                )
        return _ConveyorCamera(pictures, self)


class _ConveyorCamera:
    """Part k is centred at origin + (k + 1) / rate; parts follow each other at one belt width."""

    before_ready: BeforeReady = "held"
    stall_ns = None
    reconnects = 0
    frozen_frames = None

    def __init__(self, pictures: list[Path], options: ConveyorCameraOptions) -> None:
        self._pictures = pictures
        self._parts = options.parts or len(pictures)
        self._rate_hz = options.rate_hz
        self._fps = options.fps
        self._belt = Belt(*options.belt_px)

    @property
    def fault(self) -> str | None:
        """None: the belt always runs; what it loses is the fault of a frame."""
        return None

    def frames(self, start: Start, stop: threading.Event) -> Iterator[Frame]:
        """Yield one frame per part at its trigger or, with `fps`, the frames of a free-running camera.

        Parts whose trigger came before this call are lost and announced as such, first. A free-running
        camera that was down took no frames; it goes on with the next one due.
        """
        called_ns = time.monotonic_ns()
        if self._fps is None:
            return self._triggered(start, called_ns, stop)
        return self._free_running(start.origin_ns, called_ns, self._fps, stop)

    def _triggered(self, start: Start, called_ns: int, stop: threading.Event) -> Iterator[Frame]:
        for index in range(start.frames_done, self._parts):
            trigger_ns = tick_ns(start.origin_ns, index + 1, self._rate_hz)
            if trigger_ns < called_ns:
                if stop.is_set():
                    return
                lost = FrameFault(Cause.CAMERA_FAULT, "passed while the camera was down")
                yield Frame(None, trigger_ns, self._path(index).name, lost)
                continue
            # Decoded before the trigger. A process that is a little late still has its picture: the
            # sensor took it in time.
            part = self._part(index)
            image = None if part.fault else self._belt.picture(self._belt.centred_px(index), [part])
            if not wait_until(trigger_ns, stop):
                return
            yield Frame(image, trigger_ns, part.name, part.fault)

    def _free_running(self, origin_ns: int, called_ns: int, fps: float, stop: threading.Event) -> Iterator[Frame]:
        near: dict[int, BeltPart] = {}
        first = max(0, math.ceil((called_ns - origin_ns) * fps / 1e9))
        for tick in itertools.count(first):
            taken_ns = tick_ns(origin_ns, tick, fps)
            passed = (taken_ns - origin_ns) * self._rate_hz / 1e9
            travel_px = round(passed * self._belt.width_px)
            # Parts are no wider than their distance, so only those around the last one centred show.
            centred = int(passed) - 1
            indices = range(max(0, centred - 1), min(self._parts, centred + 3))
            near = {index: near.get(index) or self._part(index) for index in indices}
            last = near.get(self._parts - 1)
            if not near or (last is not None and self._belt.left_px(last, travel_px) >= self._belt.width_px):
                return
            frame = self._free_frame(taken_ns, travel_px, list(near.values()))
            if not wait_until(taken_ns, stop):
                return
            yield frame

    def _free_frame(self, taken_ns: int, travel_px: int, near: list[BeltPart]) -> Frame:
        middle = min(near, key=lambda part: abs(travel_px - self._belt.centred_px(part.place)))
        in_view = 0 <= self._belt.left_px(middle, travel_px) <= self._belt.width_px - middle.width_px
        if in_view and middle.fault:
            return Frame(None, taken_ns, middle.name, middle.fault)
        return Frame(self._belt.picture(travel_px, near), taken_ns, middle.name if in_view else None)

    def _path(self, index: int) -> Path:
        return self._pictures[index % len(self._pictures)]

    def _part(self, index: int) -> BeltPart:
        path = self._path(index)
        image, fault = picture_or_fault(path)
        if image is not None and not self._belt.holds(image.shape[1], image.shape[0]):
            # The file has changed since the belt was opened.
            image, fault = None, FrameFault(Cause.BAD_FRAME, f"{path}: larger than the belt")
        return BeltPart(index, path.name, image, fault)
