"""The overlays of an evaluation, in one folder for each outcome, and small ones for the page."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.core.errors import DiskError
from stream.core.images import jpeg_within, read_image
from stream.core.verdict import Cause
from stream.model.bundle_info import BundleInfo
from stream.model.patchcore.alignment import AT_FIT
from stream.model.visualization import draw
from stream.training.outcomes import ImageOutcome, Outcome, Outcomes
from stream.training.progress import Track, silent

#: Images of each outcome that the page shows; the overlays show all.
ON_PAGE = {
    Outcome.MISSED: 200,
    Outcome.FALSE_REJECT: 200,
    Outcome.REFUSED: 100,
    Outcome.CAUGHT: 12,
    Outcome.PASSED: 12,
    Outcome.UNDER_MASKS: 12,
}
#: Longer side of an image on the page, px, and its JPEG quality.
_THUMBNAIL_PX, _JPEG_QUALITY = 320, 80
#: Colour of the outline of the ground truth: neither heat nor the light contour around it.
_TRUTH_BGR = (255, 230, 0)
#: Letters of type and file name in the name of an overlay, up to 4 bytes each: a file name has 255 bytes at most.
_NAME_LETTERS = 60


class PixelMaps(NamedTuple):
    """What is drawn into an image: (h, w) patch distances as heat map, (H, W) ground truth as outline."""

    distances: NDArray[np.float32] | None
    truth: NDArray[np.bool_] | None


class PagePicture(NamedTuple):
    """A small overlay without header, JPEG, of an image with its outcome and rank, from 1."""

    outcome: Outcome
    rank: int
    image: ImageOutcome
    jpeg: bytes


def draw_outcomes(
    outcomes: Outcomes,
    dataset: Path,
    info: BundleInfo,
    maps: Mapping[Path, PixelMaps],
    *,
    overlays: Path | None,
    for_page: bool,
    track: Track = silent,
) -> list[PagePicture]:
    """Draw the images of an evaluation, in the order of their outcomes.

    Args:
        outcomes: all images.
        dataset: their paths are relative to it.
        info: of the bundle, which must have thresholds.
        maps: by the path of the image; none for a refused one.
        overlays: folder for OUTCOME/RANK_TYPE_NAME.png of every image, which appears as a whole; None: none.
        for_page: also return the first of each outcome for the page.
        track: progress.

    Raises:
        DiskError: the overlays cannot be written.
    """
    pictures: list[PagePicture] = []
    chosen = [
        (outcome, rank, image)
        for outcome, images in outcomes.items()
        for rank, image in enumerate(images, start=1)
        if overlays is not None or rank <= ON_PAGE[outcome]
    ]
    try:
        with _whole_folder(overlays) as folder:
            for done, (outcome, rank, image) in enumerate(chosen, start=1):
                path = dataset / image.path
                drawn, view_px = _drawn(path, image, info, maps.get(path, PixelMaps(None, None)))
                if folder is not None:
                    name = f"{rank:04d}_{f'{image.kind}_{path.stem}'[:_NAME_LETTERS]}.png"
                    (folder / outcome).mkdir(exist_ok=True)
                    (folder / outcome / name).write_bytes(cv2.imencode(".png", drawn)[1].tobytes())
                if for_page and rank <= ON_PAGE[outcome]:
                    jpeg = jpeg_within(drawn[-view_px:], _THUMBNAIL_PX, _JPEG_QUALITY)
                    pictures.append(PagePicture(outcome, rank, image, jpeg))
                track("draw overlays", done, len(chosen))
    except OSError as error:
        raise DiskError(f"{overlays}: overlays cannot be written: {error.strerror}") from None
    return pictures


@contextmanager
def _whole_folder(target: Path | None) -> Iterator[Path | None]:
    """Give the block a folder that takes the place of `target` at its end; it vanishes if the block raises."""
    if target is None:
        yield None
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        partial = Path(scratch, "overlays")
        partial.mkdir()
        yield partial
        partial.replace(target)


def _drawn(
    path: Path,
    image: ImageOutcome,
    info: BundleInfo,
    maps: PixelMaps,
) -> tuple[NDArray[np.uint8], int]:
    """Return the overlay, (H', W, 3) uint8 BGR, and the height of the view in it, its last rows."""
    assert info.thresholds is not None
    whole = read_image(path)
    geometry = info.geometry.of_any_size
    if image.cause == Cause.WRONG_GEOMETRY:
        view = whole
    else:
        view = geometry.region(whole, AT_FIT if image.cause == Cause.NOT_FOUND else None)
    drawn = draw(
        view,
        maps.distances,
        verdict=image.verdict,
        score=image.score,
        threshold=info.thresholds.image,
        pixel_threshold=info.thresholds.pixel,
        title=f"{image.kind}/{path.name}",
        cause=image.cause,
        within_spec=image.rule if image.within_spec else None,
        filled=None if image.cause in (Cause.WRONG_GEOMETRY, Cause.NOT_FOUND) else info.filled,
    )
    if maps.truth is not None:
        _outline(drawn[-view.shape[0] :], maps.truth)
    return drawn, view.shape[0]


def _outline(view: NDArray[np.uint8], truth: NDArray[np.bool_]) -> None:
    """Draw the outline of the ground truth, (h, w), into the view of its region, (H, W, 3) uint8 BGR."""
    height_px, width_px = view.shape[:2]
    marks = cv2.resize(truth.astype(np.uint8), (width_px, height_px), interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(marks, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(view, outlines, -1, _TRUTH_BGR, max(1, round(min(height_px, width_px) / 200)), cv2.LINE_AA)
