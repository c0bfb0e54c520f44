"""The memory bank and the search for its nearest patch.

All search methods are exhaustive. They compute in float32, so among bank features that are equally near but for
rounding they may return different ones, at distances that differ in the last bits. The feature that decides the image
score is found again in float64, so that scores do not depend on the method.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from stream.model.cpu_lanes import Graph, Lanes

# It logs which of its builds it tried.
logging.getLogger("faiss.loader").setLevel(logging.WARNING)

#: Queries of one block, whose distances OpenVINO computes at once.
_BLOCK = 112


class Nearest(NamedTuple):
    """For every query its nearest bank feature.

    Attributes:
        distance: (P,) float32, Euclidean.
        row: (P,) int64, which row of the bank.
    """

    distance: NDArray[np.float32]
    row: NDArray[np.int64]


#: (P, D) float32 queries, contiguous → their nearest bank features.
Search = Callable[[NDArray[np.float32]], Nearest]


class MemoryBank:
    """The patch features of good parts that the coreset chose. Any thread may call."""

    def __init__(self, features: NDArray[np.float32], search: Search | None = None) -> None:
        """Hold (M, D) float32 features; `search` finds the nearest, by default faiss' flat index."""
        self.features = np.ascontiguousarray(features, dtype=np.float32)
        self._search = search or flat_index(self.features)
        self._norms = np.einsum("md,md->m", self.features, self.features)
        self._neighbours: dict[tuple[int, int], NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return len(self.features)

    def nearest(self, queries: NDArray[np.float32]) -> Nearest:
        """Return the nearest bank feature of each of (P, D) float32 queries."""
        return self._search(np.ascontiguousarray(queries))

    def neighbours(self, row: int, count: int) -> NDArray[np.int64]:
        """Return N_b(m*): the `count` bank features nearest to that at `row`, that one included."""
        neighbours = self._neighbours.get((row, count))
        if neighbours is None:
            neighbours, _ = self.exact_nearest(self.features[row], count)
            if row not in neighbours:  # displaced by its copies
                neighbours[-1] = row
            self._neighbours[row, count] = neighbours
        return neighbours

    def exact_nearest(self, query: NDArray[np.floating], count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the `count` bank features nearest to one (D,) query and their distances, decided in float64.

        Nearest first, the lower row first among equals; fewer when the bank holds fewer.
        """
        count = min(count, len(self))
        query32 = query.astype(np.float32)
        # einsum, not BLAS: its threads would keep spinning on the cores that the next part needs.
        squared = self._norms - 2 * np.einsum("md,d->m", self.features, query32)
        # All that could be among the `count` nearest despite rounding.
        longest = np.sqrt(self._norms.max()) + np.linalg.norm(query32)
        slack = (len(query) + 4) * np.finfo(np.float32).eps * longest**2
        contenders = np.flatnonzero(squared <= np.partition(squared, count - 1)[count - 1] + 2 * slack)
        difference = self.features[contenders].astype(np.float64) - query
        distances = np.sqrt(np.einsum("md,md->m", difference, difference))
        order = np.argsort(distances, kind="stable")[:count]
        return contenders[order], distances[order]


def flat_index(features: NDArray[np.float32], *, gpu: bool = False) -> Search:
    """Return faiss' exhaustive search; `gpu` asks for that of faiss-gpu."""
    index: Any = faiss.IndexFlatL2(features.shape[1])
    if gpu and getattr(faiss, "get_num_gpus", lambda: 0)():
        index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    index.add(features)

    def search(queries: NDArray[np.float32]) -> Nearest:
        return _measured(queries, features, index.search(queries, 1)[1][:, 0])

    return search


def openvino_product(features: NDArray[np.float32], lanes: Lanes) -> Search:
    """Return a search by one matrix product and a running minimum, ‖b‖² − 2ab, compiled by OpenVINO.

    It runs in the threads of OpenVINO's backbone: no second pool competes for the cores.
    """
    import openvino
    from openvino import opset13 as op

    # Centred features have short norms, hence little cancellation.
    center = features.mean(axis=0)
    centred = features - center
    norms = np.einsum("md,md->m", centred, centred)

    @functools.cache  # a graph for any number of queries takes a third longer
    def compiled(patches: int) -> Graph:
        queries = op.parameter([patches, features.shape[1]], np.float32)
        from_center = op.subtract(queries, op.constant(center[None]))
        bank, squared = op.constant(-2 * centred), op.constant(norms[None])
        nearest = []
        for block in op.variadic_split(
            from_center, op.constant(np.int64(0)), op.constant(blocks_of(patches))
        ).outputs():
            product = op.add(op.matmul(block, bank, False, True), squared)
            nearest.append(op.topk(product, op.constant(np.int64(1)), 1, "min", "none", "i64").output(1))
        row = op.squeeze(op.concat(nearest, 0), op.constant(np.array([1])))
        # As in `_measured`.
        difference = op.subtract(
            queries, op.gather(op.constant(features, shared_memory=True), row, op.constant(np.int64(0)))
        )
        squared = op.reduce_sum(op.multiply(difference, difference), op.constant(np.array([1])))
        model = openvino.Model([op.sqrt(squared), row], [queries], "search")
        return Graph(openvino.Core(), model, lanes)

    def search(queries: NDArray[np.float32]) -> Nearest:
        outputs = compiled(len(queries))(queries)
        return Nearest(np.array(outputs[0]), np.array(outputs[1]))

    return search


def blocks_of(patches: int) -> NDArray[np.int64]:
    """Split the queries into blocks, so that the distances of one stay in the cache and only one is held in memory."""
    full, rest = divmod(patches, _BLOCK)
    return np.array([_BLOCK] * full + [rest] * (rest > 0))


def torch_product(features: NDArray[np.float32]) -> Search:
    """Return a search by one matrix product and a running minimum, ‖b‖² − 2ab, in torch on the CPU."""
    import torch

    bank = torch.from_numpy(features)
    center = bank.mean(dim=0)
    centred = bank - center
    norms = (centred * centred).sum(dim=1)

    def search(queries: NDArray[np.float32]) -> Nearest:
        product = torch.addmm(norms, torch.from_numpy(queries) - center, centred.T, alpha=-2.0)
        return _measured(queries, features, product.argmin(dim=1).numpy())

    return search


def _measured(queries: NDArray[np.float32], features: NDArray[np.float32], row: NDArray[np.int64]) -> Nearest:
    """Measure the distance to the nearest rows again: the searches subtract large squares, which loses digits."""
    difference = queries - features[row]
    return Nearest(np.sqrt(np.einsum("pd,pd->p", difference, difference)), row)
