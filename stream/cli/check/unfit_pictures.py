"""Pictures of a camera that a station's bundle cannot be used with: another size, region or colour."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stream.capture.cropper import load_cropper
from stream.core.clock import now_ns
from stream.core.errors import BundleError, FrameFault
from stream.devices.cameras import CameraOptions
from stream.devices.cameras.camera import Start
from stream.devices.cameras.conveyor.camera import ConveyorCameraOptions
from stream.devices.cameras.folder import FolderCameraOptions, ordered_images, picture_or_fault
from stream.devices.cameras.video import VideoCameraOptions
from stream.line.config import LineConfig
from stream.line.sections import StationOptions
from stream.model.bundle import live_bundle
from stream.model.bundle_info import BundleInfo
from stream.model.patchcore.alignment import AT_FIT
from stream.model.patchcore.health import format_fault, measure

#: Pictures of a folder that are tried: one of another size may be among them.
_TRIED = 20
#: Frames that are tried of a belt or a video, and the longest wait for them.
_FRAMES, _WAIT_S = 5, 3.0


def check_pictures(config: LineConfig) -> None:
    """Raise BundleError if a camera plays pictures back of which none fits a station, as far as the first ones show.

    Every part of the station would be UNINSPECTED. What other cameras deliver is known only once they are open.
    """
    found = [
        f"stations.{name}: none of the first pictures of camera {camera} can be inspected: {reason}"
        for camera, options in config.cameras.items()
        for name, reason in _unfit_for_all(config.stations_of(camera), options)
    ]
    if found:
        raise BundleError("\n".join(found))


def _unfit_for_all(stations: dict[str, StationOptions], camera: CameraOptions) -> Iterator[tuple[str, str]]:
    """Yield the stations that can inspect none of a camera's first pictures, and why the first one."""
    if isinstance(camera, FolderCameraOptions):
        paths = ordered_images(camera.path, camera.shuffle_seed)[:_TRIED]
        pictures = [picture for path in paths if (picture := picture_or_fault(path)[0]) is not None]
    elif isinstance(camera, ConveyorCameraOptions | VideoCameraOptions):
        pictures = _first_frames(camera)
    else:
        return
    for name, station in stations.items():
        # A video may begin in black, which has no colour.
        colours = not isinstance(camera, VideoCameraOptions)
        reasons = [reason_of(name, station, picture, colours=colours) for picture in pictures]
        first = next((reason for reason in reasons if reason is not None), None)
        if first is not None and None not in reasons:
            yield name, first


def _first_frames(camera: ConveyorCameraOptions | VideoCameraOptions) -> list[NDArray[np.uint8]]:
    stop = threading.Event()
    limit = threading.Timer(_WAIT_S, stop.set)
    limit.start()
    try:
        frames = camera.open().frames(Start(0, now_ns()), stop)
        return [frame.image for frame in itertools.islice(frames, _FRAMES) if frame.image is not None]
    finally:
        limit.cancel()
        stop.set()


def reason_of(name: str, station: StationOptions, picture: NDArray[np.uint8], *, colours: bool = True) -> str | None:
    """Return why a station cannot inspect a camera's (H, W, 3) uint8 BGR picture; None: size, region and colour fit.

    Without `colours` these are not looked at. Raises BundleError.
    """
    info: BundleInfo = live_bundle(station.bundle).info
    try:
        geometry = load_cropper(name, station).geometry
        region = geometry.region(picture, AT_FIT)  # a picture without a part tells size and colours too
    except FrameFault as fault:
        return f"{fault}; set stations.{name}.roi, or fit the bundle on this camera's pictures"
    if not (colours and station.frame_checks):
        return None
    return format_fault(measure(geometry.network_input(region)), info.reference)
