"""How long one picture takes on this machine: resizing, backbone, search and score, one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream.model.patchcore.geometry import Geometry
from stream.model.patchcore.inspector import Extractor, nearest_patches, score_patches
from stream.model.patchcore.scoring import Scoring
from stream.training.learning import search_of

#: Pictures before and while it is measured.
_WARM_UP, _MEASURED = 3, 15
#: Largest bank that is made for the measurement; the search of a larger one takes longer in proportion.
_MOST_ROWS = 100_000


def milliseconds(
    extractor: Extractor, regions: Sequence[NDArray[np.uint8]], geometry: Geometry, *, bank_rows: int
) -> float:
    """Return the median time of one picture, ms, with a bank of so many rows made of the pictures' own patches.

    Args:
        extractor: at this input.
        regions: (H, W, 3) uint8 BGR regions of pictures, at least one, inspected in turn.
        geometry: from a region to the network input.
        bank_rows: size of the bank; what it holds does not change the time of an exhaustive search.
    """
    patches = np.concatenate([extractor(geometry.network_input(region)[None])[0] for region in regions])
    patches = patches.reshape(-1, patches.shape[-1])
    rows = min(bank_rows, _MOST_ROWS)
    random = np.random.default_rng(0)
    jitter = random.normal(0, 0.01 * patches.std(), (rows, patches.shape[1])).astype(np.float32)
    search = search_of(patches[random.integers(0, len(patches), rows)] + jitter, extractor)
    total_s, search_s = [], []
    for number in range(_WARM_UP + _MEASURED):
        begun_s = time.perf_counter()
        features = extractor(geometry.network_input(regions[number % len(regions)])[None])[0]
        computed_s = time.perf_counter()
        nearest = nearest_patches(search, features)
        searched_s = time.perf_counter()
        score_patches(search, features, nearest, Scoring())
        if number >= _WARM_UP:
            total_s.append(time.perf_counter() - begun_s)
            search_s.append(searched_s - computed_s)
    beyond = max(0.0, bank_rows / rows - 1)
    return 1e3 * (float(np.median(total_s)) + beyond * float(np.median(search_s)))
