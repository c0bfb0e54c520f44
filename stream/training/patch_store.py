"""The patch features of all images of the bank and the choice among them: in memory, or on disk beyond a limit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from stream.model.patchcore.coreset import PROJECTION_DIMS, greedy_k_center, projection
from stream.training.memory_budget import MemoryBudget
from stream.training.spooled_array import SpooledArray

#: Memory of the selection beyond the features: blocks, libraries' buffers.
_WORKING_BYTES = 160 * 2**20


class PatchStore:
    """Features and their projections, appended image by image; the coreset does not depend on where they are held."""

    def __init__(
        self,
        dims: int,
        *,
        capacity: int,
        wanted: int,
        seed: int,
        memory: MemoryBudget,
        spool: Path,
        banks: int = 1,
        judged: NDArray[np.bool_] | None = None,
    ) -> None:
        """Make room for `capacity` patches of which `wanted` will be chosen.

        Args:
            dims: D of the features.
            capacity: largest number of patches.
            wanted: size of the coreset.
            seed: of projection and first pick.
            memory: decides whether the patches are held or spooled.
            spool: folder for temporary files.
            banks: how many coresets are held at once.
            judged: (P,) of the patches of each image, those that may be chosen and need be covered; None: all.

        Raises:
            ConfigError: the limit does not even hold the selection's working memory.
            DiskError: the folder has too little room, or cannot be written.
        """
        self._seed = seed
        self._judged = judged
        #: (D,) mean feature of each image.
        self.picture_means: list[NDArray[np.float32]] = []
        self._matrix = projection(dims, dims=PROJECTION_DIMS, seed=seed)
        projected_dims = min(dims, PROJECTION_DIMS)
        # Norms, distances, counts and flags of all; picks in float32, and in float64, twice, and their features in each
        # bank, and twice in one.
        working = _WORKING_BYTES + 17 * capacity + wanted * (20 * projected_dims + 4 * dims * (1 + banks))
        memory.demand(working)
        stored_dims = dims if self._matrix is None else dims + projected_dims
        held = working + capacity * stored_dims * 4 <= memory.left_bytes()
        folder = None if held else spool
        self.features = SpooledArray((dims,), np.float32, capacity=capacity, folder=folder)
        self._projected = (
            self.features
            if self._matrix is None
            else SpooledArray((projected_dims,), np.float32, capacity=capacity, folder=folder)
        )

    def __len__(self) -> int:
        return len(self.features)

    def append(self, features: NDArray[np.float32]) -> None:
        """Add the (n, …, D) features of some images; raises DiskError when the disk is full."""
        each = features.reshape(len(features), -1, features.shape[-1])
        self.picture_means += list((each if self._judged is None else each[:, self._judged]).mean(axis=1))
        rows = features.reshape(-1, features.shape[-1])
        self.features.append(rows)
        if self._matrix is not None:
            self._projected.append((torch.from_numpy(rows) @ self._matrix).numpy())

    def coreset(
        self, wanted: int, *, cuda: bool, progress: Callable[[int], None], without: slice | None = None
    ) -> NDArray[np.int64]:
        """Choose `wanted` patches by greedy k-center; on the GPU with `cuda`, if it has room.

        Args:
            wanted: how many.
            cuda: use the GPU.
            progress: called with the number chosen.
            without: patches that cannot be chosen and need not be covered, as if they had never been appended.

        Returns:
            (≤ wanted,) indices among all patches, in the order of choice.
        """
        candidates = self._candidates(self._projected, without or slice(0, 0))
        if cuda:
            from stream.model.patchcore.coreset_cuda import bytes_needed, greedy_k_center_on_device

            total, dims = candidates.shape
            if bytes_needed(total, dims) < torch.cuda.mem_get_info()[0]:
                on_device = torch.empty((total, dims), dtype=torch.float64, device="cuda")
                for begin in range(0, total, 65_536):
                    part = slice(begin, min(begin + 65_536, total))
                    on_device[part] = torch.from_numpy(candidates[part])
                return candidates.rows(greedy_k_center_on_device(on_device, wanted, seed=self._seed, progress=progress))
        return candidates.rows(greedy_k_center(candidates, wanted, seed=self._seed, progress=progress))

    @property
    def judged_features(self) -> _Without | _Rows:
        """The features of the patches that are judged, (N, D)."""
        return self._candidates(self.features, slice(0, 0))

    def _candidates(self, features: SpooledArray, left_out: slice) -> _Without | _Rows:
        if self._judged is None:
            return _Without(features, left_out)
        rows = np.flatnonzero(np.tile(self._judged, len(features) // len(self._judged)))
        return _Rows(features, rows[(rows < left_out.start) | (rows >= left_out.stop)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release memory or files."""
        self.features.close()
        self._projected.close()


class _Without:
    """The rows of an array but for a slice of them, under numbers without a gap."""

    def __init__(self, features: SpooledArray, left_out: slice) -> None:
        self._features = features
        self._begin, self._end = left_out.start, left_out.stop
        self._gap = self._end - self._begin

    @property
    def shape(self) -> tuple[int, ...]:
        total, dims = self._features.shape
        return total - self._gap, dims

    def rows(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers that rows have in the whole array."""
        return np.where(numbers >= self._begin, numbers + self._gap, numbers)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        if not isinstance(rows, slice):
            return self._features[self.rows(rows)]
        begin, end, _ = rows.indices(self.shape[0])
        if end <= self._begin:
            return self._features[begin:end]
        if begin >= self._begin:
            return self._features[begin + self._gap : end + self._gap]
        return np.concatenate([self._features[begin : self._begin], self._features[self._end : end + self._gap]])


class _Rows:
    """Some rows of an array, under numbers without a gap."""

    def __init__(self, features: SpooledArray, chosen: NDArray[np.int64]) -> None:
        self._features, self._chosen = features, chosen

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self._chosen), *self._features.shape[1:]

    def rows(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers that rows have in the whole array."""
        return self._chosen[numbers]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        return self._features[self._chosen[rows]]
