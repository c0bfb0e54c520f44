"""How well a bundle separates good from defective images: a folder in MVTec AD's layout in, a report out.

The layout: `test/good/`, `test/<defect type>/` and, optionally, `ground_truth/<defect type>/NAME_mask.png`.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.core.errors import BundleError, DatasetError, DiskError, FrameFault
from stream.core.images import list_images, read_image
from stream.core.statistics import auroc
from stream.core.verdict import verdict_of
from stream.core.versions import library_versions
from stream.model.bundle import Bundle, BundleInfo, load_bundle
from stream.model.extractor import Device, load_extractor
from stream.model.patchcore.inspector import Extractor, Inspection, inspect
from stream.model.patchcore.preprocess import crop, network_input
from stream.model.patchcore.pro import aupro
from stream.model.patchcore.score import anomaly_map, sigma_px
from stream.model.patchcore.search import MemoryBank, quickest_search
from stream.model.visualization import draw
from stream.training.dataset import MAX_UNREADABLE, network_input_hash
from stream.training.evaluation_report import EvaluationCounts, EvaluationReport, TypeReport
from stream.training.progress import Track, silent

#: The folder of good images in `test/`; every other folder is a type of defect.
GOOD = "good"


@dataclass(frozen=True)
class _TestImage:
    """A readable test image: `pixels` (H, W, 3) uint8 RGB, `mask` (H, W) bool, or None without a mask."""

    kind: str
    path: Path
    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None
    preprocess_s: float

    @property
    def marked(self) -> bool:
        return self.mask is not None and bool(self.mask.any())


def evaluate(
    bundle_path: Path,
    dataset: Path,
    *,
    overlays: Path | None = None,
    device: Device = "auto",
    track: Track = silent,
) -> EvaluationReport:
    """Inspect the test images of a dataset with a bundle.

    Pixel metrics sort all map pixels: about 70 bytes of memory each, 3.5 GB for 1,000 images at 224 px.

    Args:
        bundle_path: the bundle; without thresholds the rates are None.
        dataset: folder in MVTec AD's layout; defect types and masks are optional.
        overlays: a new or empty folder for one overlay of each image, DIR/<type>/NAME.png; it appears
            as a whole, at the end.
        device: where the backbone runs.
        track: progress.

    Raises:
        DatasetError: no `test/good`, an image smaller than the bundle's region, a mask of another size
            than its image or without a marked pixel, more than 5 % unreadable, `overlays` in use.
        DiskError: the overlays cannot be written.
        BundleError, WeightsError, ConfigError: the bundle cannot be used here.
    """
    bundle = load_bundle(bundle_path)
    if overlays is not None:
        _check_overlays(overlays, bundle_path, bundle.info)
    images, unreadable = _read(dataset, bundle.info, track)
    track("load backbone", 0, 1)
    extractor = load_extractor(bundle.info.spec, device=device, graph=bundle.graph)
    track("load backbone", 1, 1)
    inspections, ms_per_image = _inspect(extractor, bundle, images, track)

    thresholds = bundle.info.thresholds
    scores = np.array([inspection.score for inspection in inspections])
    defective = np.array([image.kind != GOOD for image in images])
    # 1 for a reject, 0 for a pass, NaN without a threshold: _share turns that into None.
    rejected = np.full(len(scores), np.nan)
    if thresholds is not None:
        rejected[:] = scores > thresholds.image
    best_f1, f1_at_threshold = _f1(defective, scores, rejected)
    pixel_auroc, pro = _pixel_metrics(images, inspections, track)
    counts = _counts(bundle, images)
    interval = None
    if thresholds is not None and not thresholds.by_hand and counts.good:
        interval = false_reject_interval(counts.calibration, counts.good, thresholds.false_reject_rate)
    false_rejects = _share(rejected[~defective])
    report = EvaluationReport(
        image_auroc=auroc(defective, scores),
        pixel_auroc=pixel_auroc,
        aupro=pro,
        image_f1=best_f1,
        image_f1_at_threshold=f1_at_threshold,
        false_reject_rate=false_rejects,
        false_reject_interval=interval,
        miss_rate=_share(1 - rejected[defective]),
        ms_per_image=ms_per_image,
        counts=counts,
        types=_types(images, scores, rejected),
        unreadable=[path.relative_to(dataset).as_posix() for path in unreadable],
        warnings=_warnings(images, counts, false_rejects, interval),
        thresholds=thresholds,
        dataset=str(dataset),
        bundle=str(bundle_path),
        bundle_sha256=bundle.sha256,
        device=extractor.device,
        versions=library_versions("scikit-learn", "scipy"),
    )
    if overlays is not None:
        _write_overlays(overlays, bundle.info, images, inspections, track)
    return report


def false_reject_interval(calibration_count: int, test_count: int, rate: float) -> tuple[float, float]:
    """Return the 95 % interval of the false-reject rate that new good images would show.

    With the k-th smallest of n calibration scores as threshold, k = ⌈(n+1)(1−α)⌉ but at most n, the
    number of false rejects among m exchangeable images is BetaBinomial(m, n+1−k, k), whatever the
    distribution of the scores (Angelopoulos & Bates, arXiv 2107.07511, section 3.3; Vovk, ACML 2012).
    Equal scores can only make false rejects rarer.

    Args:
        calibration_count: n ≥ 1.
        test_count: m ≥ 1.
        rate: wanted α, in (0, 1).

    Returns:
        The 2.5 % and 97.5 % quantiles as shares of m.
    """
    from scipy.stats import betabinom

    rank = math.ceil((calibration_count + 1) * (1 - rate) - 1e-9)
    k = min(max(rank, 1), calibration_count)
    low, high = betabinom.ppf([0.025, 0.975], test_count, calibration_count + 1 - k, k) / test_count
    return float(low), float(high)


def _read(dataset: Path, info: BundleInfo, track: Track) -> tuple[list[_TestImage], list[Path]]:
    """Read and preprocess all test images and their masks; also return the damaged files."""
    paths = [(kind, path) for kind, files in _test_folders(dataset).items() for path in files]
    images: list[_TestImage] = []
    unreadable: list[Path] = []
    for done, (kind, path) in enumerate(paths, start=1):
        mask_path = dataset / "ground_truth" / kind / f"{path.stem}_mask.png"
        reading = path
        try:
            image = read_image(path)
            reading = mask_path
            marks = read_image(mask_path) if kind != GOOD and mask_path.exists() else None
        except DatasetError:
            unreadable.append(reading)
        else:
            if marks is not None:
                _check_mask(mask_path, marks, path, image)
            try:
                started = time.perf_counter()
                pixels = network_input(crop(image, info.roi), info.spec.input_px)
                preprocess_s = time.perf_counter() - started
            except FrameFault as fault:
                raise DatasetError(f"{path}: {fault.detail}; use a bundle fitted for such images") from None
            mask = None if marks is None else _mask(marks, info)
            images.append(_TestImage(kind, path, pixels, mask, preprocess_s))
        track("read images", done, len(paths))
    if len(unreadable) > MAX_UNREADABLE * len(paths):
        names = ", ".join(path.relative_to(dataset).as_posix() for path in unreadable[:5])
        raise DatasetError(
            f"{dataset}: {len(unreadable)} of {len(paths)} test images cannot be read ({names}"
            f"{', …' if len(unreadable) > 5 else ''}), more than {MAX_UNREADABLE:.0%}; mend or remove them"
        )
    return images, unreadable


def _test_folders(dataset: Path) -> dict[str, list[Path]]:
    layout = "evaluation needs test/good and test/<defect type>, as in MVTec AD"
    for folder in (dataset, dataset / "test", dataset / "test" / GOOD):
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder; {layout}")
    folders = sorted(f for f in (dataset / "test").iterdir() if f.is_dir() and not f.name.startswith("."))
    return {folder.name: list_images(folder) for folder in folders}


def _check_mask(mask_path: Path, marks: NDArray[np.uint8], path: Path, image: NDArray[np.uint8]) -> None:
    if marks.shape != image.shape:
        raise DatasetError(
            f"{mask_path}: {marks.shape[1]}×{marks.shape[0]} px, but its image {path} is "
            f"{image.shape[1]}×{image.shape[0]} px; make the mask again at the image's size"
        )
    if not marks.any():
        raise DatasetError(f"{mask_path}: marks no pixel; mark the defect, or remove the mask")


def _mask(marks: NDArray[np.uint8], info: BundleInfo) -> NDArray[np.bool_]:
    """Crop and resize a mask like its image, (H, W, 3) → bool of the input's size; each pixel is that at its centre."""
    region = np.ascontiguousarray(crop(marks, info.roi).max(axis=2))
    # Plain INTER_NEAREST samples the pixel's corner, half a pixel off what network_input shows there.
    return np.asarray(cv2.resize(region, info.spec.input_px, interpolation=cv2.INTER_NEAREST_EXACT) > 0)


def _inspect(
    extractor: Extractor, bundle: Bundle, images: list[_TestImage], track: Track
) -> tuple[list[Inspection], float]:
    """Inspect one image at a time; also return the median time of one in ms."""
    patches = bundle.info.grid[0] * bundle.info.grid[1]
    memory = MemoryBank(
        bundle.bank, quickest_search(bundle.bank, patches, device=extractor.device, lanes=extractor.lanes)
    )
    scoring = bundle.scoring
    # The first pass allocates and compiles, which says nothing about the line's speed.
    inspect(extractor, memory, images[0].pixels[None], scoring)
    inspections, seconds = [], []
    for done, image in enumerate(images, start=1):
        started = time.perf_counter()
        inspections += inspect(extractor, memory, image.pixels[None], scoring)
        seconds.append(image.preprocess_s + time.perf_counter() - started)
        track("inspect", done, len(images))
    return inspections, float(np.median(seconds) * 1000)


def _f1(
    defective: NDArray[np.bool_], scores: NDArray[np.float64], rejected: NDArray[np.float64]
) -> tuple[float | None, float | None]:
    """Return the best F1 of all thresholds, and that of the verdicts."""
    from sklearn.metrics import f1_score, precision_recall_curve

    if not defective.any() or defective.all():
        return None, None
    precision, recall, _ = precision_recall_curve(defective, scores)
    # Without a true positive both are 0, and so is F1.
    best = (2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)).max()
    if np.isnan(rejected).any():
        return float(best), None
    return float(best), float(f1_score(defective, rejected > 0, zero_division=0))


def _share(values: NDArray[np.float64]) -> float | None:
    return None if not len(values) or np.isnan(values).any() else float(values.mean())


def _pixel_metrics(
    images: list[_TestImage], inspections: list[Inspection], track: Track
) -> tuple[float | None, float | None]:
    """Return pixel AUROC and AUPRO over the good images and those whose mask marks a pixel."""
    maps: list[NDArray[np.float32]] = []
    masks: list[NDArray[np.bool_]] = []
    if any(image.marked for image in images):
        for image, inspection in zip(images, inspections, strict=True):
            shape = image.pixels.shape[:2]
            if image.kind == GOOD or image.marked:
                maps.append(anomaly_map(inspection.distances, shape, sigma_px(min(shape))))
                masks.append(np.zeros(shape, np.bool_) if image.mask is None else image.mask)
    if not masks or all(mask.all() for mask in masks):
        return None, None
    track("measure pixels", 0, 2)
    area = auroc(np.concatenate(masks).ravel(), np.concatenate(maps).ravel())
    track("measure pixels", 1, 2)
    pro = aupro(maps, masks)
    track("measure pixels", 2, 2)
    return area, pro


def _types(
    images: list[_TestImage], scores: NDArray[np.float64], rejected: NDArray[np.float64]
) -> dict[str, TypeReport]:
    kinds = np.array([image.kind for image in images])
    types = {}
    for kind in dict.fromkeys(kinds.tolist()):
        rows = kinds == kind
        beside_good = rows | (kinds == GOOD)
        types[kind] = TypeReport(
            pictures=int(rows.sum()),
            mean_score=float(scores[rows].mean()),
            false_reject_rate=_share(rejected[rows]) if kind == GOOD else None,
            miss_rate=None if kind == GOOD else _share(1 - rejected[rows]),
            image_auroc=None if kind == GOOD else auroc(rows[beside_good], scores[beside_good]),
        )
    return types


def _counts(bundle: Bundle, images: list[_TestImage]) -> EvaluationCounts:
    in_bank = set(bundle.info.bank_pictures)
    good = sum(image.kind == GOOD for image in images)
    return EvaluationCounts(
        good=good,
        defective=len(images) - good,
        masked=sum(image.marked for image in images),
        in_bank=sum(network_input_hash(image.pixels) in in_bank for image in images),
        calibration=len(bundle.calibration_scores),
    )


def _warnings(
    images: list[_TestImage],
    counts: EvaluationCounts,
    false_rejects: float | None,
    interval: tuple[float, float] | None,
) -> list[str]:
    warnings = []
    if counts.in_bank:
        warnings.append(
            f"{counts.in_bank} test images are in the bundle's memory bank, where they score 0: "
            "the figures are too good"
        )
    empty = [image.path for image in images if image.mask is not None and not image.marked]
    if empty:
        warnings.append(
            f"{len(empty)} masks mark nothing that the bundle sees: outside its region, or too small "
            f"(first: that of {empty[0]}); their pixels do not count"
        )
    unmasked = counts.defective - counts.masked - len(empty)
    if counts.masked and unmasked:
        warnings.append(f"{unmasked} defective images have no mask; their pixels do not count")
    if false_rejects is not None and interval is not None and not interval[0] <= false_rejects <= interval[1]:
        warnings.append(
            f"the false-reject rate {false_rejects:.2%} lies outside {interval[0]:.2%} to {interval[1]:.2%}, "
            "as calibration predicts: the test images are not like those it was calibrated with"
        )
    return warnings


def _check_overlays(overlays: Path, bundle_path: Path, info: BundleInfo) -> None:
    if info.thresholds is None:
        raise BundleError(
            f"{bundle_path}: not calibrated, so there are no verdicts to draw; "
            f"run `patchline calibrate {bundle_path} GOOD_DIR` first"
        )
    if overlays.exists() and (not overlays.is_dir() or any(overlays.iterdir())):
        raise DatasetError(f"{overlays}: overlays need a new or empty folder; name another or clear this one")


def _write_overlays(
    overlays: Path, info: BundleInfo, images: list[_TestImage], inspections: list[Inspection], track: Track
) -> None:
    """Draw all images into a folder beside `overlays` that then takes its place."""
    assert info.thresholds is not None
    stems = Counter((image.kind, image.path.stem) for image in images)
    try:
        overlays.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=overlays.parent, prefix=f".{overlays.name}.") as scratch:
            partial = Path(scratch, "overlays")
            for done, (image, inspection) in enumerate(zip(images, inspections, strict=True), start=1):
                drawn = draw(
                    crop(read_image(image.path), info.roi),
                    inspection.distances,
                    verdict=verdict_of(inspection.score, info.thresholds.image),
                    score=inspection.score,
                    threshold=info.thresholds.image,
                    pixel_threshold=info.thresholds.pixel,
                    title=f"{image.kind}/{image.path.name}",
                    cause=None,
                )
                # a.png and a.jpg of one folder must not overwrite each other.
                unique = stems[image.kind, image.path.stem] == 1
                target = partial / image.kind / f"{image.path.stem if unique else image.path.name}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(cv2.imencode(".png", drawn)[1].tobytes())
                track("draw overlays", done, len(images))
            partial.replace(overlays)
    except OSError as error:
        raise DiskError(f"{overlays}: overlays cannot be written: {error.strerror}") from None
