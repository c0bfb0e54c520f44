"""A memory bank chosen from the patches of good pictures, with or without some of them, and how it scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stream.model.patchcore.own_banks import search_own_banks
from stream.model.patchcore.scoring import REWEIGHT_NEIGHBOURS, Scoring, position_statistics
from stream.model.patchcore.search import MemoryBank
from stream.training.patch_store import PatchStore

#: Pictures whose distances describe the places; more change results by less than the draw of a calibration does.
_POSITION_PICTURES = 100
#: Patches that a bank of few pictures remembers at least, as far as they are a tenth of all; their variety is no
#: smaller than that of many, and the time is that of a usual bank.
_LEAST_CORESET, _LARGEST_RAISED_SHARE = 1500, 0.1


def coreset_size(patches: int, share: float) -> int:
    """Return how many of so many patches a bank remembers for a `share` of them that a user asked for."""
    least = min(_LEAST_CORESET, round(patches * _LARGEST_RAISED_SHARE))
    return max(1, least, round(patches * share))


@dataclass(frozen=True)
class BankOptions:
    """How a bank is chosen.

    Attributes:
        grid: (h, w) patches of each picture in the store.
        coreset: share of the patches that the bank remembers, see `coreset_size`.
        seed: of the choice.
        position: learn the position-aware score too.
        cuda: choose and search on the GPU.
        banks: how many the features' last coordinates tell apart, one for each tile; 0: there is one.
        weights: (h, w) float32 of the patches, see `Scoring`; those of 0 are not remembered. None: 1 everywhere.
    """

    grid: tuple[int, int]
    coreset: float
    seed: int
    position: bool
    cuda: bool
    banks: int = 0
    weights: NDArray[np.float32] | None = None

    @property
    def patches(self) -> int:
        """Number of patches of one picture in the store."""
        return self.grid[0] * self.grid[1]

    @property
    def judged(self) -> NDArray[np.bool_] | None:
        """Which of them are judged, (h, w); None: all."""
        return None if self.weights is None else self.weights > 0

    @property
    def judged_patches(self) -> int:
        """How many of them are judged."""
        return self.patches if self.weights is None else int(np.count_nonzero(self.weights))

    def wanted(self, pictures: int) -> int:
        """Return the size of a bank that is chosen from so many pictures."""
        return coreset_size(pictures * self.judged_patches, self.coreset)


class LearnedBank(NamedTuple):
    """The chosen patches, `features` (M, D) of so many `banks`, and how a picture is scored with them; 0: of one."""

    features: NDArray[np.float32]
    scoring: Scoring
    banks: int = 0

    def search(self, *, cuda: bool, added: NDArray[np.float32] | None = None) -> MemoryBank:
        """Return the bank ready to search, with `added` patches (n, D)."""
        features = self.features if added is None else np.concatenate([self.features, added])
        return MemoryBank(features, search_own_banks(features, self.banks, gpu=cuda))


def learn_bank(
    patches: PatchStore,
    options: BankOptions,
    *,
    without: slice | None = None,
    progress: Callable[[int], None] = lambda _picked: None,
) -> LearnedBank:
    """Choose a bank from all pictures of a store, but for those at the places `without`."""
    size = options.patches
    total = len(patches) // size
    left_out = without or slice(0, 0)
    pictures = np.array([place for place in range(total) if not left_out.start <= place < left_out.stop])
    picked = patches.coreset(
        options.wanted(len(pictures)),
        cuda=options.cuda,
        progress=progress,
        without=slice(left_out.start * size, left_out.stop * size),
    )
    features = patches.features[picked]
    position = None
    if options.position:
        chosen = np.random.default_rng(options.seed).permutation(pictures)[:_POSITION_PICTURES]
        distances = _leave_one_out(patches, options, features, picked // size, np.sort(chosen))
        position = position_statistics(distances, options.judged) if len(distances) > 1 else None
    return LearnedBank(features, Scoring(REWEIGHT_NEIGHBOURS, position, weights=options.weights), options.banks)


def _leave_one_out(
    patches: PatchStore,
    options: BankOptions,
    features: NDArray[np.float32],
    owners: NDArray[np.int64],
    pictures: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the patch distances (n, h, w) of pictures of the bank, each without what the bank took from itself."""
    bank = torch.from_numpy(features)
    # Centred features have short norms, hence little cancellation in ‖b‖² − 2ab.
    center = bank.mean(dim=0)
    centred = bank - center
    norms = (centred * centred).sum(dim=1)
    owner = torch.from_numpy(owners)
    size = options.patches
    distances = []
    for picture in pictures.tolist():
        own = owner == picture
        if bool(own.all()):
            continue
        queries = torch.from_numpy(patches.features[picture * size : (picture + 1) * size])
        squared = torch.addmm(norms.masked_fill(own, float("inf")), queries - center, centred.T, alpha=-2.0)
        difference = queries - bank[squared.argmin(dim=1)]
        distances.append((difference * difference).sum(dim=1).sqrt().numpy().reshape(options.grid))
    return np.array(distances, dtype=np.float32)
