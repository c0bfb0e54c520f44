"""Good images in, calibrated bundle out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from stream.core.errors import DatasetError
from stream.core.files import check_destination
from stream.core.images import list_images, read_image
from stream.core.versions import library_versions
from stream.model.bundle import (
    Bundle,
    CalibrationScores,
    Heads,
    calibration_inputs,
    load_bundle,
    save_bundle,
)
from stream.model.bundle_info import FORMAT, BundleInfo
from stream.model.extractor import Device, input_multiple_px, load_extractor, spec_for
from stream.model.mask_files import masks_of
from stream.model.patchcore.health import Reference, measure, reference_of, refreshed
from stream.model.patchcore.inspector import Extractor
from stream.model.patchcore.masks import Masks
from stream.model.patchcore.preprocess import input_size
from stream.model.patchcore.tiles import Tiles, apart
from stream.training.aligned_images import aligned_by, placement_notes, placement_warnings
from stream.training.calibration import (
    Rows,
    calibrated,
    choose_self_test,
    held_out_scores,
    promise,
)
from stream.training.consistency import inconsistencies, product_warning
from stream.training.dataset import ImageSet, Unreadable, iter_inputs, network_input_hash, read_network_inputs
from stream.training.fit_options import FitOptions
from stream.training.inspection_time import milliseconds
from stream.training.learned_bank import BankOptions
from stream.training.learning import learn, search_of
from stream.training.memory_budget import MemoryBudget
from stream.training.progress import Track, silent
from stream.training.registration import MIN_PICTURES, PICTURES, Registration, registration_of
from stream.training.selection import chosen_images, learned_rows, plan_for, region_px, without_names
from stream.training.strangest import STRANGEST, StrangePicture, strangest

#: Pictures on which the time of a part in tiles is measured.
_MEASURED = 2


@dataclass(frozen=True)
class FitSummary:
    """The result of a fit or a calibration.

    Attributes:
        bundle: as written.
        device: where the backbone ran.
        bank_images, calibration_images: how many are remembered, and how many calibrate.
        unreadable: images that were skipped.
        promise: the false-reject rates to expect and guaranteed, in words.
        notes, warnings: what a user should know.
        strange: the good pictures with the largest calibration scores.
        calibration, paths: the scores and files of all that calibrate, in one order.
    """

    bundle: Bundle
    device: str
    bank_images: int
    calibration_images: int
    unreadable: list[Unreadable]
    promise: str
    notes: list[str]
    warnings: list[str]
    strange: list[StrangePicture]
    calibration: CalibrationScores
    paths: list[Path] = field(default_factory=list)


def fit(good: Path, output: Path, options: FitOptions, track: Track = silent) -> FitSummary:
    """Learn the images of a folder and write the calibrated bundle.

    Raises:
        DatasetError: the folder or its images cannot be used.
        DiskError: the bundle cannot be written there, found out at once, or the patches do not fit the disk.
        WeightsError, ConfigError, BundleError: see `load_extractor` and `save_bundle`.
    """
    from stream.model.patchcore.coreset import PROJECTION_DIMS

    check_destination(output)
    memory = MemoryBudget.of(options.max_memory_bytes)
    paths = chosen_images(good, options)
    region, multiple_px = region_px(paths, options.roi), input_multiple_px(options.backbone)
    tiles = None if options.tiling is None else options.tiling.tiles(options.size_px, region, multiple_px)
    input_px = input_size(options.size_px, region, multiple_px) if tiles is None else tiles.input_px
    masks = _masks(paths, options, input_px)
    geometry = options.geometry(input_px)._replace(masks=masks)
    with read_network_inputs(paths, geometry, memory=memory, spool=output.parent, track=track) as images:
        if masks is not None and options.roi is None and images.picture_px is None:
            raise DatasetError(
                f"{good}: its images differ in size, so masks lie elsewhere in each; give --roi, or images of one size"
            )
        names = [path.relative_to(good).as_posix() for path in images.paths]
        plan, notes = plan_for(good, images, names, options)
        track("load backbone", 0, 1)
        spec = spec_for(
            options.backbone,
            levels=options.levels,
            input_px=input_px,
            neighbourhood=options.neighbourhood,
            stride=options.stride,
            weights=options.weights,
            tiles=tiles,
        )
        graph = None
        if options.precision == "int8":
            from stream.training.quantize import IMAGES, quantized

            graph = quantized(spec, images.inputs[np.sort(plan.bank)[:IMAGES]], options.weights)
            spec = msgspec.structs.replace(spec, graph_sha256=graph.sha256)
        extractor = load_extractor(spec, device=options.device, weights=options.weights, graph=graph)
        # A first pass shows the grid, and allocates the memory that a pass needs.
        first = extractor(images.inputs[plan.bank[:1]])
        height, width = first.shape[1:3]
        if tiles is not None and options.tiling is not None and options.tiling.own_banks:
            tiles = apart(tiles, first)
            spec = msgspec.structs.replace(spec, tiles=tiles)
            extractor = load_extractor(spec, device=options.device, weights=options.weights, graph=graph)
        track("load backbone", 1, 1)
        if masks is not None:
            masks.check(input_px, (height, width))
        filled = None if masks is None else masks.filled(input_px)

        shift = registration_of(iter_inputs(images.inputs, _spread(plan.bank, PICTURES)), (height, width), filled)
        position = shift.in_place if options.score == "auto" else options.score == "position"
        notes.append(_score_note(options, shift, position=position))
        notes += placement_notes(options.alignment, images)
        bank_options = BankOptions(
            (height, width),
            options.coreset,
            options.seed,
            position=position,
            cuda=extractor.device == "cuda",
            banks=spec.coordinates,
            weights=None if masks is None else masks.weights(input_px, (height, width)),
        )
        if masks is not None:
            share = bank_options.judged_patches / bank_options.patches
            notes.append(f"masks {masks.names}: {share:.0%} of each part is judged")
        learned = learn(extractor, images.inputs, plan, bank_options, memory=memory, spool=output.parent, track=track)
        thresholds = calibrated(learned.calibration, options.false_reject_rate, cross=bool(plan.folds))
        search = search_of(learned.bank, extractor)
        notes += _tiles_notes(tiles, extractor, images, options, len(learned.bank))
        if extractor.device == "cuda":  # the self-test's score is that of full precision
            extractor = load_extractor(spec, device="torch-cpu", weights=options.weights)
        selftest = choose_self_test(
            extractor, search, images.inputs, plan.calibration, learned.scoring, seed=options.seed
        )
        info = BundleInfo(
            format=FORMAT,
            spec=spec,
            roi=options.roi,
            picture_px=images.picture_px,
            grid=(height, width),
            coreset=options.coreset,
            projection_dims=PROJECTION_DIMS,
            reweight_neighbours=learned.scoring.reweight_neighbours,
            position_aware=learned.scoring.position is not None,
            shift_patches=round(shift.median_patches, 3),
            seed=options.seed,
            bank_patches=len(plan.bank) * bank_options.judged_patches,
            coreset_patches=len(learned.bank),
            covering_radius=learned.covering_radius,
            thresholds=thresholds,
            reference=reference_of_rows(images, np.concatenate([plan.bank, plan.held_out])),
            calibration_names=tuple(names[row] for row in plan.calibration),
            folds=plan.fold_numbers,
            bank_pictures=tuple(images.hashes[row] for row in plan.bank),
            versions=library_versions(),
            wanted_score=options.score,
            wanted_calibration=options.calibration,
            masks=masks,
            alignment=aligned_by(options.alignment, images),
            mm_per_px=options.mm_per_px,
        )
        bundle = save_bundle(
            output,
            info,
            learned.bank,
            learned.calibration,
            iter_inputs(images.inputs, plan.calibration),
            selftest,
            position=learned.scoring.position,
            graph=graph,
        )
        return _summary(
            bundle,
            extractor.device,
            images,
            learned.calibration,
            plan.calibration,
            notes,
            inconsistencies(images, names, np.sort(np.concatenate([plan.bank, plan.held_out])))
            + product_warning(learned.means, [names[row] for row in plan.bank])
            + placement_warnings(options.alignment, options.roi, images),
        )


def calibrate(
    path: Path, good: Path, *, false_reject_rate: float, leave_out: Sequence[str] = (), device: Device = "auto",
    track: Track = silent,
) -> FitSummary:  # fmt: skip
    """Set a bundle's thresholds again, from other good images; those in its bank are left out.

    Raises:
        DatasetError: no image is left to calibrate with.
        BundleError, WeightsError, ConfigError: the bundle cannot be used here.
        DiskError: the bundle cannot be replaced.
    """
    bundle = load_bundle(path)
    check_destination(path)
    info = bundle.info
    memory = MemoryBudget.of(None)
    paths = without_names(good, list_images(good), leave_out)
    with read_network_inputs(paths, info.geometry.of_any_size, memory=memory, spool=path.parent, track=track) as images:
        in_bank = set(info.bank_pictures)
        if bundle.heads is not None:  # its head was trained on what calibrates now
            in_bank |= {network_input_hash(pixels) for pixels in calibration_inputs(path)}
        names = [item.name for item in images.paths]
        rows, notes = learned_rows(images, names)
        fresh = np.array([row for row in rows if images.hashes[row] not in in_bank], dtype=np.int64)
        if not len(fresh):
            raise DatasetError(
                f"{good}: every image is in the bundle's memory bank, where it scores 0; give good images it never saw"
            )
        extractor = load_extractor(info.spec, device=device, graph=bundle.graph)
        search = search_of(bundle.bank, extractor)
        calibration = held_out_scores(extractor, search, images.inputs, fresh, bundle.scoring, track=track)
        warnings = inconsistencies(images, names, fresh) + placement_warnings(info.alignment, info.roi, images)
        known = sum(name in in_bank for name in images.hashes)
        if known:
            warnings.append(f"{known} images are in the memory bank and were left out of the calibration")
        changed = msgspec.structs.replace(
            info,
            thresholds=calibrated(calibration, false_reject_rate, cross=False),
            reference=refreshed(info.reference, reference_of_rows(images, fresh)),
            calibration_names=tuple(names[row] for row in fresh),
            folds=(),
            head=None if info.head is None else msgspec.structs.replace(info.head, folds=()),
        )
        saved = save_bundle(
            path,
            changed,
            bundle.bank,
            calibration,
            iter_inputs(images.inputs, fresh),
            bundle.selftest,
            position=bundle.position,
            graph=bundle.graph,
            heads=None if bundle.heads is None else Heads(bundle.heads.head),
        )
        return _summary(saved, extractor.device, images, calibration, fresh, notes, warnings)


def reference_of_rows(images: ImageSet, rows: Rows) -> Reference:
    """Return light, focus and colour of the good images at `rows`."""
    return reference_of([measure(image) for image in iter_inputs(images.inputs, rows)])


def _masks(paths: list[Path], options: FitOptions, input_px: tuple[int, int]) -> Masks | None:
    masks = masks_of(options.masks, region_px(paths, options.roi), region_px(paths, None), options.roi)
    if masks is not None:
        masks.check(input_px)
    return masks


def _spread(rows: Rows, count: int) -> Rows:
    """Return up to `count` of the rows, evenly spread."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64))]


def _tiles_notes(
    tiles: Tiles | None, extractor: Extractor, images: ImageSet, options: FitOptions, bank_rows: int
) -> list[str]:
    if tiles is None:
        return []
    geometry = options.geometry(tiles.input_px)
    regions = [geometry.region(read_image(path)) for path in images.paths[:_MEASURED]]
    took_ms = milliseconds(extractor, regions, geometry, bank_rows=bank_rows)
    return [
        f"a part of {tiles.count} tiles takes {took_ms:.0f} ms on this machine from its region to its score, one at a "
        f"time: {1e3 * tiles.count / took_ms:.0f} tiles/s"
    ]


def _score_note(options: FitOptions, shift: Registration, *, position: bool) -> str:
    measured = (
        f"good parts shift by {shift.median_patches:.1f} patches in the median image, "
        f"{shift.high_patches:.1f} in one of ten"
    )
    if position:
        score = "position-aware: a distance counts by what good parts show at that place"
    elif options.score == "auto" and shift.pictures < MIN_PICTURES:
        score = f"plain: {shift.pictures} images are too few to learn each place, that takes {MIN_PICTURES}"
    else:
        score = "plain: a distance counts the same at every place"
    return f"score {score}; {measured}"


def _summary(
    bundle: Bundle,
    device: str,
    images: ImageSet,
    calibration: CalibrationScores,
    rows: Rows,
    notes: list[str],
    warnings: list[str],
) -> FitSummary:
    info = bundle.info
    assert info.thresholds is not None
    kept_promise, too_few = promise(info.thresholds, len(calibration.scores), cross=info.out_of_fold)
    rate = info.thresholds.false_reject_rate
    return FitSummary(
        bundle=bundle,
        device=device,
        bank_images=len(info.bank_pictures),
        calibration_images=len(rows),
        unreadable=images.unreadable,
        promise=kept_promise,
        notes=notes,
        warnings=warnings + too_few,
        strange=strangest(calibration.scores, info.calibration_names, rate, STRANGEST),
        calibration=calibration,
        paths=[images.paths[row] for row in rows],
    )
