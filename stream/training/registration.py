"""Do parts lie at the same place in every picture? Measured from the good pictures themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

#: Pictures that are compared; more change nothing.
PICTURES = 200
#: Short side at which they are compared.
_EDGE_PX = 224
#: Largest median shift, in patches, of parts that stay in place; and the least number of pictures whose distances
#: describe a place. See docs/quality.md for the figures behind both.
MAX_SHIFT_PATCHES, MIN_PICTURES = 1.0, 50


class Registration(NamedTuple):
    """How far pictures are shifted against the mean of the others: the median and 9th decile, in patches."""

    pictures: int
    median_patches: float
    high_patches: float

    @property
    def in_place(self) -> bool:
        """Whether distances may be judged by their place."""
        return self.pictures >= MIN_PICTURES and self.median_patches <= MAX_SHIFT_PATCHES


def registration_of(
    images: Iterable[NDArray[np.uint8]], grid: tuple[int, int], filled: NDArray[np.bool_] | None = None
) -> Registration:
    """Measure the shift of each picture against the mean of the others, by phase correlation.

    Args:
        images: (H, W, 3) uint8 network inputs of one shape, at least one.
        grid: (h, w) of the patches.
        filled: (H, W) bool, the pixels that masks fill, which never shift; None: none.
    """
    small = [_small_gray(image) for image in images]
    total = np.sum(small, axis=0)
    height, width = small[0].shape
    window = np.asarray(cv2.createHanningWindow((width, height), cv2.CV_32F))
    seen = None
    if filled is not None:
        shares = cv2.resize((~filled).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        seen = np.asarray(shares) == 1
        window = window * seen
    shifts = []
    for image in small if len(small) > 1 else []:
        mean = (total - image) / (len(small) - 1)
        (right, down), _ = cv2.phaseCorrelate(_centred(mean, seen), _centred(image, seen), window)
        shifts.append(np.hypot(right * grid[1] / width, down * grid[0] / height))
    if not shifts:
        return Registration(len(small), 0.0, 0.0)
    return Registration(len(small), float(np.median(shifts)), float(np.percentile(shifts, 90)))


def _centred(image: NDArray[np.float32], seen: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    return np.asarray(image - (image if seen is None else image[seen]).mean(), np.float32)


def _small_gray(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = _EDGE_PX / min(gray.shape)
    if scale < 1:
        gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return gray.astype(np.float32)
