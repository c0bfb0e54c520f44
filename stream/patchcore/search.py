"""The memory bank and the search for the nearest remembered patch, by faiss."""

from __future__ import annotations

from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray


class Nearest(NamedTuple):
    """For every query its nearest bank feature.

    Attributes:
        distance: (P,) float32, Euclidean.
        row: (P,) int64, which row of the bank.
    """

    distance: NDArray[np.float32]
    row: NDArray[np.int64]


class MemoryBank:
    """The remembered patch features, searched exactly on the GPU where faiss has one, else on the CPU."""

    def __init__(self, features: NDArray[np.float32], *, gpu: bool = False) -> None:
        """Build the index over (M, D) float32 features; `gpu` asks for faiss-gpu's flat index."""
        self.features = np.ascontiguousarray(features, dtype=np.float32)
        index: Any = faiss.IndexFlatL2(self.features.shape[1])
        if gpu and getattr(faiss, "get_num_gpus", lambda: 0)():
            index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
        self._index = index
        self._index.add(self.features)

    def __len__(self) -> int:
        return len(self.features)

    def nearest(self, queries: NDArray[np.float32]) -> Nearest:
        """Return the nearest bank feature of each of (P, D) float32 queries."""
        _, found = self._index.search(np.ascontiguousarray(queries), 1)
        index = np.asarray(found[:, 0], dtype=np.int64)
        # faiss squares, and rounds through ‖a‖²+‖b‖²−2ab: the winner's distance is computed anew.
        difference = queries - self.features[index]
        distance = np.sqrt(np.einsum("pd,pd->p", difference, difference))
        return Nearest(distance.astype(np.float32, copy=False), index)

    def neighbours(self, index: int, count: int) -> NDArray[np.int64]:
        """Return N_b(m*): the `count` bank features nearest to bank feature `index`, that one included."""
        count = min(count, len(self))
        _, found = self._index.search(self.features[index : index + 1], count)
        neighbours = np.asarray(found[0], dtype=np.int64)
        if index not in neighbours:  # displaced by its duplicates, or by rounding
            neighbours[-1] = index
        return neighbours
