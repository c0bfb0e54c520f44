"""The search where each tile has a bank of its own: a patch meets those of its tile alone. Pure.

The coordinates of tiles (see `tiles`) are so far apart that the nearest patch of all is one of the same tile, unless it
is farther away than the coordinates are. So searching one bank for each patch is exact, and takes 1/N of the time with
N tiles; the few patches that are so far from their own bank are searched in all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.model.cpu_lanes import Lanes
from stream.model.patchcore.search import Nearest, Search, flat_index, openvino_product


def search_own_banks(
    features: NDArray[np.float32], banks: int, *, lanes: Lanes | None = None, gpu: bool = False
) -> Search:
    """Return a search that finds what an exhaustive one in all of the bank finds.

    Args:
        features: (M, D) float32 of all banks, the last `banks` of D the coordinates; not empty.
        banks: how many there are; 0: one, without coordinates.
        lanes: search by matrix products in these; None: by faiss' flat index.
        gpu: ask for that of faiss-gpu.
    """

    def search_in(bank: NDArray[np.float32]) -> Search:
        return openvino_product(bank, lanes) if lanes else flat_index(bank, gpu=gpu)

    if not banks:
        return search_in(features)
    known = features.shape[1] - banks
    owner = features[:, known:].argmax(axis=1)
    rows = [np.flatnonzero(owner == bank) for bank in range(banks)]
    searches = {
        bank: search_in(np.ascontiguousarray(features[own, :known])) for bank, own in enumerate(rows) if len(own)
    }
    # Two patches of different banks are at least this far from each other; less a rounding.
    apart = np.float32(features[:, known:].max() * np.sqrt(2) * (1 - 1e-5))
    all_banks = flat_index(features)

    def search(queries: NDArray[np.float32]) -> Nearest:
        of = queries[:, known:].argmax(axis=1)
        distance = np.full(len(queries), np.inf, np.float32)
        row = np.zeros(len(queries), np.int64)
        for bank, find in searches.items():
            places = np.flatnonzero(of == bank)
            if len(places):
                found = find(np.ascontiguousarray(queries[places, :known]))
                distance[places], row[places] = found.distance, rows[bank][found.row]
        far = np.flatnonzero(distance >= apart)
        if len(far):
            found = all_banks(np.ascontiguousarray(queries[far]))
            distance[far], row[far] = found.distance, found.row
        return Nearest(distance, row)

    return search
