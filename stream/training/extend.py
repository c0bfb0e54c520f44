"""Good parts that were rejected are added to the memory bank without a new fit; and thresholds set by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.core.errors import BundleError, ConfigError, DatasetError
from stream.core.files import check_destination, file_sha256
from stream.model.bundle import (
    Bundle,
    CalibrationScores,
    calibration_inputs,
    change_bundle,
    live_bundle,
    load_bundle,
    save_bundle,
)
from stream.model.bundle_info import BundleInfo, HeadInfo, Thresholds
from stream.model.extractor import load_extractor
from stream.model.patchcore.calibrate import conformal_threshold
from stream.model.patchcore.extend import farthest_first, perhaps_farther
from stream.model.patchcore.inspector import Extractor
from stream.model.patchcore.search import MemoryBank
from stream.training.calibration import Rows, by_hand, calibrated, choose_self_test, held_out_scores, implied_rate
from stream.training.dataset import batches, iter_inputs, network_input_hash
from stream.training.learning import search_of
from stream.training.progress import Track, silent
from stream.training.recalibration import Recalibration

#: (k, H, W, 3) uint8 RGB.
NetworkInputs = NDArray[np.uint8]

#: Relative distance that a score must keep below the threshold, so that a worker's rounding cannot lift it above:
#: the tolerances of the self-test, in full precision, and on CUDA or in int8.
_MARGIN, _LOW_PRECISION_MARGIN = 1e-3, 2e-2
#: How often the radius is halved for an image that stays DEFECT; then all of its patches are added.
_HALVINGS = 6


class ExtendedBank(NamedTuple):
    """The result of an extension.

    Attributes:
        bundle: the new one, as written.
        added: patches added to the bank.
        warnings: what a user should know before this goes live.
    """

    bundle: Bundle
    added: int
    warnings: list[str]


def extend_bank(live: Path, output: Path, inputs: NetworkInputs, track: Track = silent) -> ExtendedBank:
    """Write a bundle by which good images are GOOD that the `live` one may call DEFECT.

    The bank gains their patches that lie beyond the covering radius of the fit, farthest first; so do the banks of
    its folds. Then it is calibrated on the same images as before, at the same false-reject rate; an image threshold
    set by hand stays, and so do the statistics by place. An image that is DEFECT even so adds its patches beyond half
    the radius, a quarter and so on, finally all of them. No image calibrates against its own patches, so the guarantee
    of the calibration holds; only approximately if there were such images, since their patches depend on the threshold.

    Args:
        live: the bundle in use.
        output: the new bundle; may be the same file.
        inputs: (k, H, W, 3) uint8 RGB, network inputs of the bundle's size.
        track: progress.

    Raises:
        DatasetError: no inputs, another shape, or none is left to calibrate with.
        BundleError, WeightsError, ConfigError: the bundle cannot be used here.
        DiskError: the new bundle cannot be written.
    """
    check_destination(output)
    bundle, calibration = live_bundle(live), calibration_inputs(live)
    if file_sha256(live) != bundle.sha256:
        raise BundleError(f"{live}: was replaced while it was being read; try again")
    info, graph = bundle.info, bundle.graph
    inputs = _distinct(_checked(live, inputs, info))
    names = [network_input_hash(pixels) for pixels in inputs]
    held_out, warnings = _held_out(live, calibration, info.folds, set(names))
    new = [name for name in names if name not in info.bank_pictures]
    if len(new) < len(names):
        warnings.append(f"{len(names) - len(new)} of {len(names)} images are in the memory bank already")

    track("load backbone", 0, 1)
    extractor = load_extractor(info.spec, graph=graph)
    track("load backbone", 1, 1)
    relative = _LOW_PRECISION_MARGIN if extractor.device == "cuda" or graph is not None else _MARGIN
    search = search_of(bundle.bank, extractor)
    everyone = rows = np.arange(len(inputs))
    remaining = 0
    with Recalibration(bundle, extractor, calibration, held_out, live.parent, track) as recalibration:
        for radius in _radii(info.covering_radius):
            beyond = _beyond(extractor, search, inputs, rows, bundle.scoring.judged, radius, track)
            search = search_of(np.concatenate([search.features, beyond]), extractor)
            scored = recalibration.scores(search.features)
            thresholds = thresholds_like(bundle, scored)
            accepted = held_out_scores(
                extractor, search, inputs, everyone, bundle.scoring, stage="score accepted", track=track
            ).scores
            margin = bundle.scoring.tolerance(thresholds.image, relative)
            # Written so that a score that compares with nothing (NaN) could never be GOOD.
            rows = np.flatnonzero(~(accepted <= thresholds.image - margin))
            if not len(rows):
                break
            remaining = remaining or len(rows)
        else:
            if info.head is not None:
                raise BundleError(
                    f"{live}: its head takes the image for a defect, whatever the bank remembers; mark it as a false "
                    "alarm and learn from marks again, or raise the threshold"
                )
            raise BundleError(f"{live}: no threshold lies above the score of an image in the bank; fit it again")

    if remaining:
        warnings.append(
            f"{remaining} of {len(names)} images were DEFECT even with all that lies beyond the covering radius, "
            f"{info.covering_radius:.3g}; the bank now holds what lies beyond {radius:.3g}, so that defects that look "
            "like them may pass"
        )
    if extractor.device == "cuda":  # the self-test's score is that of full precision
        extractor = load_extractor(info.spec, device="torch-cpu")
    selftest = choose_self_test(extractor, search, calibration, held_out, bundle.scoring, seed=info.seed)
    changed = msgspec.structs.replace(
        info,
        thresholds=thresholds,
        bank_patches=info.bank_patches + len(new) * info.judged_patches,
        bank_pictures=(*info.bank_pictures, *new),
        calibration_names=tuple(info.calibration_names[row] for row in held_out),
        folds=tuple(info.folds[row] for row in held_out) if info.cross else (),
        head=head_info_of_rows(info.head, held_out),
    )
    saved = save_bundle(
        output,
        changed,
        search.features,
        scored,
        iter_inputs(calibration, held_out),
        selftest,
        position=bundle.position,
        graph=graph,
        heads=bundle.heads,
    )
    return ExtendedBank(saved, len(saved.bank) - len(bundle.bank), warnings)


def image_scores(path: Path, inputs: NetworkInputs, track: Track = silent) -> NDArray[np.float64]:
    """Return the image scores (k,) that a bundle gives to network inputs, as `inspected`."""
    return inspected(path, inputs, track).scores


def inspected(path: Path, inputs: NetworkInputs, track: Track = silent) -> CalibrationScores:
    """Return what a bundle finds in network inputs, (k, H, W, 3) uint8 RGB: scores, peaks and patch distances.

    Raises:
        DatasetError: no inputs, or another shape.
        BundleError, WeightsError, ConfigError: the bundle cannot be used here.
    """
    bundle = load_bundle(path)
    inputs = _checked(path, inputs, bundle.info)
    track("load backbone", 0, 1)
    extractor = load_extractor(bundle.info.spec, graph=bundle.graph)
    track("load backbone", 1, 1)
    search = search_of(bundle.bank, extractor)
    rows = np.arange(len(inputs))
    return held_out_scores(extractor, search, inputs, rows, bundle.scoring, stage="score", track=track)


def with_threshold(live: Path, output: Path, image: float) -> Bundle:
    """Write the `live` bundle with an image threshold that a user chose.

    Its rates become those of the threshold: with m of the n calibration scores above it, it lies no lower than
    the conformal threshold of the rate (m + 1) / (n + 1), which is thus wanted and guaranteed at once. Strictly, only
    if it was not chosen by these scores. The pixel threshold stays.

    Raises:
        ConfigError: the threshold is no finite number above 0.
        BundleError: the bundle cannot be read, is not calibrated, or cannot be written.
    """
    bundle = live_bundle(live)
    # Plain scores are distances; position-aware ones and those with a head have no least value.
    signed = bundle.info.position_aware or bundle.info.head is not None
    if not math.isfinite(image) or (image <= 0 and not signed):
        raise ConfigError(f"{live}: threshold: expected a finite number above 0, got {image}")
    assert bundle.info.thresholds is not None
    thresholds = by_hand(image, bundle.info.thresholds.pixel, bundle.calibration_scores, cross=bundle.info.out_of_fold)
    return change_bundle(live, output, thresholds=thresholds)


def _checked(path: Path, inputs: NetworkInputs, info: BundleInfo) -> NetworkInputs:
    width_px, height_px = info.spec.input_px
    if inputs.shape[1:] != (height_px, width_px, 3) or inputs.dtype != np.uint8:
        raise DatasetError(
            f"{path}: expected images of {width_px}×{height_px} px in colour, 8 bits, the bundle's network input; "
            f"got {inputs.dtype} {'×'.join(map(str, inputs.shape[1:]))}"
        )
    if not len(inputs):
        raise DatasetError(f"{path}: there are no images; choose one at least")
    # They may be of a bundle with other masks.
    return inputs if info.masks is None else info.masks.fill_each(inputs)


def _distinct(inputs: NetworkInputs) -> NetworkInputs:
    """Leave out copies."""
    first = {network_input_hash(pixels): row for row, pixels in reversed(list(enumerate(inputs)))}
    return inputs[sorted(first.values())]


def _held_out(
    path: Path, calibration: NetworkInputs, folds: tuple[int, ...], accepted: set[str]
) -> tuple[Rows, list[str]]:
    """Return which calibration inputs stay out of the bank, where they would score 0; and a warning."""
    rows = np.array(
        [row for row, pixels in enumerate(calibration) if network_input_hash(pixels) not in accepted], dtype=np.int64
    )
    left_out = len(calibration) - len(rows)
    if not len(rows) or (len(set(folds)) > 1 and len({folds[row] for row in rows}) < 2):
        raise DatasetError(
            f"{path}: all calibration images, or all but those of one fold, are among those to accept; "
            "accept fewer, or give it others with `patchline calibrate`"
        )
    warning = f"{left_out} of the bundle's calibration images are among them and no longer calibrate"
    return rows, [warning] if left_out else []


def _radii(covering_radius: float) -> list[float]:
    return [covering_radius / 2**halving for halving in range(_HALVINGS + 1)] + [0.0]


def _beyond(
    extractor: Extractor,
    search: MemoryBank,
    inputs: NetworkInputs,
    rows: Rows,
    judged: NDArray[np.bool_] | None,
    radius: float,
    track: Track,
) -> NDArray[np.float32]:
    """Return judged patches (n, D) of the inputs at `rows` that, with the bank, cover all such within the radius."""
    dims = search.features.shape[1]
    candidates = [np.empty((0, dims), np.float32)]
    for done, batch in batches(inputs, rows):
        features = extractor(batch)
        patches = features.reshape(-1, dims) if judged is None else features[:, judged].reshape(-1, dims)
        candidates.append(patches[perhaps_farther(search, patches, radius)])
        track("extract features", done, len(rows))
    patches = np.concatenate(candidates)
    return patches[farthest_first(search, patches, radius)]


def head_info_of_rows(head: HeadInfo | None, rows: Rows) -> HeadInfo | None:
    """Return how a head was learned for the calibration pictures at `rows` alone."""
    if head is None or not head.folds:
        return head
    return msgspec.structs.replace(head, folds=tuple(head.folds[row] for row in rows))


def thresholds_like(live: Bundle, scored: CalibrationScores) -> Thresholds:
    """Return thresholds for new calibration scores, chosen in the same way as those of the live bundle."""
    before = live.info.thresholds
    assert before is not None
    if not before.by_hand:
        return calibrated(scored, before.false_reject_rate, cross=live.info.out_of_fold)
    # The user chose for parts, not for pixels: the pixel threshold keeps its rank among the peaks.
    pixel = conformal_threshold(scored.peaks, implied_rate(live.calibration_peaks, before.pixel))
    return by_hand(before.image, pixel, scored.scores, cross=live.info.out_of_fold)
