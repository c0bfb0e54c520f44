"""More patches for an existing memory bank: greedy k-center continues where the coreset ended.

The rule is that of the coreset, farthest first. It ends not at a count but at a radius: the one within which
the bank covers the patches that it was chosen from.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.model.patchcore.search import MemoryBank

#: Relative; above the float32 rounding error of a search's distance.
_ROUNDING = 1e-3


def perhaps_farther(bank: MemoryBank, patches: NDArray[np.float32], radius: float) -> NDArray[np.int64]:
    """Return which of (n, D) patches may be farther than the radius: all that are, and few that are not."""
    return np.flatnonzero(bank.nearest(patches).distance > radius * (1 - _ROUNDING))


def farthest_first(bank: MemoryBank, patches: NDArray[np.float32], radius: float) -> NDArray[np.int64]:
    """Choose patches, each time the one farthest from the bank and all chosen so far, while it is beyond the radius.

    The answer is that of the naive loop in float64, ties going to the lowest index.

    Args:
        bank: to be extended.
        patches: (n, D) float32.
        radius: Euclidean; with 0 all distinct patches that are not in the bank are chosen.

    Returns:
        (≤ n,) indices in the order of choice.
    """
    rows = perhaps_farther(bank, patches, radius)
    candidates = patches[rows].astype(np.float64)
    # From squared differences, not from a matrix product, whose rounding could decide.
    distances = np.array([bank.exact_nearest(candidate, 1)[1][0] for candidate in candidates])
    chosen: list[int] = []
    while len(rows):
        place = int(distances.argmax())
        if not distances[place] > radius:
            break
        chosen.append(int(rows[place]))
        difference = candidates - candidates[place]
        np.minimum(distances, np.sqrt(np.einsum("nd,nd->n", difference, difference)), out=distances)
    return np.array(chosen, dtype=np.int64)
