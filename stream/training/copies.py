"""Pictures that are copies of others in all but the letter: saved again as JPEG, converted, or with a pixel changed.

They are no evidence of their own, so they count once, as exact copies do: remembered and held out at the same time,
they would make every threshold too low. Two exposures of a still scene differ from them in their fine structure,
which a sensor's noise changes in each, and by what the other pictures of the set differ by.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.training.dataset import Inputs

#: Edge at which pictures are compared first.
_SMALL_PX = 32
#: Most that a copy differs by: a share of the differences within the set, whose 90 % quantile counts; in grey levels,
#: on average; least correlation of its fine structure.
_SHARE, _LEVELS, _CORRELATION = 0.15, 2.5, 0.97
#: Pictures before one that it is compared with, and pairs of which the differences within the set are taken.
_REACH, _PAIRS = 5000, 2000

Rows = NDArray[np.int64]


def near_copies(inputs: Inputs, rows: Rows) -> dict[int, int]:
    """Return the rows that are almost copies, each with the row before it that it copies.

    Args:
        inputs: (N, H, W, 3) uint8 RGB network inputs.
        rows: of distinct ones, in file order.
    """
    if len(rows) < 3:  # nothing to compare a difference with
        return {}
    small = np.stack([_small(inputs[np.array([row])][0]) for row in rows])
    random = np.random.default_rng(0)
    left, right = random.integers(0, len(rows), (2, _PAIRS))
    apart = left != right
    usual = float(np.quantile(np.linalg.norm(small[left[apart]] - small[right[apart]], axis=1), 0.9))
    found: dict[int, int] = {}
    kept: list[int] = []
    for place, row in enumerate(rows.tolist()):
        nearby = kept[-_REACH:]
        distances = np.linalg.norm(small[nearby] - small[place], axis=1)
        alike = (int(rows[nearby[near]]) for near in np.argsort(distances)[:3] if distances[near] <= _SHARE * usual)
        pixels = inputs[np.array([row])][0]
        original = next((other for other in alike if _copied(inputs[np.array([other])][0], pixels)), None)
        if original is None:
            kept.append(place)
        else:
            found[row] = original
    return found


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(cv2.resize(gray, (_SMALL_PX, _SMALL_PX), interpolation=cv2.INTER_AREA).reshape(-1), np.float32)


def _copied(original: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> bool:
    # In each colour: a grey picture among coloured ones is another one.
    if float(np.abs(original.astype(np.int16) - pixels).mean(axis=(0, 1)).max()) > _LEVELS:
        return False
    one, other = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY).astype(np.float32) for each in (original, pixels))
    fine = [(each - cv2.GaussianBlur(each, (0, 0), 2)).reshape(-1) for each in (one, other)]
    norm = float(np.linalg.norm(fine[0]) * np.linalg.norm(fine[1]))
    return norm > 0 and float(fine[0] @ fine[1]) / norm >= _CORRELATION
