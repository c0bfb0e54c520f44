"""Good images in, calibrated bundle out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from stream.core.errors import DatasetError
from stream.core.images import list_images
from stream.core.versions import library_versions
from stream.model.bundle import FORMAT, Bundle, BundleInfo, load_bundle, save_bundle
from stream.model.extractor import Device, load_extractor, spec_for
from stream.model.patchcore.calibrate import images_needed
from stream.model.patchcore.health import Reference, measure, reference_of, refreshed
from stream.model.patchcore.preprocess import Roi
from stream.model.patchcore.search import MemoryBank, flat_index
from stream.training.calibration import Rows, calibrated, calibration_scores, choose_self_test
from stream.training.dataset import ImageSet, Unreadable, batches, iter_inputs, read_network_inputs
from stream.training.memory_budget import MemoryBudget
from stream.training.progress import Track, silent

#: b of the paper's image score; the paper gives no value, implementations use 9.
REWEIGHT_NEIGHBOURS = 9


@dataclass(frozen=True)
class FitOptions:
    """The options of a fit; the defaults are those of `patchline fit`."""

    backbone: str = "efficientnet_lite0"
    #: Names of its levels; empty: the backbone's default.
    levels: tuple[str, ...] = ()
    size_px: int = 224
    roi: Roi | None = None
    coreset: float = 0.01
    neighbourhood: int = 3
    stride: int = 1
    holdout: float = 0.2
    false_reject_rate: float = 0.01
    seed: int = 0
    device: Device = "auto"
    weights: Path | None = None
    max_memory_bytes: int | None = None
    precision: Literal["float32", "int8"] = "float32"


@dataclass(frozen=True)
class FitSummary:
    """The result of a fit or a calibration."""

    bundle: Bundle
    device: str
    bank_images: int
    calibration_images: int
    unreadable: list[Unreadable]
    warnings: list[str]


def fit(good: Path, output: Path, options: FitOptions, track: Track = silent) -> FitSummary:
    """Learn the images of a folder and write the calibrated bundle.

    Raises:
        DatasetError: the folder or its images cannot be used.
        DiskError: the patches do not fit the disk.
        WeightsError, ConfigError, BundleError: see `load_extractor` and `save_bundle`.
    """
    from stream.model.patchcore.coreset import PROJECTION_DIMS, covering_radius
    from stream.training.patch_store import PatchStore

    memory = MemoryBudget.of(options.max_memory_bytes)
    paths = list_images(good)
    with read_network_inputs(
        paths, options.roi, options.size_px, memory=memory, spool=output.parent, track=track
    ) as images:
        bank_rows, calibration_rows, copies = _split(good, images, options)
        track("load backbone", 0, 1)
        spec = spec_for(
            options.backbone,
            levels=options.levels,
            size_px=options.size_px,
            neighbourhood=options.neighbourhood,
            stride=options.stride,
            weights=options.weights,
        )
        graph = None
        if options.precision == "int8":
            from stream.training.quantize import IMAGES, quantized

            graph = quantized(spec, images.inputs[bank_rows[:IMAGES]], options.weights)
            spec = msgspec.structs.replace(spec, graph_sha256=graph.sha256)
        extractor = load_extractor(spec, device=options.device, weights=options.weights, graph=graph)
        # A first pass shows the grid, and allocates the memory that a pass needs.
        height, width, dims = extractor(images.inputs[bank_rows[:1]]).shape[1:]
        track("load backbone", 1, 1)

        capacity = len(bank_rows) * height * width
        wanted = max(1, round(capacity * options.coreset))
        with PatchStore(
            dims, capacity=capacity, wanted=wanted, seed=options.seed, memory=memory, spool=output.parent
        ) as patches:
            for done, batch in batches(images.inputs, bank_rows):
                patches.append(extractor(batch))
                track("extract features", done, len(bank_rows))
            picked = patches.coreset(
                wanted,
                cuda=extractor.device == "cuda",
                progress=lambda done: track("choose coreset", done, wanted),
            )
            track("choose coreset", wanted, wanted)
            bank = patches.features[picked]
            radius = covering_radius(patches.features, bank)

        search = MemoryBank(bank, flat_index(bank, gpu=extractor.device == "cuda"))
        scores, peaks = calibration_scores(
            extractor,
            search,
            images.inputs,
            calibration_rows,
            reweight_neighbours=REWEIGHT_NEIGHBOURS,
            track=track,
        )
        thresholds, warnings = calibrated(scores, peaks, options.false_reject_rate)
        if extractor.device == "cuda":  # the self-test's score is that of full precision
            extractor = load_extractor(spec, device="torch-cpu", weights=options.weights)
        selftest = choose_self_test(
            extractor,
            search,
            images.inputs,
            calibration_rows,
            reweight_neighbours=REWEIGHT_NEIGHBOURS,
            seed=options.seed,
        )
        if copies:
            warnings.append(
                f"{copies} held-out images are copies of images in the bank and were left out of the calibration"
            )
        info = BundleInfo(
            format=FORMAT,
            spec=spec,
            roi=options.roi,
            picture_px=images.picture_px,
            grid=(height, width),
            coreset=options.coreset,
            projection_dims=PROJECTION_DIMS,
            reweight_neighbours=REWEIGHT_NEIGHBOURS,
            seed=options.seed,
            bank_patches=capacity,
            covering_radius=radius,
            thresholds=thresholds,
            reference=reference_of_rows(images, np.concatenate([bank_rows, calibration_rows])),
            bank_pictures=tuple(images.hashes[row] for row in bank_rows),
            versions=library_versions(),
        )
        bundle = save_bundle(
            output, info, bank, scores, peaks, iter_inputs(images.inputs, calibration_rows), selftest, graph
        )
        return FitSummary(bundle, extractor.device, len(bank_rows), len(calibration_rows), images.unreadable, warnings)


def _split(good: Path, images: ImageSet, options: FitOptions) -> tuple[Rows, Rows, int]:
    """Return which images go into the bank, which calibrate, and how many copies were left out."""
    count = len(images)
    if count < 2:
        raise DatasetError(
            f"{good}: {count} readable image(s), but a fit needs at least 2 (some for the bank, some to calibrate); "
            f"a false-reject rate of {options.false_reject_rate:.2%} needs "
            f"{images_needed(options.false_reject_rate)} to calibrate"
        )
    order = np.random.default_rng(options.seed).permutation(count)
    held_out = min(max(round(count * options.holdout), 1), count - 1)
    bank_rows, candidates = order[held_out:], order[:held_out]
    in_bank = {images.hashes[row] for row in bank_rows}
    # A copy of an image in the bank scores 0 and would lower the thresholds.
    calibration_rows = np.array([row for row in candidates if images.hashes[row] not in in_bank], dtype=np.int64)
    if not len(calibration_rows):
        raise DatasetError(
            f"{good}: its images are copies of each other, none is left to calibrate; give different ones"
        )
    return bank_rows, calibration_rows, held_out - len(calibration_rows)


def calibrate(
    path: Path, good: Path, *, false_reject_rate: float, device: Device = "auto", track: Track = silent
) -> FitSummary:
    """Set a bundle's thresholds again, from other good images; those in its bank are left out.

    Raises:
        DatasetError: no image is left to calibrate with.
        BundleError, WeightsError, ConfigError: the bundle cannot be used here.
    """
    bundle = load_bundle(path)
    info = bundle.info
    memory = MemoryBudget.of(None)
    with read_network_inputs(
        list_images(good), info.roi, info.spec.size_px, memory=memory, spool=path.parent, track=track
    ) as images:
        in_bank = set(info.bank_pictures)
        fresh = np.array([row for row, name in enumerate(images.hashes) if name not in in_bank], dtype=np.int64)
        if not len(fresh):
            raise DatasetError(
                f"{good}: every image is in the bundle's memory bank, where it scores 0; give good images it never saw"
            )
        extractor = load_extractor(info.spec, device=device, graph=bundle.graph)
        search = MemoryBank(bundle.bank, flat_index(bundle.bank, gpu=extractor.device == "cuda"))
        scores, peaks = calibration_scores(
            extractor, search, images.inputs, fresh, reweight_neighbours=info.reweight_neighbours, track=track
        )
        warnings = []
        if len(fresh) < len(images):
            left_out = len(images) - len(fresh)
            warnings.append(f"{left_out} images are in the memory bank and were left out of the calibration")
        thresholds, more = calibrated(scores, peaks, false_reject_rate)
        reference = refreshed(info.reference, reference_of_rows(images, fresh))
        changed = msgspec.structs.replace(info, thresholds=thresholds, reference=reference)
        saved = save_bundle(
            path,
            changed,
            bundle.bank,
            scores,
            peaks,
            iter_inputs(images.inputs, fresh),
            bundle.selftest,
            bundle.graph,
        )
        return FitSummary(
            saved, extractor.device, len(info.bank_pictures), len(fresh), images.unreadable, warnings + more
        )


def reference_of_rows(images: ImageSet, rows: Rows) -> Reference:
    """Return light, focus and colour of the good images at `rows`."""
    return reference_of([measure(image) for image in iter_inputs(images.inputs, rows)])
