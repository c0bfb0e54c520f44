"""Do the good images belong together? Mixed sizes, colour formats and products; and how alike neighbours are."""

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
#: Fewest pictures of a product; least gap between two products, as a share of the distance of their centres.
_LEAST_PRODUCT, _GAP = 3, 0.5
#: Fewest pictures of which two clouds can be told from one that is thin.
_LEAST_PICTURES = 20
#: Principal components and rounds of the clustering.
_COMPONENTS, _ROUNDS = 8, 50


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


def another_product(means: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the pictures that look like another product than most: the smaller of two clusters with a gap between.

    Two-means on the leading principal components of the standardised mean features; the gap is measured along the
    line through both centres. Lone strange pictures are no product.

    Args:
        means: (n, D) of each picture, the mean of its patch features.

    Returns:
        their rows, ascending; none where the pictures are one cloud.
    """
    none = np.empty(0, np.int64)
    if len(means) < _LEAST_PICTURES:
        return none
    standardised = (means - means.mean(axis=0)) / np.maximum(means.std(axis=0), 1e-9)
    left, weights, _ = np.linalg.svd(standardised.astype(np.float64), full_matrices=False)
    places = left[:, :_COMPONENTS] * weights[:_COMPONENTS]
    first = places[np.linalg.norm(places, axis=1).argmax()]
    centres = np.stack([places[np.linalg.norm(places - first, axis=1).argmax()], first])
    for _ in range(_ROUNDS):
        second = np.linalg.norm(places - centres[0], axis=1) > np.linalg.norm(places - centres[1], axis=1)
        if second.all() or not second.any():
            return none
        moved = np.stack([places[~second].mean(axis=0), places[second].mean(axis=0)])
        if np.allclose(moved, centres):
            break
        centres = moved
    along = centres[1] - centres[0]
    position = (places - centres[0]) @ along / (along @ along)
    smaller = second if 2 * second.sum() <= len(second) else ~second
    if smaller.sum() < _LEAST_PRODUCT or position[second].min() - position[~second].max() < _GAP:
        return none
    return np.flatnonzero(smaller)


def product_warning(means: NDArray[np.float32], names: Sequence[str]) -> list[str]:
    """Return a warning that names the pictures which look like another product, or nothing."""
    rows = another_product(means)
    if not len(rows):
        return []
    return [
        f"{len(rows)} of {len(names)} images look like another product or variant than the rest: "
        + _named([names[row] for row in rows])
        + "; if it is one, give it a station or a bundle of its own"
    ]
