"""Which images of a folder are learned, and which of them are held out together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import DatasetError
from stream.core.images import image_size, list_images
from stream.model.patchcore.calibrate import images_needed
from stream.model.patchcore.preprocess import Roi
from stream.training.consistency import likeness
from stream.training.copies import near_copies
from stream.training.dataset import ImageSet, iter_inputs
from stream.training.fit_options import FitOptions
from stream.training.folds import BY_FILE, BY_FOLDER, SPLIT_BLOCKS, blocks, deal, groups_of, neighbour_blocks
from stream.training.learning import Plan, plan_of, split_plan


def chosen_images(good: Path, options: FitOptions) -> list[Path]:
    """Return the images of the folder but for those left out; raises DatasetError."""
    return without_names(good, list_images(good, subfolders=options.group_by == BY_FOLDER), options.leave_out)


def without_names(good: Path, paths: list[Path], names: Sequence[str]) -> list[Path]:
    """Return the paths but for those with these names, relative to the folder; raises DatasetError for unknown ones."""
    known = {path.relative_to(good).as_posix() for path in paths}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DatasetError(f"{good}: --leave-out: no image {', '.join(unknown)}; give names as `fit` lists them")
    left = [path for path in paths if path.relative_to(good).as_posix() not in set(names)]
    if not left:
        raise DatasetError(f"{good}: --leave-out leaves no image; leave out fewer")
    return left


def region_px(paths: list[Path], roi: Roi | None) -> tuple[int, int]:
    """Return (width, height) of the region of the first image whose header can be read."""
    if roi is not None:
        return roi[2:]
    for path in paths:
        try:
            return image_size(path)
        except DatasetError:
            continue  # named when it is read
    return 1, 1


def plan_for(good: Path, images: ImageSet, names: list[str], options: FitOptions) -> tuple[Plan, list[str]]:
    """Return which images are remembered and which calibrate, and what to say about copies."""
    # By file: the user knows each to be of another part.
    rows, copies = learned_rows(images, names, near=options.group_by != BY_FILE)
    if len(rows) < 2:
        raise DatasetError(
            f"{good}: {len(rows)} different readable image(s), but a fit needs at least 2, so that each can be "
            f"scored without itself; a false-reject rate of {options.false_reject_rate:.2%} needs "
            f"{images_needed(options.false_reject_rate)}"
        )
    if options.group_by is None:
        least = options.folds if options.calibration == "cross" else SPLIT_BLOCKS
        groups = neighbour_blocks(likeness(iter_inputs(images.inputs, rows)), least)
        folds = deal(groups, options.folds)
    else:
        if options.group_by == BY_FILE:  # neighbours mean nothing: blocks of a random order
            rows = np.random.default_rng(options.seed).permutation(rows)
        groups = groups_of([names[row] for row in rows], options.group_by)
        folds = blocks(groups, options.folds)
    if len(set(groups)) < 2:
        raise DatasetError(
            f"{good}: all images belong to one group, '{groups[0]}', so that none can be held out; "
            "choose another --group-by"
        )
    if options.calibration == "cross":
        plan = plan_of([rows[fold] for fold in folds])
    else:
        plan = split_plan(rows, groups, options.holdout, options.seed)
    return plan, copies


def learned_rows(images: ImageSet, names: list[str], *, near: bool = True) -> tuple[NDArray[np.int64], list[str]]:
    """Return the rows of the images that count, and what to say about copies of them; `near`: also of almost copies."""
    rows = images.distinct()
    kept = set(rows.tolist())
    exact = [names[row] for row in range(len(images)) if row not in kept]
    similar = near_copies(images.inputs, rows) if near else {}
    notes = []
    if exact:
        notes.append(f"{len(exact)} images are exact copies of others and count once: {_some(exact)}")
    if similar:
        pairs = [f"{names[row]} of {names[original]}" for row, original in similar.items()]
        notes.append(
            f"{len(similar)} images are almost copies of others, saved again perhaps, and count once: {_some(pairs)}; "
            "if each shows another part, --group-by file"
        )
    return np.array([row for row in rows.tolist() if row not in similar], dtype=np.int64), notes


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
