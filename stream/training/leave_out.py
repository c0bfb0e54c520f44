"""Strange good pictures are taken out of a bundle: of its bank and of its calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from stream.core.errors import BundleError, DatasetError
from stream.core.files import check_destination, file_sha256
from stream.model.bundle import (
    Bundle,
    CalibrationScores,
    calibration_distances,
    calibration_inputs,
    live_bundle,
    save_bundle,
)
from stream.model.extractor import load_extractor
from stream.model.patchcore.health import measure, reference_of, refreshed
from stream.training.calibration import choose_self_test
from stream.training.dataset import iter_inputs, network_input_hash
from stream.training.extend import thresholds_like
from stream.training.learning import learn, plan_of, search_of
from stream.training.memory_budget import MemoryBudget
from stream.training.progress import Track, silent
from stream.training.recalibration import bank_options_of


def leave_out(live: Path, output: Path, names: Sequence[str], track: Track = silent) -> Bundle:
    """Write a bundle as if it had never been given some of its good pictures; patches accepted later stay.

    A calibration picture that was accepted itself is no longer kept, so that of its patches only those stay that
    were added then.

    Where every picture is remembered and calibrates, the bank is chosen again from those that are left. Otherwise
    the pictures only calibrated, and only the thresholds change. An image threshold set by hand stays.

    Args:
        live: the bundle in use.
        output: the new bundle; may be the same file.
        names: of calibration pictures, as the bundle has them.
        track: progress.

    Raises:
        DatasetError: no or unknown names, or too few pictures are left.
        BundleError, WeightsError, ConfigError: the bundle cannot be used here.
        DiskError: the new bundle cannot be written.
    """
    check_destination(output)
    bundle, pictures = live_bundle(live), calibration_inputs(live)
    info = bundle.info
    if file_sha256(live) != bundle.sha256:
        raise BundleError(f"{live}: was replaced while it was being read; try again")
    if info.head is not None:
        raise BundleError(
            f"{live}: its head was learned from the pictures as they are; leave pictures out of the bundle before "
            "that, then learn from the marks again"
        )
    unknown = [name for name in names if name not in info.calibration_names]
    if unknown or not names:
        raise DatasetError(f"{live}: it keeps no picture {', '.join(unknown) or 'without a name'}; name others")
    rows = np.array([row for row, name in enumerate(info.calibration_names) if name not in set(names)], dtype=np.int64)
    folds = np.array(info.folds)[rows] if info.cross else np.empty(0, np.int64)
    if len(rows) < 2 or (info.cross and len(np.unique(folds)) < 2):
        raise DatasetError(f"{live}: {len(rows)} pictures would be left, too few to calibrate; leave out fewer")
    gone = {network_input_hash(pixels) for row, pixels in enumerate(pictures) if row not in set(rows.tolist())}
    track("load backbone", 0, 1)
    extractor = load_extractor(info.spec, graph=bundle.graph)
    track("load backbone", 1, 1)
    if info.cross:
        plan = plan_of([rows[folds == fold] for fold in np.unique(folds)])
        added = bundle.bank[info.coreset_patches :]
        learned = learn(
            extractor,
            pictures,
            plan,
            bank_options_of(bundle, extractor),
            memory=MemoryBudget.of(None),
            spool=output.parent,
            added=added,
            track=track,
        )
        rows, calibration = plan.bank, learned.calibration
        bundle = bundle._replace(bank=learned.bank, position=learned.scoring.position)
        removed_patches = len(gone) * info.judged_patches
        info = msgspec.structs.replace(
            info,
            folds=plan.fold_numbers,
            position_aware=learned.scoring.position is not None,
            covering_radius=learned.covering_radius,
            coreset_patches=len(learned.bank) - len(added),
            bank_patches=info.bank_patches - removed_patches,
            bank_pictures=tuple(name for name in info.bank_pictures if name not in gone),
        )
    else:
        distances = calibration_distances(live)[rows]
        calibration = CalibrationScores(bundle.calibration_scores[rows], bundle.calibration_peaks[rows], distances)
    search = search_of(bundle.bank, extractor)
    if extractor.device == "cuda":  # the self-test's score is that of full precision
        extractor = load_extractor(info.spec, device="torch-cpu")
    selftest = choose_self_test(extractor, search, pictures, rows, bundle.scoring, seed=info.seed)
    reference = reference_of([measure(pictures[row]) for row in rows])
    changed = msgspec.structs.replace(
        info,
        thresholds=thresholds_like(bundle, calibration),
        reference=reference if info.cross else refreshed(info.reference, reference),
        calibration_names=tuple(info.calibration_names[row] for row in rows),
    )
    return save_bundle(
        output,
        changed,
        bundle.bank,
        calibration,
        iter_inputs(pictures, rows),
        selftest,
        position=bundle.position,
        graph=bundle.graph,
    )
