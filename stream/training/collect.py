"""Collects good parts from the running camera as lossless images, to be learned."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.core.clock import now_ns
from stream.core.errors import ConfigError, DatasetError, DiskError, TransportError
from stream.core.files import check_destination
from stream.devices.cameras.camera import Start
from stream.line.config import LineConfig
from stream.line.locks import lock_owner, lock_role
from stream.line.permissions import line_rights
from stream.training.progress import Track
from stream.transport.broadcast import TapListener
from stream.transport.sockets import Sockets, why_unreached

#: How long a receive waits before it is checked whether the capture process still runs.
_RECEIVE_MS = 500
#: Time that a running capture process has to listen, s.
_LISTENS_WITHIN_S = 3.0
STAGE = "collect parts"

#: (H, W, 3) uint8 BGR.
Image = NDArray[np.uint8]


class Collected(NamedTuple):
    """The result of collecting.

    Attributes:
        parts: images in the folder.
        skipped: frames that had a fault, or came faster than they could be written.
        ended: why there are fewer than wanted; empty if there are not.
    """

    parts: int
    skipped: int
    ended: str


def collect(line: LineConfig, camera: str, folder: Path, *, wanted: int, track: Track, opens: bool = True) -> Collected:
    """Write `wanted` frames of a camera to a folder: from its capture process if that runs here, else from the camera.

    Ctrl-C ends it early. Without `opens` the camera is left to its process, which cannot start while another holds it.

    Raises:
        CameraError: the camera cannot be opened.
        DatasetError: the folder holds something already.
        DiskError: the images cannot be written.
        TransportError: the capture process runs, but listens elsewhere than this configuration and environment say.
    """
    _prepare(folder)
    kept = skipped = 0
    track(STAGE, 0, wanted)
    try:
        with closing(_frames(line, camera) if opens else _tapped(line, camera)) as images:
            for image in images:
                if image is None:
                    skipped += 1
                    continue
                _write(folder / f"part_{kept:06d}.png", image)
                kept += 1
                track(STAGE, kept, wanted)
                if kept >= wanted:
                    return Collected(kept, skipped, "")
    except KeyboardInterrupt:
        return Collected(kept, skipped, "interrupted")
    return Collected(kept, skipped, "the camera has ended")


def station_of(line: LineConfig, camera: str, name: str | None) -> str:
    """Return the station to teach: the one named, or the only one of the camera. Raises ConfigError."""
    if camera not in line.cameras:
        raise ConfigError(f"CAMERA: expected one of {', '.join(line.cameras)}, got '{camera}'")
    stations = list(line.stations_of(camera))
    if name is None and len(stations) == 1:
        return stations[0]
    if name not in stations:
        raise ConfigError(f"--station: camera {camera} has {', '.join(stations)}; name one of them")
    return name


def _frames(line: LineConfig, camera: str) -> Generator[Image | None]:
    """Yield the image of each frame of the camera, None for a frame with a fault."""
    try:
        with line_rights(line):
            lock = lock_role(f"capture-{camera}", line.state)
    except TransportError:
        yield from _tapped(line, camera)
        return
    with lock:  # no other process opens the camera meanwhile
        source, stop = line.cameras[camera].open(), threading.Event()
        try:
            for frame in source.frames(Start(0, now_ns()), stop):
                yield frame.image
        finally:
            stop.set()


def _tapped(line: LineConfig, camera: str) -> Generator[Image | None]:
    role = f"capture-{camera}"
    sockets = Sockets(line.transport.keys)
    try:
        listener = TapListener(sockets, line.tap_address(camera))
        next_seq: int | None = None
        silent_s = 0.0
        while True:
            received = listener.receive(_RECEIVE_MS)
            if received is None:
                owner = lock_owner(role, line.state)
                if owner is None:
                    return
                silent_s += _RECEIVE_MS / 1e3
                # Not at once: the process may be about to listen. A camera may be silent for any time.
                if next_seq is None and silent_s >= _LISTENS_WITHIN_S:
                    reason = why_unreached(line.tap_address(camera), owner)
                    if reason is not None:
                        raise TransportError(reason)
                continue
            frame, pixels = received.message, b"".join(received.attachments)
            for _ in range(next_seq or frame.seq, frame.seq):
                yield None
            next_seq = frame.seq + 1
            fits = len(pixels) == frame.height_px * frame.width_px * 3
            yield np.frombuffer(pixels, np.uint8).reshape(frame.height_px, frame.width_px, 3) if fits else None
    finally:
        sockets.close()


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        occupied = any(folder.iterdir())
    except OSError as error:
        raise DiskError(f"{folder}: cannot be used: {error.strerror}; name another folder") from None
    if occupied:
        raise DatasetError(f"{folder}: is not empty; name a new folder, or learn what is in it with `patchline fit`")
    check_destination(folder / "part_000000.png")


def _write(path: Path, image: Image) -> None:
    # The quickest level: the disk has room for a few hundred images, the camera does not wait.
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise DiskError(f"{path}: cannot be written; is the disk full?")
