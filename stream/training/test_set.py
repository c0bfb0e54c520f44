"""The labelled images of an evaluation, as the line would take them: inspected or refused.

The layout is that of MVTec AD: `test/good/`, `test/<defect type>/` and, optionally, `ground_truth/<defect type>/`.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import DatasetError, FrameFault
from stream.core.images import list_images, read_image
from stream.core.verdict import Cause
from stream.model.bundle_info import BundleInfo
from stream.model.patchcore.health import check, measure
from stream.training.dataset import MAX_UNREADABLE
from stream.training.ground_truth import GOOD, named, read_ground_truth
from stream.training.progress import Track

#: Reasons for images that cannot be read that one warning lists.
_REASONS = 5


@dataclass(frozen=True)
class LabelledImage:
    """An image that the line would inspect.

    Attributes:
        kind: its folder of `test/`.
        path: its file.
        pixels: (H, W, 3) uint8 RGB network input.
        region_px: (width, height) of the region that it shows.
        marked: (H, W) bool, the pixels of its defect that are judged, at least one; None: without ground truth.
        under_masks: all of its defect lies under the bundle's masks, so that the image counts neither as good nor as
            defective.
        preprocess_s: time to crop, resize and check it, without reading it.
    """

    kind: str
    path: Path
    pixels: NDArray[np.uint8]
    region_px: tuple[int, int]
    marked: NDArray[np.bool_] | None
    under_masks: bool
    preprocess_s: float


@dataclass(frozen=True)
class RefusedImage:
    """An image that the line would not inspect: `UNINSPECTED(cause)`, with the detail of the event."""

    kind: str
    path: Path
    cause: Cause
    detail: str

    @property
    def reason(self) -> str:
        """Return what such refusals are counted by: `wrong_geometry`, or the frame check's word, as `out of focus`."""
        return str(self.cause) if self.cause != Cause.BAD_FRAME else re.split("[:,]", self.detail)[0]


@dataclass(frozen=True)
class LabelledSet:
    """The images of a test set.

    Attributes:
        images: those that the line would inspect, at least one.
        refused: those that it would refuse.
        unreadable: damaged files, which are skipped.
        warnings: files that do not count, one line for each reason.
    """

    images: list[LabelledImage]
    refused: list[RefusedImage]
    unreadable: list[Path]
    warnings: list[str]

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which images are good or defective, (n,): all but those whose defect lies under masks only."""
        return np.array([not image.under_masks for image in self.images], np.bool_)


def read_test_set(dataset: Path, info: BundleInfo, track: Track) -> LabelledSet:
    """Read the test images and the ground truth of a dataset, the latter first.

    Raises:
        DatasetError: no `test/good`, ground truth that cannot be used, more than 5 % of the images unreadable, or
            none that the line would inspect.
    """
    folders = _test_folders(dataset)
    truth = read_ground_truth(dataset, folders, info, track)
    paths = [(kind, path) for kind, files in folders.items() for path in files]
    images: list[LabelledImage] = []
    refused: list[RefusedImage] = []
    unreadable: list[Path] = []
    reasons: list[str] = []
    for done, (kind, path) in enumerate(paths, start=1):
        try:
            image = read_image(path)
            begun_s = time.perf_counter()
            region = info.geometry.region(image)
            pixels, region_px = info.geometry.network_input(region), (region.shape[1], region.shape[0])
            if fault := check(measure(pixels), info.reference):
                raise FrameFault(Cause.BAD_FRAME, fault)
            took_s = time.perf_counter() - begun_s
            marked, under_masks = truth.marked.get(path), path in truth.under_masks
            images.append(LabelledImage(kind, path, pixels, region_px, marked, under_masks, took_s))
        except DatasetError as error:
            unreadable.append(path)
            reasons.append(str(error))
        except FrameFault as fault:
            refused.append(RefusedImage(kind, path, fault.cause, fault.detail))
        track("read images", done, len(paths))
    if len(unreadable) > MAX_UNREADABLE * len(paths):
        raise DatasetError(
            f"{dataset}: {len(unreadable)} of {len(paths)} test images cannot be read ({named(dataset, unreadable)}), "
            f"more than {MAX_UNREADABLE:.0%}; mend or remove them; the first: {reasons[0]}"
        )
    if not images:
        raise DatasetError(
            f"{dataset}: a line with this bundle would inspect none of the {len(refused)} test images "
            f"(first: {refused[0].path}: {refused[0].detail}); use a bundle fitted for such images"
        )
    warnings = truth.warnings + _geometry_warnings(dataset, refused)
    if unreadable:
        warnings.append(f"images that cannot be read, {len(unreadable)}: {'; '.join(reasons[:_REASONS])}")
    return LabelledSet(images, refused, unreadable, warnings)


def _test_folders(dataset: Path) -> dict[str, list[Path]]:
    layout = "evaluation needs test/good and test/<defect type>, as in MVTec AD"
    for folder in (dataset, dataset / "test", dataset / "test" / GOOD):
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder; {layout}")
    folders = sorted(f for f in (dataset / "test").iterdir() if f.is_dir() and not f.name.startswith("."))
    return {folder.name: list_images(folder) for folder in folders}


def _geometry_warnings(dataset: Path, refused: list[RefusedImage]) -> list[str]:
    misfits = [image for image in refused if image.cause == Cause.WRONG_GEOMETRY]
    if not misfits:
        return []
    return [
        f"images of a size that a line refuses ({misfits[0].detail}), {len(misfits)}: "
        f"{named(dataset, [image.path for image in misfits])}"
    ]
