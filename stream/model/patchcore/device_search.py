"""Search and image score on a GPU, in tensor operations that never wait for the host.

The counterpart of `MemoryBank.nearest` and `inspector.score_patches` for a torch device: the same exhaustive
search (one matrix product and a running minimum, the winner measured again), the same score (paper equation 7),
the deciding patch settled in float64.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Elements of one block of distances: 64 MiB in float32.
_BLOCK = 2**24


class DeviceBank:
    """A memory bank on a device."""

    def __init__(self, features: NDArray[np.float32], device: torch.device, *, reweight_neighbours: int) -> None:
        """Remember (M, D) float32 features; `reweight_neighbours` is b of the image score."""
        self.features = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)).to(device)
        self._wide = self.features.double()
        # Centred features have short norms, hence little cancellation in ‖b‖² − 2ab.
        self._center = self.features.mean(dim=0)
        self._centred = self.features - self._center
        self._norms = (self._centred * self._centred).sum(dim=1)
        self._neighbours = min(reweight_neighbours, len(self.features))

    def inspect(self, queries: Tensor) -> Tensor:
        """Inspect network inputs, all of them at once.

        Args:
            queries: (N, P, D) float32 patch features on the device.

        Returns:
            (N, 1 + P) float64 on the device: for each the image score, then the patch distances.
        """
        count = len(queries)
        distances = self.nearest(queries.flatten(0, 1)).view(count, -1)
        query = queries[torch.arange(count, device=queries.device), distances.argmax(dim=1)].double()
        to_query = _distances(query, self._wide)
        # The lowest row among equals, as on the CPU; argmin does not promise it.
        star = to_query.amin(dim=1, keepdim=True)
        rows = torch.arange(to_query.shape[1], device=queries.device)
        row = torch.where(to_query == star, rows, len(rows)).amin(dim=1)
        if self._neighbours <= 1:
            return torch.cat([star, distances.double()], dim=1)
        to_remembered = _distances(self._wide.index_select(0, row), self._wide)
        # m* itself is one of its neighbours, even when its copies displace it.
        to_remembered = to_remembered.scatter(1, row[:, None], -1.0)
        around = torch.sort(to_remembered, dim=1, stable=True).indices[:, : self._neighbours]
        near = to_query.gather(1, around)
        shift = near.amax(dim=1, keepdim=True)
        weight = 1 - torch.exp(star - shift) / torch.exp(near - shift).sum(dim=1, keepdim=True)
        return torch.cat([weight * star, distances.double()], dim=1)

    def nearest(self, queries: Tensor) -> Tensor:
        """Return the Euclidean distance of each of (P, D) float32 queries to its nearest bank feature, (P,)."""
        centred = queries - self._center
        best = torch.full((len(queries),), float("inf"), device=queries.device)
        rows = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
        step = max(1, _BLOCK // len(queries))
        for begin in range(0, len(self._centred), step):
            block = self._centred[begin : begin + step]
            products = torch.addmm(self._norms[begin : begin + step], centred, block.T, alpha=-2.0)
            nearest, row = products.min(dim=1)
            rows = torch.where(nearest < best, row + begin, rows)
            best = torch.minimum(nearest, best)
        difference = queries - self.features.index_select(0, rows)
        return (difference * difference).sum(dim=1).sqrt()


def _distances(queries: Tensor, bank: Tensor) -> Tensor:
    """(N, D) and (M, D) float64 → (N, M), from differences in one kernel."""
    return torch.cdist(queries, bank, compute_mode="donot_use_mm_for_euclid_dist")
