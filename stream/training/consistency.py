"""Do the good images belong together? Mixed sizes, colour formats and products, with names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream.training.dataset import ImageSet

#: How many names a warning shows.
_NAMES = 6


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
