"""Good pictures in, calibrated bundle out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.bundle import FORMAT, Bundle, BundleInfo, Thresholds, load_bundle, save_bundle
from stream.errors import DatasetError, FrameFault
from stream.extractor import Device, load_extractor, spec_for
from stream.images import list_images, read_image
from stream.patchcore.calibrate import conformal_threshold, guaranteed_rate, images_needed
from stream.patchcore.inspector import Extractor, inspect
from stream.patchcore.preprocess import Roi, crop, network_input
from stream.patchcore.score import anomaly_map, sigma_px
from stream.patchcore.search import MemoryBank

#: b of the paper's image score; the paper gives no value, implementations use 9.
REWEIGHT_NEIGHBOURS = 9
#: A folder with more unreadable pictures than this share is refused.
MAX_UNREADABLE = 0.05
#: Called with the name of a stage, how much of it is done, and of how much.
Track = Callable[[str, int, int], None]


def silent(_stage: str, _done: int, _total: int) -> None:
    """Report nothing."""


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


@dataclass(frozen=True)
class Unreadable:
    """A picture that was skipped, and why."""

    path: Path
    reason: str


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
        WeightsError, ConfigError, BundleError: see `load_extractor` and `save_bundle`.
    """
    import torch

    from stream.patchcore.coreset import PROJECTION_DIMS, greedy_k_center, random_projection

    pictures = read_pictures(list_images(good), options.roi, options.size_px, track)
    count = len(pictures.inputs)
    if count < 2:
        raise DatasetError(
            f"{good}: {count} readable picture, but a fit needs at least 2 (some to remember, some to calibrate); "
            f"a false-reject rate of {options.false_reject_rate:.2%} needs "
            f"{images_needed(options.false_reject_rate)} to calibrate"
        )
    order = np.random.default_rng(options.seed).permutation(count)
    held_out = min(max(round(count * options.holdout), 1), count - 1)
    bank_rows, calibration_rows = order[held_out:], order[:held_out]
    known = {picture_hash(pictures.inputs[row]) for row in bank_rows}
    # A copy of a remembered picture scores 0 and would lower the thresholds.
    calibration_rows = np.array(
        [row for row in calibration_rows if picture_hash(pictures.inputs[row]) not in known], dtype=np.int64
    )
    if not len(calibration_rows):
        raise DatasetError(
            f"{good}: its pictures are copies of each other, none is left to calibrate; give different ones"
        )

    track("load backbone", 0, 1)
    spec = spec_for(
        options.backbone,
        size_px=options.size_px,
        neighbourhood=options.neighbourhood,
        stride=options.stride,
        weights=options.weights,
    )
    extractor = load_extractor(spec, device=options.device, weights=options.weights)
    track("load backbone", 1, 1)

    features = _features(extractor, pictures.inputs[bank_rows], track)
    grid = (features.shape[1], features.shape[2])
    patches = torch.from_numpy(features.reshape(-1, features.shape[-1]))
    wanted = max(1, round(len(patches) * options.coreset))
    projected = random_projection(patches, dims=PROJECTION_DIMS, seed=options.seed)
    if extractor.device == "cuda":
        projected = projected.cuda()
    picked = greedy_k_center(
        projected, wanted, seed=options.seed, progress=lambda done: track("choose coreset", done, wanted)
    )
    track("choose coreset", wanted, wanted)
    bank = patches[picked].numpy()

    scores, peaks = calibration_scores(
        extractor, MemoryBank(bank, gpu=extractor.device == "cuda"), pictures.inputs[calibration_rows], track=track
    )
    thresholds, warnings = calibrated(scores, peaks, options.false_reject_rate)
    if len(calibration_rows) < held_out:
        copies = held_out - len(calibration_rows)
        warnings.append(
            f"{copies} held-out pictures are copies of remembered ones and were left out of the calibration"
        )
    info = BundleInfo(
        format=FORMAT,
        spec=spec,
        roi=options.roi,
        picture_px=pictures.picture_px,
        grid=grid,
        coreset=options.coreset,
        projection_dims=PROJECTION_DIMS,
        reweight_neighbours=REWEIGHT_NEIGHBOURS,
        seed=options.seed,
        bank_patches=len(patches),
        thresholds=thresholds,
        bank_pictures=tuple(picture_hash(pictures.inputs[row]) for row in bank_rows),
        versions=_versions(),
    )
    bundle = save_bundle(output, info, bank, scores, peaks)
    return FitSummary(bundle, extractor.device, len(bank_rows), len(calibration_rows), pictures.unreadable, warnings)


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
    pictures = read_pictures(list_images(good), info.roi, info.spec.size_px, track)
    known = set(info.bank_pictures)
    fresh = [row for row, image in enumerate(pictures.inputs) if picture_hash(image) not in known]
    if not fresh:
        raise DatasetError(
            f"{good}: every picture is in the bundle's memory bank, where it scores 0; give good pictures it never saw"
        )
    warnings = []
    if len(fresh) < len(pictures.inputs):
        left_out = len(pictures.inputs) - len(fresh)
        warnings.append(f"{left_out} pictures are in the memory bank and were left out of the calibration")
    extractor = load_extractor(info.spec, device=device)
    memory = MemoryBank(bundle.bank, gpu=extractor.device == "cuda")
    scores, peaks = calibration_scores(
        extractor, memory, pictures.inputs[fresh], reweight_neighbours=info.reweight_neighbours, track=track
    )
    thresholds, more = calibrated(scores, peaks, false_reject_rate)
    saved = save_bundle(path, _replace_thresholds(info, thresholds), bundle.bank, scores, peaks)
    return FitSummary(
        saved, extractor.device, len(info.bank_pictures), len(fresh), pictures.unreadable, warnings + more
    )


@dataclass(frozen=True)
class Pictures:
    """The readable pictures of a folder as network inputs.

    Attributes:
        inputs: (N, S, S, 3) uint8 RGB.
        picture_px: (width, height) all of them had, or None.
        unreadable: those skipped.
    """

    inputs: NDArray[np.uint8]
    picture_px: tuple[int, int] | None
    unreadable: list[Unreadable]


def read_pictures(paths: list[Path], roi: Roi | None, size_px: int, track: Track = silent) -> Pictures:
    """Read, cut and resize pictures; damaged ones are skipped and named.

    Raises:
        DatasetError: a picture is smaller than the region, or more than 5 % are unreadable.
    """
    inputs: list[NDArray[np.uint8]] = []
    sizes: set[tuple[int, int]] = set()
    unreadable: list[Unreadable] = []
    for done, path in enumerate(paths, start=1):
        try:
            image = read_image(path)
            inputs.append(network_input(crop(image, roi), size_px))
            sizes.add((image.shape[1], image.shape[0]))
        except DatasetError as error:
            unreadable.append(Unreadable(path, str(error)))
        except FrameFault as fault:
            raise DatasetError(f"{path}: {fault.detail}; choose another --roi or remove the picture") from None
        track("read pictures", done, len(paths))
    if len(unreadable) > MAX_UNREADABLE * len(paths):
        names = ", ".join(item.path.name for item in unreadable[:5])
        raise DatasetError(
            f"{paths[0].parent}: {len(unreadable)} of {len(paths)} pictures cannot be read ({names}"
            f"{', …' if len(unreadable) > 5 else ''}), more than {MAX_UNREADABLE:.0%}; mend or remove them"
        )
    empty = np.empty((0, size_px, size_px, 3), dtype=np.uint8)
    return Pictures(np.stack(inputs) if inputs else empty, sizes.pop() if len(sizes) == 1 else None, unreadable)


def calibration_scores(
    extractor: Extractor,
    memory: MemoryBank,
    inputs: NDArray[np.uint8],
    *,
    reweight_neighbours: int = REWEIGHT_NEIGHBOURS,
    track: Track = silent,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return image scores (n,) and largest map pixels (n,) of held-out good pictures."""
    scores, peaks = [], []
    size_px = inputs.shape[1]
    for done, batch in _batches(inputs):
        for score, distances in inspect(extractor, memory, batch, reweight_neighbours=reweight_neighbours):
            scores.append(score)
            peaks.append(anomaly_map(distances, (size_px, size_px), sigma_px(size_px)).max())
        track("calibrate", done, len(inputs))
    return np.array(scores, dtype=np.float64), np.array(peaks, dtype=np.float32)


def calibrated(
    scores: NDArray[np.float64], peaks: NDArray[np.float32], false_reject_rate: float
) -> tuple[Thresholds, list[str]]:
    """Return conformal thresholds, and a warning when there are too few pictures for the wanted rate."""
    needed = images_needed(false_reject_rate)
    guaranteed = guaranteed_rate(len(scores), false_reject_rate)
    warnings = []
    if len(scores) < needed:
        warnings.append(
            f"{len(scores)} held-out pictures guarantee a false-reject rate of {guaranteed:.2%}; "
            f"{false_reject_rate:.2%} needs {needed}: give more pictures or a larger --holdout"
        )
    thresholds = Thresholds(
        image=conformal_threshold(scores, false_reject_rate),
        pixel=conformal_threshold(peaks, false_reject_rate),
        false_reject_rate=false_reject_rate,
        guaranteed_rate=guaranteed,
    )
    return thresholds, warnings


def picture_hash(image: NDArray[np.uint8]) -> str:
    """Name a network input by its pixels."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()[:16]


def _features(extractor: Extractor, inputs: NDArray[np.uint8], track: Track) -> NDArray[np.float32]:
    parts = []
    for done, batch in _batches(inputs):
        parts.append(extractor(batch))
        track("extract features", done, len(inputs))
    return np.concatenate(parts)


def _batches(inputs: NDArray[np.uint8], size: int = 8) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (pictures done after this batch, batch)."""
    for begin in range(0, len(inputs), size):
        batch = inputs[begin : begin + size]
        yield begin + len(batch), batch


def _replace_thresholds(info: BundleInfo, thresholds: Thresholds) -> BundleInfo:
    import msgspec

    return msgspec.structs.replace(info, thresholds=thresholds)


def _versions() -> dict[str, str]:
    found = {}
    for package in (
        "patchline",
        "torch",
        "torchvision",
        "timm",
        "openvino",
        "faiss-cpu",
        "faiss-gpu",
        "numpy",
    ):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
