"""Takes one frame of a camera and draws the stations' regions into it."""

from __future__ import annotations

import queue
import threading
import time
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.core.errors import CameraError, PatchLineError
from stream.core.images import bgr_copy
from stream.devices.cameras.camera import Camera, Frame, Start
from stream.devices.cameras.reconnecting import CameraLost
from stream.model.patchcore.preprocess import Roi

_TRIGGER_EVERY_S = 0.5
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_COLOURS_BGR = [(80, 208, 255), (255, 200, 64), (112, 224, 96), (240, 128, 255), (96, 144, 255), (255, 255, 128)]
_DARK_BGR = (20, 20, 20)


class Region(NamedTuple):
    """A station's region; `roi` is x, y, width, height in px, or None for the whole frame."""

    station: str
    roi: Roi | None

    def within(self, image: NDArray[np.uint8]) -> bool:
        """Return whether the image contains all of it."""
        x, y, width_px, height_px = self.roi or (0, 0, 1, 1)
        return bool(x + width_px <= image.shape[1] and y + height_px <= image.shape[0])


def take_picture(source: Camera, wait_s: float) -> NDArray[np.uint8]:
    """Return the first (H, W, 3) uint8 BGR frame without a fault; a camera with software triggers is triggered.

    Raises:
        CameraError: none came within `wait_s`, or the source ended or gave up.
    """
    stop = threading.Event()
    frames: queue.SimpleQueue[Frame | BaseException | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(source, stop, frames), name="reader", daemon=True)
    reader.start()
    try:
        return _first_good(source, frames, wait_s)
    finally:
        stop.set()
        reader.join(timeout=5.0)


def _read(source: Camera, stop: threading.Event, frames: queue.SimpleQueue[Frame | BaseException | None]) -> None:
    try:
        for frame in source.frames(Start(0, time.monotonic_ns()), stop):
            frames.put(frame)
            if stop.is_set() or frame.image is not None:
                return
        frames.put(None)
    except BaseException as error:  # noqa: BLE001 - raised where the picture is waited for
        frames.put(error)


def _first_good(
    source: Camera, frames: queue.SimpleQueue[Frame | BaseException | None], wait_s: float
) -> NDArray[np.uint8]:
    until_s = time.monotonic() + wait_s
    why = "no frame came"
    while (left_s := until_s - time.monotonic()) > 0:
        trigger = getattr(source, "trigger", None)
        if trigger is not None:
            try:
                trigger()
            except CameraLost as error:
                why = f"no frame came; the camera could not be triggered: {error}"
        try:
            frame = frames.get(timeout=min(left_s, _TRIGGER_EVERY_S))
        except queue.Empty:
            continue
        if isinstance(frame, PatchLineError):
            raise frame
        if isinstance(frame, BaseException):
            raise CameraError(f"the camera failed: {frame}")
        if frame is None:
            raise CameraError(f"the camera ended without a good picture: {why}")
        if frame.image is not None:
            return frame.image
        why = f"the last frame was faulty: {frame.fault}"
    waits = "" if source.stall_ns is not None else "; if it waits for a trigger, let a part pass"
    raise CameraError(f"no picture within {wait_s:g} s: {source.fault or why}{waits}")


def draw_regions(image: NDArray[np.uint8], regions: list[Region]) -> NDArray[np.uint8]:
    """Return a copy in BGR of a frame's image, with the outline, station and size of each region.

    Dark under light, so that outlines and letters stand out on any background; labels move down until they
    cover no other.
    """
    picture = bgr_copy(image)
    height_px, width_px = image.shape[:2]
    stroke_px = max(1, round(min(height_px, width_px) / 300))
    for index, region in enumerate(regions):
        x, y, roi_width_px, roi_height_px = region.roi or (0, 0, width_px, height_px)
        corners = (x, y), (x + roi_width_px - 1, y + roi_height_px - 1)
        cv2.rectangle(picture, *corners, _DARK_BGR, 3 * stroke_px)
        cv2.rectangle(picture, *corners, _COLOURS_BGR[index % len(_COLOURS_BGR)], stroke_px)
    taken: list[Roi] = []
    for index, region in enumerate(regions):
        _label(picture, region, _COLOURS_BGR[index % len(_COLOURS_BGR)], taken)
    return picture


def _label(picture: NDArray[np.uint8], region: Region, colour: tuple[int, int, int], taken: list[Roi]) -> None:
    height_px, width_px = picture.shape[:2]
    x, y, roi_width_px, roi_height_px = region.roi or (0, 0, width_px, height_px)
    text = f"{region.station} {roi_width_px}x{roi_height_px} at {x},{y}"
    if not region.within(picture):
        text += " OUTSIDE"
    scale = float(np.clip(min(height_px, width_px) / 900, 0.4, 2.0))
    stroke_px = max(1, round(scale * 1.5))
    (text_width_px, text_height_px), below_px = cv2.getTextSize(text, _FONT, scale, stroke_px)
    if text_width_px > width_px - 8:
        scale *= (width_px - 8) / text_width_px
        (text_width_px, text_height_px), below_px = cv2.getTextSize(text, _FONT, scale, stroke_px)
    box_width_px, box_height_px = text_width_px + 8, text_height_px + below_px + 6
    left = int(np.clip(x, 0, max(0, width_px - box_width_px)))
    top = y - box_height_px if y >= box_height_px else y
    top = int(np.clip(top, 0, max(0, height_px - box_height_px)))
    while any(_overlap((left, top, box_width_px, box_height_px), other) for other in taken):
        top += box_height_px
        if top + box_height_px > height_px:
            break
    top = min(top, max(0, height_px - box_height_px))
    taken.append((left, top, box_width_px, box_height_px))
    cv2.rectangle(picture, (left, top), (left + box_width_px, top + box_height_px), _DARK_BGR, cv2.FILLED)
    at = (left + 4, top + text_height_px + 3)
    cv2.putText(picture, text, at, _FONT, scale, colour, stroke_px, cv2.LINE_AA)


def _overlap(first: Roi, second: Roi) -> bool:
    return (
        first[0] < second[0] + second[2]
        and second[0] < first[0] + first[2]
        and first[1] < second[1] + second[3]
        and second[1] < first[1] + first[3]
    )
