"""Alignment at fit: fixtures marked in one good image, and what became of the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import DatasetError
from stream.core.images import read_image
from stream.model.patchcore.alignment import AlignBy, Alignment, taught
from stream.model.patchcore.fixtures import Box
from stream.model.patchcore.preprocess import Roi
from stream.training.dataset import ImageSet

#: File names that one warning lists.
_NAMED = 5


def teach_alignment(
    paths: Sequence[Path],
    fixtures: Sequence[Box],
    *,
    reference: Path | None,
    rotates: bool,
    by: AlignBy,
    limit_px: float,
    limit_deg: float,
) -> Alignment:
    """Return the alignment by fixtures in a reference image; None: the first of `paths` that can be read.

    Raises:
        DatasetError: the reference cannot be read, or none of the images.
        ConfigError: see `taught`.
    """
    for path in paths if reference is None else [reference]:
        try:
            picture = read_image(path)
        except DatasetError:
            if reference is not None:
                raise
            continue  # named when all are read
        return taught(
            picture, fixtures, reference=path.name, rotates=rotates, by=by, limit_px=limit_px, limit_deg=limit_deg
        )
    raise DatasetError("--reference: none of the good images can be read; name a picture that shows the fixtures")


def aligned_by(alignment: Alignment | None, images: ImageSet) -> Alignment | None:
    """Return the alignment with the least match that goes with the good images."""
    if alignment is None or not images.placements:
        return alignment
    return alignment.learned([placement.match for placement in images.placements])


def placement_notes(alignment: Alignment | None, images: ImageSet) -> list[str]:
    """Return in one line how the parts of the good images lie."""
    if alignment is None or not images.placements:
        return []
    lies = np.array([(place.dx_px, place.dy_px, place.angle_deg, place.match) for place in images.placements])
    away = np.hypot(lies[:, 0], lies[:, 1])
    turned = f", turned by {_median_and_most(np.abs(lies[:, 2]))}°" if alignment.rotates else ""
    return [
        f"aligned by {alignment.by} to {alignment.reference}: good parts lie {_median_and_most(away)} px from its place"
        f"{turned} (median, most); they match {np.median(lies[:, 3]):.2f}, the least {lies[:, 3].min():.2f}"
    ]


def placement_warnings(alignment: Alignment | None, roi: Roi | None, images: ImageSet) -> list[str]:
    """Return what a user should know about images without the part, and about parts that reach out of the image."""
    if alignment is None:
        return []
    warnings = []
    if images.not_found:
        names = ", ".join(item.path.name for item in images.not_found[:_NAMED])
        more = ", …" if len(images.not_found) > _NAMED else ""
        warnings.append(
            f"{len(images.not_found)} images were skipped, since the part is not at its place: {names}{more}; the "
            f"first: {images.not_found[0].reason}"
        )
    width_px, height_px = alignment.picture_px
    x, y, width, height = roi or (0, 0, width_px, height_px)
    room = min(x, y, width_px - x - width, height_px - y - height)
    if room < alignment.limit_px:
        warnings.append(
            f"the region is {room} px from the edge of the image, but parts may lie {alignment.limit_px:g} px from "
            "their place: what is outside of the image cannot be inspected; choose a smaller --roi, move the camera "
            "back, or lower --align-limit-px"
        )
    return warnings


def _median_and_most(values: NDArray[np.float64]) -> str:
    return f"{np.median(values):.1f}, {values.max():.1f}"
