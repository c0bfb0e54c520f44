"""The ground truth of labelled images: found, checked together, and brought to the network's input.

That of `test/TYPE/NAME.*` is `ground_truth/TYPE/NAME_mask.png`, as in MVTec AD, or `ground_truth/TYPE/NAME.png`;
what is not black marks the defect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.core.errors import DatasetError, FrameFault
from stream.core.images import SUFFIXES, image_size, read_image
from stream.model.bundle_info import BundleInfo
from stream.training.progress import Track

#: The folder of good images; every other folder is a type of defect.
GOOD = "good"
#: File names that one warning lists.
_NAMED = 10


class GroundTruth(NamedTuple):
    """The ground truth of a test set.

    Attributes:
        marked: (H, W) bool of the network input's size by the path of the image: the pixels of its defect that are
            judged, only where there are any.
        under_masks: images whose defect lies under the bundle's masks only.
        warnings: files that do not count, one line for each reason.
    """

    marked: dict[Path, NDArray[np.bool_]]
    under_masks: set[Path]
    warnings: list[str]


class _Unusable(Exception):  # noqa: N818 - becomes one line of a DatasetError
    """A file that contradicts its image."""


def read_ground_truth(
    dataset: Path, folders: Mapping[str, Sequence[Path]], info: BundleInfo, track: Track
) -> GroundTruth:
    """Read the ground truth of all images of a test set.

    Args:
        dataset: the folder that holds `ground_truth/`, or no such folder.
        folders: the images of each type.
        info: of the bundle that will inspect them.
        track: progress.

    Raises:
        DatasetError: files that are damaged, of another size than their image, on a good image, or two for one
            image; all of them in one line.
    """
    found, strays = _find(dataset / "ground_truth", folders)
    marked: dict[Path, NDArray[np.bool_]] = {}
    under_masks: set[Path] = set()
    problems: list[str] = []
    empty: list[Path] = []
    unseen: list[Path] = []
    for done, (image, candidates) in enumerate(found.items(), start=1):
        try:
            marks = _read(image, candidates)
        except (_Unusable, DatasetError) as problem:
            problems.append(str(problem))
        else:
            if marks is not None and not marks.any():
                empty += candidates
            elif marks is not None:
                seen = _in_network_input(image, marks, info)
                if seen is not None and not seen.any():
                    unseen += candidates
                elif seen is not None:
                    judged = seen if info.filled is None else seen & ~info.filled
                    if judged.any():
                        marked[image] = judged
                    else:
                        under_masks.add(image)
        track("check ground truth", done, len(found))
    if problems:
        count = "1 image" if len(problems) == 1 else f"{len(problems)} images"
        raise DatasetError(f"{dataset}: the ground truth of {count} cannot be used: {'; '.join(problems)}")
    return GroundTruth(marked, under_masks, list(_warnings(dataset, empty, unseen, strays)))


def named(dataset: Path, paths: Sequence[Path]) -> str:
    """Return the names of files below a dataset for one line, the first ten of many."""
    names = ", ".join(path.relative_to(dataset).as_posix() for path in paths[:_NAMED])
    return names if len(paths) <= _NAMED else f"{names} and {len(paths) - _NAMED} more"


def _find(root: Path, folders: Mapping[str, Sequence[Path]]) -> tuple[dict[Path, list[Path]], list[Path]]:
    """Return the files of each image that has any, and those that are no image's."""
    if not root.is_dir():
        return {}, []
    files = {
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    }
    by_place = {(path.parent, path.stem): path for path in files if path.suffix.lower() == ".png"}
    found: dict[Path, list[Path]] = {}
    for kind, images in folders.items():
        for image in images:
            names = (f"{image.stem}_mask", image.stem)
            candidates = [by_place[root / kind, name] for name in names if (root / kind, name) in by_place]
            if candidates:
                found[image] = candidates
    used = {path for candidates in found.values() for path in candidates}
    return found, sorted(files - used)


def _read(image: Path, candidates: list[Path]) -> NDArray[np.uint8] | None:
    """Return (H, W) uint8 of the only candidate; None if its image cannot be read, which is reported with the images.

    Raises _Unusable, or DatasetError when the file cannot be read.
    """
    path, *others = candidates
    if others:
        raise _Unusable(f"{image} has two, {path.name} and {others[0].name} in {path.parent}; remove one of them")
    marks = read_image(path).max(axis=2)
    try:
        width_px, height_px = image_size(image)
    except DatasetError:
        return None
    if marks.shape != (height_px, width_px):
        raise _Unusable(
            f"{path}: {marks.shape[1]}×{marks.shape[0]} px, but its image {image} is {width_px}×{height_px} px, "
            "make it again at the image's size"
        )
    if image.parent.name == GOOD and marks.any():
        raise _Unusable(f"{path}: marks a defect on the good image {image}, move the image or remove the file")
    return np.asarray(marks, np.uint8)


def _in_network_input(image: Path, marks: NDArray[np.uint8], info: BundleInfo) -> NDArray[np.bool_] | None:
    """Align, crop and resize marks like their image, (H, W) → bool of the input's size; None if the line refuses that.

    Each pixel is the one at its centre.
    """
    try:
        placement = None if info.alignment is None else info.alignment.placement(read_image(image))
        region = np.ascontiguousarray(info.geometry.region(marks, placement, labels=True))
    except (FrameFault, DatasetError):
        return None
    # Plain INTER_NEAREST samples the pixel's corner, half a pixel off what network_input shows there.
    return np.asarray(cv2.resize(region, info.spec.input_px, interpolation=cv2.INTER_NEAREST_EXACT) > 0)


def _warnings(dataset: Path, empty: list[Path], unseen: list[Path], strays: list[Path]) -> Iterator[str]:
    if empty := [path for path in empty if path.parent.name != GOOD]:
        yield f"files of ground_truth that mark nothing count as none, {len(empty)}: {named(dataset, empty)}"
    if unseen:
        yield (
            f"files of ground_truth that mark nothing in the bundle's region, or too little, count as none, "
            f"{len(unseen)}: {named(dataset, unseen)}"
        )
    if strays:
        yield (
            f"files of ground_truth that are no image's NAME_mask.png or NAME.png are ignored, {len(strays)}: "
            f"{named(dataset, strays)}"
        )
