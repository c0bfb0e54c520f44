"""The search that is quickest for a bank on the machine at hand."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from stream.model.cpu_lanes import Lanes
from stream.model.patchcore.half_search import bfloat16_product
from stream.model.patchcore.search import MemoryBank, Search, flat_index, openvino_product, torch_product
from stream.model.precision import is_native

log = logging.getLogger(__name__)

#: Least number of distances of one search for which bfloat16 is tried, and the share of the time that it must save:
#: the choice, on which the last bits of the anomaly map depend, must not be that of a disturbance.
_LEAST_DISTANCES, _LEAST_SAVED = 2**19, 0.15


def quickest_bank(features: NDArray[np.float32], patches: int, *, device: str, lanes: Lanes | None) -> MemoryBank:
    """Try the searches, log their times and return the bank with the one that is quickest on this machine.

    Args:
        features: (M, D) float32, the bank.
        patches: P, queries of one search.
        device: of the extractor, `cuda` or another.
        lanes: of the extractor; None: it does not use OpenVINO, so neither does the search.
    """
    features = np.ascontiguousarray(features, dtype=np.float32)
    if device == "cuda":
        return MemoryBank(features, flat_index(features, gpu=True))
    product = openvino_product(features, lanes) if lanes else torch_product(features)
    full = {"matrix product": product, "faiss": flat_index(features)}
    half: dict[str, Search] = {}
    # Bank features out of order stand in for the patches of an image.
    queries = features[np.arange(patches) * 7919 % len(features)]
    if lanes and len(features) * patches >= _LEAST_DISTANCES and is_native("bfloat16"):
        half = {"bfloat16 product": bfloat16_product(features, lanes)}
        try:
            half["bfloat16 product"](queries)
        except RuntimeError:  # the processor could, but OpenVINO was told to use no such instructions
            half = {}
    _, seconds = quickest(full | half, queries)
    best = min(full, key=lambda name: seconds[name])
    search, exact = full[best], None
    for name in half:
        if seconds[name] <= (1 - _LEAST_SAVED) * seconds[best]:
            best, search, exact = name, half[name], product
    tried = ", ".join(f"{name} {1000 * taken:.2f} ms" for name, taken in seconds.items())
    log.info("search among %d patches: %s (%s)", len(features), best, tried)
    return MemoryBank(features, search, full=exact)


def quickest(
    candidates: Mapping[str, Search], queries: NDArray[np.float32], clock: Callable[[], float] = time.perf_counter
) -> tuple[str, dict[str, float]]:
    """Return the name of the quickest search and the best seconds of each, tried in turns; `clock` returns seconds."""
    for search in candidates.values():
        search(queries)  # the first one allocates
    trials: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(5):
        for name, search in candidates.items():
            begun_s = clock()
            search(queries)
            trials[name].append(clock() - begun_s)
    seconds = {name: min(taken) for name, taken in trials.items()}
    return min(seconds, key=lambda name: seconds[name]), seconds
