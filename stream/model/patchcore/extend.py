"""More patches for a memory bank that exists: greedy k-center goes on where the coreset ended.

The rule is that of the coreset, farthest first, but what ends it is not a count: it is the radius within
which the bank already covers what it was made of. What lies nearer, the bank knows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.model.patchcore.search import MemoryBank

#: Relative; more than float32 gets wrong in the distance of a search.
_ROUNDING = 1e-3


def perhaps_farther(bank: MemoryBank, patches: NDArray[np.float32], radius: float) -> NDArray[np.int64]:
    """Return which of (n, D) patches a quick search leaves as candidates: all that are farther, few that are not."""
    return np.flatnonzero(bank.nearest(patches).distance > radius * (1 - _ROUNDING))


def farthest_first(bank: MemoryBank, patches: NDArray[np.float32], radius: float) -> NDArray[np.int64]:
    """Choose patches, each time the one farthest from the bank and all chosen so far, while it is beyond the radius.

    The answer is that of the naive loop in float64, ties going to the lowest index.

    Args:
        bank: what is remembered already.
        patches: (n, D) float32.
        radius: Euclidean; with 0 all distinct patches that are not in the bank are chosen.

    Returns:
        (≤ n,) indices in the order of choice.
    """
    rows = perhaps_farther(bank, patches, radius)
    candidates = patches[rows].astype(np.float64)
    # Where the product of matrices decides nothing: differences are squared and summed.
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
