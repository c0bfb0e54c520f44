"""Marked defects teach a bundle: it gains a head, and is calibrated again; bank and anomaly map stay."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.core.errors import BundleError, DatasetError
from stream.core.files import check_destination, file_sha256
from stream.model.bundle import (
    Bundle,
    CalibrationScores,
    Heads,
    calibration_distances,
    calibration_inputs,
    live_bundle,
    save_bundle,
)
from stream.model.bundle_info import HeadInfo
from stream.model.extractor import load_extractor
from stream.training.calibration import calibrated, choose_self_test, promise
from stream.training.dataset import iter_inputs, network_input_hash
from stream.training.folds import FOLDS, blocks
from stream.training.head import LearnedHead, Pooled, check_marks, learn_head, pooled_of
from stream.training.learning import search_of
from stream.training.progress import Track, silent

#: (k, H, W, 3) uint8 RGB.
NetworkInputs = NDArray[np.uint8]


class LearnedFromMarks(NamedTuple):
    """The new bundle as written, and what a user should know before it goes live."""

    bundle: Bundle
    notes: list[str]


def learn_from_marks(
    live: Path, output: Path, defects: NetworkInputs, false_alarms: NetworkInputs, track: Track = silent
) -> LearnedFromMarks:
    """Write the `live` bundle with a head that is learned from marked parts, in place of one that it has.

    The good pictures that the bundle keeps are the other side. Each of them calibrates, by a bank and a head that have
    seen neither it nor its fold; those that a user has marked are left out. The threshold is chosen again for the same
    false-reject rate, since the scores have another scale; so a threshold set by hand is lost.

    Args:
        live: the bundle in use.
        output: the new bundle; may be the same file.
        defects: (m, H, W, 3) network inputs of parts marked as true or missed defects, m ≥ 10.
        false_alarms: (k, H, W, 3) of parts marked as false alarms; more good pictures, which do not calibrate.
        track: progress.

    Raises:
        DatasetError: too few marked defects or good pictures, or another shape.
        BundleError, WeightsError, ConfigError: the bundle cannot be used here.
        DiskError: the new bundle cannot be written.
    """
    check_destination(output)
    bundle, pictures = live_bundle(live), calibration_inputs(live)
    if file_sha256(live) != bundle.sha256:
        raise BundleError(f"{live}: was replaced while it was being read; try again")
    info, before = bundle.info, bundle.info.thresholds
    assert before is not None, "live bundles are calibrated"
    _check_shapes(live, bundle, defects, false_alarms)
    if info.masks is not None:  # they may be of a bundle with other masks
        defects, false_alarms = info.masks.fill_each(defects), info.masks.fill_each(false_alarms)
    # Now, not after minutes of work.
    check_marks(len(defects))
    rows, notes = _unmarked(pictures, defects, false_alarms)

    track("load backbone", 0, 1)
    extractor = load_extractor(info.spec, graph=bundle.graph)
    levels = info.spec.level_dims
    track("load backbone", 1, 1)
    judged = bundle.scoring.judged
    good = pooled_of(extractor, pictures, rows, levels, judged, track)
    bad, alarms = (
        pooled_of(extractor, inputs, np.arange(len(inputs)), levels, judged) for inputs in (defects, false_alarms)
    )
    folds = _folds(bundle, rows)
    track("learn head", 0, 1)
    learned = learn_head(good, _scores_without_head(bundle, good, rows), folds, bad, alarms, levels)
    track("learn head", 1, 1)

    kept = CalibrationScores(learned.scores, bundle.calibration_peaks[rows], calibration_distances(live)[rows])
    thresholds = msgspec.structs.replace(calibrated(kept, before.false_reject_rate, cross=True), pixel=before.pixel)
    notes += _notes(bundle, len(rows), learned)
    text, too_few = promise(thresholds, len(rows), cross=True)
    heads = Heads(learned.head, learned.fold_heads)
    changed = bundle._replace(heads=heads)
    if extractor.device == "cuda":  # the self-test's score is that of full precision
        extractor = load_extractor(info.spec, device="torch-cpu")
    search = search_of(bundle.bank, extractor)
    selftest = choose_self_test(extractor, search, pictures, rows, changed.scoring, seed=info.seed)
    saved = save_bundle(
        output,
        msgspec.structs.replace(
            info,
            thresholds=thresholds,
            calibration_names=tuple(info.calibration_names[row] for row in rows),
            folds=tuple(info.folds[row] for row in rows) if info.cross else (),
            head=HeadInfo(levels, tuple(folds), len(defects), len(false_alarms)),
        ),
        bundle.bank,
        kept,
        iter_inputs(pictures, rows),
        selftest,
        position=bundle.position,
        graph=bundle.graph,
        heads=heads,
    )
    return LearnedFromMarks(saved, [*notes, text, *too_few])


def _check_shapes(live: Path, bundle: Bundle, *inputs: NetworkInputs) -> None:
    width_px, height_px = bundle.info.spec.input_px
    for pictures in inputs:
        if pictures.shape[1:] != (height_px, width_px, 3) or pictures.dtype != np.uint8:
            raise DatasetError(
                f"{live}: expected images of {width_px}×{height_px} px in colour, 8 bits, the bundle's network input; "
                f"got {pictures.dtype} {'×'.join(map(str, pictures.shape[1:]))}"
            )


def _unmarked(pictures: NetworkInputs, *marked: NetworkInputs) -> tuple[NDArray[np.int64], list[str]]:
    """Return the rows of the pictures that no user has marked, and what to say about the others."""
    known = {network_input_hash(pixels) for inputs in marked for pixels in inputs}
    rows = np.array(
        [row for row, pixels in enumerate(pictures) if network_input_hash(pixels) not in known], dtype=np.int64
    )
    left_out = len(pictures) - len(rows)
    return rows, [
        f"{left_out} of the bundle's good pictures are among the marked parts and left out"
    ] if left_out else []


def _folds(bundle: Bundle, rows: NDArray[np.int64]) -> list[int]:
    """Return the fold of each picture at `rows`: that of its bank, or where there is none, blocks of neighbours."""
    if bundle.info.cross:
        folds = np.unique(np.array(bundle.info.folds)[rows], return_inverse=True)[1]
        return [int(fold) for fold in folds]
    found = np.empty(len(rows), np.int64)
    for number, block in enumerate(blocks([str(row) for row in rows], FOLDS)):
        found[block] = number
    return [int(fold) for fold in found]


def _scores_without_head(bundle: Bundle, good: Pooled, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the calibration scores at `rows` as they would be without the head that the bundle may have."""
    scores = bundle.calibration_scores[rows]
    if bundle.heads is None or bundle.info.head is None:
        return scores
    of_folds, folds = bundle.heads.of_folds, bundle.info.head.folds
    by = [of_folds[folds[row]] if folds else bundle.heads.head for row in rows]
    return np.array(
        [head.unfused(float(score), pooled) for head, score, pooled in zip(by, scores, good, strict=True)],
        dtype=np.float64,
    )


def _notes(bundle: Bundle, calibrating: int, learned: LearnedHead) -> list[str]:
    before = bundle.info.thresholds
    assert before is not None, "live bundles are calibrated"
    notes = [
        f"{calibrating} good pictures calibrate, none of them marked, each by a bank and a head that have not seen its "
        f"fold of {len(learned.fold_heads)}"
        if bundle.info.cross
        else f"{calibrating} good pictures calibrate, none of them marked or in the bank, each by a head that has not "
        f"seen its fold of {len(learned.fold_heads)}"
    ]
    if before.by_hand:
        notes.append(
            f"the threshold set by hand, {before.image:.4g}, is replaced, since scores have another scale: it was "
            f"chosen for the same share of good parts, {before.false_reject_rate:.2%}"
        )
    return notes
