"""Good pictures in, calibrated bundle out."""

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
    """What a fit can be told; the defaults are those of `patchline fit`."""

    backbone: str = "efficientnet_lite0"
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
    """What a fit or a calibration did."""

    bundle: Bundle
    device: str
    bank_images: int
    calibration_images: int
    unreadable: list[Unreadable]
    warnings: list[str]


def fit(good: Path, output: Path, options: FitOptions, track: Track = silent) -> FitSummary:
    """Learn the pictures of a folder and write the calibrated bundle.

    Raises:
        DatasetError: the folder or its pictures cannot be used.
        DiskError: the patches do not fit the disk.
        WeightsError, ConfigError, BundleError: see `load_extractor` and `save_bundle`.
    """
    from stream.model.patchcore.coreset import PROJECTION_DIMS, covering_radius
    from stream.training.patch_store import PatchStore

    memory = MemoryBudget.of(options.max_memory_bytes)
    paths = list_images(good)
    with read_network_inputs(
        paths, options.roi, options.size_px, memory=memory, spool=output.parent, track=track
    ) as pictures:
        bank_rows, calibration_rows, copies = _split(good, pictures, options)
        track("load backbone", 0, 1)
        spec = spec_for(
            options.backbone,
            size_px=options.size_px,
            neighbourhood=options.neighbourhood,
            stride=options.stride,
            weights=options.weights,
        )
        graph = None
        if options.precision == "int8":
            from stream.training.quantize import PICTURES, quantized

            graph = quantized(spec, pictures.inputs[bank_rows[:PICTURES]], options.weights)
            spec = msgspec.structs.replace(spec, graph_sha256=graph.sha256)
        extractor = load_extractor(spec, device=options.device, weights=options.weights, graph=graph)
        # A first pass tells the grid, and takes the memory that passes take.
        height, width, dims = extractor(pictures.inputs[bank_rows[:1]]).shape[1:]
        track("load backbone", 1, 1)

        capacity = len(bank_rows) * height * width
        wanted = max(1, round(capacity * options.coreset))
        with PatchStore(
            dims, capacity=capacity, wanted=wanted, seed=options.seed, memory=memory, spool=output.parent
        ) as patches:
            for done, batch in batches(pictures.inputs, bank_rows):
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
            pictures.inputs,
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
            pictures.inputs,
            calibration_rows,
            reweight_neighbours=REWEIGHT_NEIGHBOURS,
            seed=options.seed,
        )
        if copies:
            warnings.append(
                f"{copies} held-out pictures are copies of remembered ones and were left out of the calibration"
            )
        info = BundleInfo(
            format=FORMAT,
            spec=spec,
            roi=options.roi,
            picture_px=pictures.picture_px,
            grid=(height, width),
            coreset=options.coreset,
            projection_dims=PROJECTION_DIMS,
            reweight_neighbours=REWEIGHT_NEIGHBOURS,
            seed=options.seed,
            bank_patches=capacity,
            covering_radius=radius,
            thresholds=thresholds,
            reference=reference_of_rows(pictures, np.concatenate([bank_rows, calibration_rows])),
            bank_pictures=tuple(pictures.hashes[row] for row in bank_rows),
            versions=library_versions(),
        )
        bundle = save_bundle(
            output, info, bank, scores, peaks, iter_inputs(pictures.inputs, calibration_rows), selftest, graph
        )
        return FitSummary(
            bundle, extractor.device, len(bank_rows), len(calibration_rows), pictures.unreadable, warnings
        )


def _split(good: Path, pictures: ImageSet, options: FitOptions) -> tuple[Rows, Rows, int]:
    """Return which pictures to remember, which to calibrate with, and how many copies were left out."""
    count = len(pictures)
    if count < 2:
        raise DatasetError(
            f"{good}: {count} readable picture, but a fit needs at least 2 (some to remember, some to calibrate); "
            f"a false-reject rate of {options.false_reject_rate:.2%} needs "
            f"{images_needed(options.false_reject_rate)} to calibrate"
        )
    order = np.random.default_rng(options.seed).permutation(count)
    held_out = min(max(round(count * options.holdout), 1), count - 1)
    bank_rows, candidates = order[held_out:], order[:held_out]
    known = {pictures.hashes[row] for row in bank_rows}
    # A copy of a remembered picture scores 0 and would lower the thresholds.
    calibration_rows = np.array([row for row in candidates if pictures.hashes[row] not in known], dtype=np.int64)
    if not len(calibration_rows):
        raise DatasetError(
            f"{good}: its pictures are copies of each other, none is left to calibrate; give different ones"
        )
    return bank_rows, calibration_rows, held_out - len(calibration_rows)


def calibrate(
    path: Path, good: Path, *, false_reject_rate: float, device: Device = "auto", track: Track = silent
) -> FitSummary:
    """Set a bundle's thresholds anew from other good pictures; those in its bank are left out.

    Raises:
        DatasetError: no picture is left to calibrate with.
        BundleError, WeightsError, ConfigError: the bundle cannot be used here.
    """
    bundle = load_bundle(path)
    info = bundle.info
    memory = MemoryBudget.of(None)
    with read_network_inputs(
        list_images(good), info.roi, info.spec.size_px, memory=memory, spool=path.parent, track=track
    ) as pictures:
        known = set(info.bank_pictures)
        fresh = np.array([row for row, name in enumerate(pictures.hashes) if name not in known], dtype=np.int64)
        if not len(fresh):
            raise DatasetError(
                f"{good}: every picture is in the bundle's memory bank, where it scores 0; "
                "give good pictures it never saw"
            )
        extractor = load_extractor(info.spec, device=device, graph=bundle.graph)
        search = MemoryBank(bundle.bank, flat_index(bundle.bank, gpu=extractor.device == "cuda"))
        scores, peaks = calibration_scores(
            extractor, search, pictures.inputs, fresh, reweight_neighbours=info.reweight_neighbours, track=track
        )
        warnings = []
        if len(fresh) < len(pictures):
            left_out = len(pictures) - len(fresh)
            warnings.append(f"{left_out} pictures are in the memory bank and were left out of the calibration")
        thresholds, more = calibrated(scores, peaks, false_reject_rate)
        reference = refreshed(info.reference, reference_of_rows(pictures, fresh))
        changed = msgspec.structs.replace(info, thresholds=thresholds, reference=reference)
        saved = save_bundle(
            path,
            changed,
            bundle.bank,
            scores,
            peaks,
            iter_inputs(pictures.inputs, fresh),
            bundle.selftest,
            bundle.graph,
        )
        return FitSummary(
            saved, extractor.device, len(info.bank_pictures), len(fresh), pictures.unreadable, warnings + more
        )


def reference_of_rows(pictures: ImageSet, rows: Rows) -> Reference:
    """Return light, focus and colour of the good pictures at `rows`."""
    return reference_of([measure(image) for image in iter_inputs(pictures.inputs, rows)])
