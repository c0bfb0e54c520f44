"""The good pictures that scored highest in a calibration; loads no network, since the dashboard asks too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.model.patchcore.calibrate import conformal_threshold

#: Pictures that a fit names and the dashboard shows.
STRANGEST = 12


class StrangePicture(NamedTuple):
    """A good picture, its `rank` from 1, the strangest, its score, and the image threshold without it."""

    rank: int
    row: int
    name: str
    score: float
    threshold_without: float


def strangest(
    scores: NDArray[np.float64], names: Sequence[str], false_reject_rate: float, count: int
) -> list[StrangePicture]:
    """Return the `count` pictures with the largest calibration scores, the largest first.

    The threshold without one is that of the other scores as they are: banks are not chosen anew for it.
    """
    order = np.argsort(-scores, kind="stable")[:count]
    return [
        StrangePicture(
            rank,
            int(row),
            names[row],
            float(scores[row]),
            conformal_threshold(np.delete(scores, row), false_reject_rate) if len(scores) > 1 else float("nan"),
        )
        for rank, row in enumerate(order, start=1)
    ]
