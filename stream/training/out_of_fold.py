"""Cross-conformal calibration: each good picture is scored by a bank that has never seen it, nor its neighbours.

The pictures are divided into folds; for each fold a bank is chosen from all the others, as the final one is chosen
from all of them. The scores of all pictures then calibrate (Vovk, Annals of Mathematics and Artificial Intelligence
74, 2015; Barber et al., Annals of Statistics 49, 2021, arXiv 1905.02928). Features are computed once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.model.bundle import CalibrationScores
from stream.model.patchcore.inspector import Inspection, nearest_patches, score_patches
from stream.model.patchcore.score import anomaly_map, sigma_px
from stream.training.learned_bank import BankOptions, LearnedBank, learn_bank
from stream.training.patch_store import PatchStore
from stream.training.progress import Track, silent


def collected(inspections: list[Inspection], input_px: tuple[int, int]) -> CalibrationScores:
    """Return the calibration scores of inspected pictures, whose network input was (width, height)."""
    size_px = input_px[1], input_px[0]
    maps = (anomaly_map(one.distances, size_px, sigma_px(size_px, one.distances.shape)) for one in inspections)
    return CalibrationScores(
        np.array([found.score for found in inspections], dtype=np.float64),
        np.array([pixels.max() for pixels in maps], dtype=np.float32),
        np.array([np.minimum(found.distances, np.finfo(np.float16).max) for found in inspections]).astype(np.float16),
    )


class FoldBanks:
    """The banks of all folds; the store whose pictures they were chosen from must stay open."""

    def __init__(self, patches: PatchStore, options: BankOptions, folds: list[slice], track: Track = silent) -> None:
        """Choose one bank for each fold, a slice of the store's pictures."""
        self._patches, self._options, self._folds = patches, options, folds
        self._banks: list[LearnedBank] = []
        for done, fold in enumerate(folds, start=1):
            self._banks.append(learn_bank(patches, options, without=fold))
            track("choose fold coresets", done, len(folds))

    @property
    def position_aware(self) -> bool:
        """Whether all of them could learn the statistics by place."""
        return all(bank.scoring.position is not None for bank in self._banks)

    def calibration(
        self,
        input_px: tuple[int, int],
        *,
        added: NDArray[np.float32] | None = None,
        stage: str = "calibrate",
        track: Track = silent,
    ) -> CalibrationScores:
        """Score every picture by the bank of its fold, to which (n, D) patches may have been added."""
        size, grid = self._options.patches, self._options.grid
        total = len(self._patches) // size
        inspections: list[Inspection] = []
        for fold, bank in zip(self._folds, self._banks, strict=True):
            search = bank.search(cuda=self._options.cuda, added=added)
            for place in range(fold.start, fold.stop):
                features = self._patches.features[place * size : (place + 1) * size].reshape(*grid, -1)
                nearest = nearest_patches(search, features)
                inspections.append(score_patches(search, features, nearest, bank.scoring))
                track(stage, len(inspections), total)
        return collected(inspections, input_px)
