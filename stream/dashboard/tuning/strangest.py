"""The strangest good pictures of a station: what scored highest in the calibration of its live bundle."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.core.errors import BundleError
from stream.core.files import identity
from stream.core.images import jpeg_within
from stream.model.bundle import (
    Bundle,
    calibration_distances,
    calibration_inputs,
    live_bundle,
)
from stream.model.visualization import draw_map, hatched
from stream.training.strangest import STRANGEST, StrangePicture, strangest

#: Longer side of a picture, in px.
_LONGER_PX = 320
_JPEG_QUALITY = 90


class StrangePictures(NamedTuple):
    """Good pictures of a bundle with the largest calibration scores, the strangest first.

    Attributes:
        bundle_sha256: of the bundle.
        pictures: rank, name, score, and the threshold without each.
        jpegs: of these, with heat map and the strongest spot outlined.
    """

    bundle_sha256: str
    pictures: list[StrangePicture]
    jpegs: list[bytes]


def strange_pictures(path: Path) -> StrangePictures:
    """Return the strangest good pictures of a live bundle; raises BundleError. Any thread may call."""
    stamp = identity(path)
    if stamp is None:
        raise BundleError(f"{path}: no such bundle; make it with `patchline fit GOOD_DIR -o {path}`")
    return _of_file(path, stamp)


@lru_cache(maxsize=16)
def _of_file(path: Path, _identity: tuple[int, int, int]) -> StrangePictures:
    bundle = live_bundle(path)
    thresholds = bundle.info.thresholds
    assert thresholds is not None, "live bundles are calibrated"
    names, rate = bundle.info.calibration_names, thresholds.false_reject_rate
    pictures = strangest(bundle.calibration_scores, names, rate, STRANGEST)
    rows = [picture.row for picture in pictures]
    inputs, distances = calibration_inputs(path, rows), calibration_distances(path)[rows]
    jpegs = [_jpeg(bundle, *pair, thresholds.pixel) for pair in zip(inputs, distances, strict=True)]
    return StrangePictures(bundle.sha256, pictures, jpegs)


def _jpeg(
    bundle: Bundle, network_input: NDArray[np.uint8], distances: NDArray[np.float16], pixel_threshold: float
) -> bytes:
    """Return a network input in the aspect of its region, with heat map, what is not judged hatched."""
    region_px = bundle.info.roi[2:] if bundle.info.roi else bundle.info.picture_px or bundle.info.spec.input_px
    factor = _LONGER_PX / max(region_px)
    size_px = max(1, round(region_px[0] * factor)), max(1, round(region_px[1] * factor))
    view = cv2.resize(cv2.cvtColor(network_input, cv2.COLOR_RGB2BGR), size_px, interpolation=cv2.INTER_CUBIC)
    seen = hatched(np.asarray(view, dtype=np.uint8), bundle.info.filled)
    picture = draw_map(seen, distances, pixel_threshold, outline_spot=True)
    return jpeg_within(picture, _LONGER_PX, _JPEG_QUALITY)
