"""From the network inputs of good pictures to a memory bank and its calibration: shared by a fit and by leaving out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import DatasetError
from stream.model.bundle import CalibrationScores
from stream.model.patchcore.coreset import covering_radius
from stream.model.patchcore.inspector import Extractor
from stream.model.patchcore.scoring import Scoring
from stream.model.patchcore.search import MemoryBank
from stream.training.calibration import held_out_scores
from stream.training.dataset import Inputs, batches
from stream.training.folds import held_out_blocks
from stream.training.learned_bank import BankOptions, learn_bank
from stream.training.memory_budget import MemoryBudget
from stream.training.out_of_fold import FoldBanks
from stream.training.patch_store import PatchStore
from stream.training.progress import Track

Rows = NDArray[np.int64]


class Plan(NamedTuple):
    """Which pictures the bank is chosen from, and which calibrate.

    Attributes:
        bank: rows of the pictures in the bank, those of one fold being neighbours.
        folds: places in `bank` that are held out together; empty: the pictures `held_out` calibrate instead.
        held_out: rows of pictures that are not in the bank.
    """

    bank: Rows
    folds: list[slice]
    held_out: Rows

    @property
    def calibration(self) -> Rows:
        """Rows of the pictures that calibrate, in the order of their scores."""
        return self.bank if self.folds else self.held_out

    @property
    def fold_numbers(self) -> tuple[int, ...]:
        """The fold of each picture that calibrates; empty without folds."""
        return tuple(number for number, fold in enumerate(self.folds) for _ in range(fold.start, fold.stop))


def plan_of(folds: Sequence[Rows]) -> Plan:
    """Plan cross-conformal calibration with given folds."""
    ends = np.cumsum([len(fold) for fold in folds]).tolist()
    slices = [slice(end - len(fold), end) for fold, end in zip(folds, ends, strict=True)]
    return Plan(np.concatenate(list(folds)), slices, np.empty(0, np.int64))


def split_plan(rows: Rows, groups: Sequence[str], holdout: float, seed: int) -> Plan:
    """Plan split calibration: blocks of the pictures at `rows` are held out for good."""
    held_out = held_out_blocks(groups, holdout, seed)
    return Plan(np.delete(rows, held_out), [], rows[held_out])


class Learned(NamedTuple):
    """What was learned.

    Attributes:
        bank: (M, D).
        scoring: of a picture with it.
        covering_radius: see the bundle.
        calibration: the scores of the plan's calibration.
        means: (n, D) float32, the mean feature of each picture in the bank.
    """

    bank: NDArray[np.float32]
    scoring: Scoring
    covering_radius: float
    calibration: CalibrationScores
    means: NDArray[np.float32]


def learn(
    extractor: Extractor,
    inputs: Inputs,
    plan: Plan,
    options: BankOptions,
    *,
    memory: MemoryBudget,
    spool: Path,
    added: NDArray[np.float32] | None = None,
    track: Track,
) -> Learned:
    """Choose the bank of a plan's pictures and calibrate it.

    Args:
        extractor: of the features.
        inputs: the network inputs that the plan's rows count.
        plan: which are remembered and which calibrate.
        options: how the bank is chosen.
        memory: decides whether features are held or spooled.
        spool: folder for temporary files.
        added: (n, D) patches that the bank holds besides.
        track: progress.

    Raises:
        DiskError: the features do not fit the disk.
        ConfigError: they do not fit the memory.
        DatasetError: too few pictures for a position-aware score.
    """
    input_px = (inputs.shape[2], inputs.shape[1])
    folds = len(plan.folds)
    with patches_of(
        extractor, inputs, plan.bank, options, folds=folds, memory=memory, spool=spool, track=track
    ) as patches:
        wanted = options.wanted(len(plan.bank))
        chosen = learn_bank(patches, options, progress=lambda done: track("choose coreset", done, wanted))
        track("choose coreset", wanted, wanted)
        radius = covering_radius(patches.judged_features, chosen.features)
        search = chosen.search(cuda=options.cuda, added=added)
        banks = FoldBanks(patches, options, plan.folds, track) if plan.folds else None
        if options.position and (chosen.scoring.position is None or (banks and not banks.position_aware)):
            # Scores of two kinds must not meet in one threshold.
            raise DatasetError(
                f"--score position: {len(plan.bank)} good images are too few to learn each place from every fold; give "
                "more, or use --score plain"
            )
        if banks is not None:
            calibration = banks.calibration(input_px, added=added, track=track)
        else:
            calibration = held_out_scores(extractor, search, inputs, plan.held_out, chosen.scoring, track=track)
        means = np.array(patches.picture_means, dtype=np.float32)
        return Learned(search.features, chosen.scoring, radius, calibration, means)


def patches_of(
    extractor: Extractor,
    inputs: Inputs,
    rows: Rows,
    options: BankOptions,
    *,
    folds: int,
    memory: MemoryBudget,
    spool: Path,
    track: Track,
) -> PatchStore:
    """Return the patch features of the pictures at `rows`, to be closed; `folds` banks will be held beside one."""
    dims = extractor(inputs[rows[:1]]).shape[-1]
    patches = PatchStore(
        dims,
        capacity=len(rows) * options.patches,
        wanted=options.wanted(len(rows)),
        seed=options.seed,
        banks=1 + folds,
        memory=memory,
        spool=spool,
        judged=None if options.judged is None else options.judged.reshape(-1),
    )
    try:
        for done, batch in batches(inputs, rows):
            patches.append(extractor(batch))
            track("extract features", done, len(rows))
    except BaseException:
        patches.close()
        raise
    return patches


def search_of(bank: NDArray[np.float32], extractor: Extractor) -> MemoryBank:
    """Return a bank (M, D) ready to search where the extractor runs."""
    from stream.model.extractor import TiledExtractor
    from stream.model.patchcore.own_banks import search_own_banks

    banks = extractor.tiles.coordinates if isinstance(extractor, TiledExtractor) else 0
    return MemoryBank(bank, search_own_banks(bank, banks, gpu=extractor.device == "cuda"))
