"""From a camera's frame to a station's part: region, deadline and preview."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core.clock import now_ns
from stream.core.errors import BundleError
from stream.core.parts import Placement
from stream.devices.cameras.camera import Frame
from stream.line.sections import StationOptions
from stream.model.bundle import live_bundle
from stream.model.bundle_info import BundleInfo
from stream.model.mask_files import check_masks
from stream.model.patchcore.geometry import Geometry

log = logging.getLogger(__name__)


class PartCropper(NamedTuple):
    """How a station's part is cropped from a frame.

    Attributes:
        name: of the station.
        station: its options.
        bundle_sha256: the bundle for which it crops.
        geometry: from the frame to the network input.
    """

    name: str
    station: StationOptions
    bundle_sha256: str
    geometry: Geometry


class CroppedPart(NamedTuple):
    """A part that waits for a worker; encoded only when it is sent, so that skipped frames cost nothing.

    Attributes:
        cropper: of its station, with the bundle for which it was cropped.
        seq: number of its frame.
        frame: the whole camera frame.
        placement: how the part lies in it; None: it is not aligned, or a free-running one that has not been sent.
        align_ns: how long it took to find.
        grabbed_ns: when capture received the frame.
        siblings: parts cropped from this frame, this one included.
    """

    cropper: PartCropper
    seq: int
    frame: Frame
    placement: Placement | None
    align_ns: int
    grabbed_ns: int
    siblings: int

    def found(self) -> CroppedPart:
        """Return it with its placement; raises FrameFault."""
        if self.cropper.geometry.alignment is None:
            return self
        image, begun_ns = self.frame.image, now_ns()
        assert image is not None, "frames without a picture are announced as faults"
        placement = self.cropper.geometry.placement(image)
        return self._replace(placement=placement, align_ns=now_ns() - begun_ns)

    def region(self) -> NDArray[np.uint8]:
        """Return the part's region, (h, w, 3) uint8 BGR."""
        assert self.frame.image is not None, "frames without a picture are announced as faults"
        return self.cropper.geometry.region(self.frame.image, self.placement)


def load_cropper(name: str, station: StationOptions) -> PartCropper:
    """Read from the station's bundle how its parts are cropped; raises BundleError, or ConfigError for its masks."""
    bundle = live_bundle(station.bundle)
    info: BundleInfo = bundle.info
    check_masks(name, station.masks, station.bundle, info)
    roi = station.roi or info.roi
    if info.alignment is not None and roi != info.roi:
        learned = "the whole picture" if info.roi is None else list(info.roi)
        raise BundleError(
            f"{station.bundle}: aligns parts by fixtures in the picture, so that its region {learned} cannot be moved; "
            f"remove stations.{name}.roi, or fit with that --roi"
        )
    if info.roi is not None and roi is not None and roi[2:] != info.roi[2:]:
        log.warning(
            "stations.%s.roi: %d×%d px, but the bundle learned %d×%d: the part's scale differs",
            name, *roi[2:], *info.roi[2:],
        )  # fmt: skip
    return PartCropper(name, station, bundle.sha256, info.geometry._replace(roi=roi))


def deadline_ns(frame: Frame, station: StationOptions) -> int:
    """Return when the verdict of a part is due."""
    return frame.captured_ns + int(station.deadline_ms * 1e6)
