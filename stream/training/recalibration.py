"""A bundle's own calibration once more, with a bank that has grown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from stream.model.bundle import Bundle, CalibrationScores
from stream.model.patchcore.inspector import Extractor
from stream.training.calibration import Rows, held_out_scores
from stream.training.head import fused_out_of_fold, pooled_of
from stream.training.learned_bank import BankOptions
from stream.training.learning import patches_of, plan_of, search_of
from stream.training.memory_budget import MemoryBudget
from stream.training.out_of_fold import FoldBanks
from stream.training.patch_store import PatchStore
from stream.training.progress import Track


class Recalibration:
    """Scores the images that calibrated a bundle, each by a bank without it; close it when done."""

    def __init__(
        self,
        bundle: Bundle,
        extractor: Extractor,
        pictures: NDArray[np.uint8],
        rows: Rows,
        spool: Path,
        track: Track,
    ) -> None:
        """Choose the banks of the folds again, as the fit did; a bundle without folds needs none.

        Args:
            bundle: in use.
            extractor: of its features.
            pictures: (n, H, W, 3) uint8 RGB, the network inputs that it keeps.
            rows: of those that shall calibrate.
            spool: folder for temporary files.
            track: progress.
        """
        self._bundle, self._extractor, self._track = bundle, extractor, track
        self._pictures, self._rows = pictures, rows
        self._patches: PatchStore | None = None
        self._fold_banks: FoldBanks | None = None
        self._pooled: NDArray[np.float64] | None = None
        info = bundle.info
        if info.cross:
            folds = np.array(info.folds)[rows]
            plan = plan_of([rows[folds == fold] for fold in np.unique(folds)])
            self._rows = plan.bank
            options = bank_options_of(bundle, extractor)
            self._patches = patches_of(
                extractor,
                pictures,
                plan.bank,
                options,
                folds=len(plan.folds),
                memory=MemoryBudget.of(None),
                spool=spool,
                track=track,
            )
            try:
                self._fold_banks = FoldBanks(self._patches, options, plan.folds, track)
            except BaseException:
                self._patches.close()
                raise

    def scores(self, bank: NDArray[np.float32]) -> CalibrationScores:
        """Return the scores with the bundle's bank as it has become, (M, D): the fit's patches, then all added ones."""
        info, inputs_px = self._bundle.info, self._bundle.info.spec.input_px
        if self._fold_banks is not None:
            added = bank[info.coreset_patches :]
            return self._fused(self._fold_banks.calibration(inputs_px, added=added, track=self._track))
        search = search_of(bank, self._extractor)
        scoring = self._bundle.scoring
        if self._unseen_by_head:
            return held_out_scores(self._extractor, search, self._pictures, self._rows, scoring, track=self._track)
        plain = replace(scoring, head=None)
        return self._fused(
            held_out_scores(self._extractor, search, self._pictures, self._rows, plain, track=self._track)
        )

    @property
    def _unseen_by_head(self) -> bool:
        head = self._bundle.info.head
        return head is None or not head.folds

    def _fused(self, calibration: CalibrationScores) -> CalibrationScores:
        """Add the evidence of the head that has not seen each picture; the scores have the order of the rows."""
        heads, info = self._bundle.heads, self._bundle.info.head
        if heads is None or info is None:
            return calibration
        if self._pooled is None:
            self._pooled = pooled_of(
                self._extractor,
                self._pictures,
                self._rows,
                info.level_dims,
                self._bundle.scoring.judged,
                self._track,
            )
        by = heads.of_folds if info.folds else (heads.head,)
        folds = np.array(info.folds, dtype=np.int64)[self._rows] if info.folds else np.zeros(len(self._rows), np.int64)
        return calibration._replace(scores=fused_out_of_fold(by, folds, calibration.scores, self._pooled))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._patches is not None:
            self._patches.close()


def bank_options_of(bundle: Bundle, extractor: Extractor) -> BankOptions:
    """Return how the fit chose a bundle's bank."""
    info = bundle.info
    return BankOptions(
        info.grid,
        info.coreset,
        info.seed,
        position=info.position_aware,
        cuda=extractor.device == "cuda",
        banks=info.spec.coordinates,
        weights=info.weights,
    )
