"""The search that is quickest for a bank on the machine at hand."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from stream.model.cpu_lanes import Lanes
from stream.model.patchcore.search import MemoryBank, Search, flat_index, openvino_product, torch_product

log = logging.getLogger(__name__)


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
    candidates = {
        "matrix product": openvino_product(features, lanes) if lanes else torch_product(features),
        "faiss": flat_index(features),
    }
    # Bank features out of order stand in for the patches of an image.
    best, seconds = quickest(candidates, features[np.arange(patches) * 7919 % len(features)])
    tried = ", ".join(f"{name} {1000 * taken:.2f} ms" for name, taken in seconds.items())
    log.info("search among %d patches: %s (%s)", len(features), best, tried)
    return MemoryBank(features, candidates[best])


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
