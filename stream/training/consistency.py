"""Do the good images belong together? Mixed sizes and colour formats, with names; and how alike neighbours are."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.training.dataset import ImageSet

#: How many names a warning shows.
_NAMES = 6
#: Edge at which pictures are compared.
_SMALL_PX = 32


def likeness(images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Return the correlation of each (H, W, 3) uint8 picture with the next, whatever their light: (n − 1,)."""
    small = []
    for image in images:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        flat = cv2.resize(gray, (_SMALL_PX, _SMALL_PX), interpolation=cv2.INTER_AREA).reshape(-1)
        centred = flat - flat.mean()
        small.append(centred / max(float(np.linalg.norm(centred)), 1e-6))
    return np.array([float(one @ other) for one, other in itertools.pairwise(small)])


def inconsistencies(images: ImageSet, names: Sequence[str], rows: NDArray[np.int64]) -> list[str]:
    """Return one warning for each way in which the images at `rows` differ that no fit should hide."""
    warnings = []
    sizes = Counter(images.sizes_px[row] for row in rows)
    if len(sizes) > 1:
        usual, _ = sizes.most_common(1)[0]
        others = [row for row in rows if images.sizes_px[row] != usual]
        warnings.append(
            f"{len(others)} of {len(rows)} images are not {usual[0]}×{usual[1]} px like the others: "
            + _named([f"{names[row]} ({images.sizes_px[row][0]}×{images.sizes_px[row][1]})" for row in others])
        )
    gray = [row for row in rows if images.gray[row]]
    if 0 < len(gray) < len(rows):
        fewer, kind = (gray, "gray") if 2 * len(gray) <= len(rows) else (
            [row for row in rows if not images.gray[row]], "in colour"
        )  # fmt: skip
        warnings.append(
            f"{len(fewer)} of {len(rows)} images are {kind}, unlike the others: "
            + _named([names[row] for row in fewer])
        )
    return warnings


def _named(names: list[str]) -> str:
    return ", ".join(names[:_NAMES]) + (", …" if len(names) > _NAMES else "")
