"""How well a bundle separates good from defective images, as the line would inspect them.

`test_set` reads the images and their ground truth, `image_figures` and `calibration_draws` compute the figures of the
image scores, `outcomes` sorts the images by what became of them, `outcome_overlays` draws them, `evaluation_page` shows
all.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.core.errors import BundleError
from stream.core.files import check_destination, check_new_folder
from stream.core.spots import Ruling
from stream.core.statistics import auroc
from stream.core.versions import library_versions
from stream.line.rules import RuledStation, rules_of
from stream.model.bundle import Bundle, load_bundle
from stream.model.extractor import Device, load_extractor
from stream.model.patchcore.inspector import Inspection
from stream.model.patchcore.pro import aupro
from stream.model.patchcore.rules import NO_RULES
from stream.model.patchcore.score import anomaly_map, sigma_px
from stream.model.station_model import StationModel, build_memory_bank, inspect_batch
from stream.training.calibration_draws import expected_misses
from stream.training.dataset import network_input_hash
from stream.training.evaluation_page import write_page
from stream.training.evaluation_report import DrawnCalibrations, EvaluationCounts, EvaluationReport, TypeReport
from stream.training.ground_truth import GOOD
from stream.training.image_figures import best_f1, f1_at, false_reject_interval, presorted_bad, presorted_good
from stream.training.outcome_overlays import PixelMaps, draw_outcomes
from stream.training.outcomes import outcomes_of
from stream.training.progress import Track, silent
from stream.training.rule_effect import effect_of
from stream.training.test_set import LabelledImage, LabelledSet, read_test_set

#: False-reject rates for which the misses to expect are reported.
RATES = (0.01, 0.02, 0.05)
Scores = NDArray[np.float64]


def evaluate(
    bundle_path: Path,
    dataset: Path,
    *,
    overlays: Path | None = None,
    page: Path | None = None,
    rules: RuledStation | None = None,
    device: Device = "auto",
    track: Track = silent,
) -> EvaluationReport:
    """Inspect the test images of a dataset with a bundle.

    Pixel metrics sort all map pixels: about 70 bytes of memory each, 3.5 GB for 1,000 images at 224 px.

    Args:
        bundle_path: the bundle; without thresholds the rates are None.
        dataset: folder in MVTec AD's layout; defect types and ground truth are optional.
        overlays: a new or empty folder for one overlay of each image, DIR/<outcome>/<rank>_<type>_NAME.png; it
            appears as a whole, at the end.
        page: an HTML file for the figures, charts and images; an older one is replaced.
        rules: a station whose rules on spots are tried.
        device: where the backbone runs.
        track: progress.

    Raises:
        DatasetError: no `test/good`, ground truth that cannot be used, more than 5 % unreadable, no image that the line
            would inspect.
        DiskError: the overlays or the page cannot be written, found out at once, or the folder of overlays is in use.
        BundleError, WeightsError, ConfigError: the bundle, a rule or an option cannot be used here.
    """
    bundle = load_bundle(bundle_path)
    drawn = overlays is not None or page is not None
    if bundle.info.thresholds is None and (drawn or rules is not None):
        raise BundleError(
            f"{bundle_path}: not calibrated, so there are no verdicts to {'draw' if drawn else 'compare'}; "
            f"run `patchline calibrate {bundle_path} GOOD_DIR` first"
        )
    _check_outputs(overlays, page)
    by = NO_RULES if rules is None else rules_of(rules.name, rules.station, bundle.info)
    test_set = read_test_set(dataset, bundle.info, track)
    track("load backbone", 0, 1)
    extractor = load_extractor(bundle.info.spec, device=device, graph=bundle.graph)
    track("load backbone", 1, 1)
    model = StationModel(bundle, extractor, build_memory_bank(bundle, extractor), bundle.info.spec.key, True, by)
    inspections, ms_per_image = _inspect(model, test_set.images, track)
    scores = np.array([inspection.score for inspection in inspections])
    pixels = _pixel_figures(test_set.images, inspections, bundle.info.filled, track)
    rulings = None
    if bundle.info.thresholds is not None:
        judged = zip(test_set.images, inspections, strict=True)
        rulings = [model.judge(inspection, image.region_px) for image, inspection in judged]
    report = _report(bundle_path, bundle, extractor.device, dataset, test_set, scores, rulings, pixels, ms_per_image)
    if rules is not None and rulings is not None and report.thresholds is not None:
        effect = effect_of(rules.source, dataset, test_set.images, scores, rulings, report.thresholds.image)
        report = msgspec.structs.replace(report, rules=effect)
    if overlays is not None or page is not None:
        maps = {i.path: PixelMaps(one.distances, i.marked) for i, one in zip(test_set.images, inspections, strict=True)}
        for_page = page is not None
        pictures = draw_outcomes(
            report.outcomes, dataset, bundle.info, maps, overlays=overlays, for_page=for_page, track=track
        )
        if page is not None:
            write_page(report, pictures, page)
    return report


def _check_outputs(overlays: Path | None, page: Path | None) -> None:
    if overlays is not None:
        check_new_folder(overlays, "a set of overlays")
    if page is not None:
        check_destination(page, stream=True)


def _inspect(model: StationModel, images: list[LabelledImage], track: Track) -> tuple[list[Inspection], float]:
    """Inspect one image at a time, as a worker does; also return the median time of one in ms."""
    # The first pass allocates and compiles, which says nothing about the line's speed.
    list(inspect_batch([model], images[0].pixels[None]))
    inspections, seconds = [], []
    for done, image in enumerate(images, start=1):
        begun_s = time.perf_counter()
        inspections += [part.inspection for part in inspect_batch([model], image.pixels[None])]
        seconds.append(image.preprocess_s + time.perf_counter() - begun_s)
        track("inspect", done, len(images))
    return inspections, float(np.median(seconds) * 1000)


def _report(
    bundle_path: Path,
    bundle: Bundle,
    device: str,
    dataset: Path,
    test_set: LabelledSet,
    scores: Scores,
    rulings: list[Ruling] | None,
    pixels: tuple[float | None, float | None],
    ms_per_image: float,
) -> EvaluationReport:
    images, thresholds, all_scores = test_set.images, bundle.info.thresholds, scores
    images, scores = [image for image in images if not image.under_masks], scores[test_set.counted]
    remembered = set(bundle.info.bank_pictures)
    in_bank = np.array([network_input_hash(image.pixels) in remembered for image in images], np.bool_)
    defective = np.array([image.kind != GOOD for image in images], np.bool_)
    good, bad = scores[~defective], scores[defective]
    rejected = None if thresholds is None else scores > thresholds.image
    counts = EvaluationCounts(
        good=len(good),
        defective=len(bad),
        refused_good=sum(image.kind == GOOD for image in test_set.refused),
        refused_defective=sum(image.kind != GOOD for image in test_set.refused),
        under_masks=len(test_set.images) - len(images),
        marked=sum(image.marked is not None for image in images),
        in_bank=int(in_bank.sum()),
        calibration=len(bundle.calibration_scores),
    )
    false_reject_rate = None if rejected is None else _mean(rejected[~defective])
    interval = None
    if thresholds is not None and not thresholds.by_hand and len(good):
        interval = false_reject_interval(counts.calibration, len(good), thresholds.false_reject_rate)
    return EvaluationReport(
        image_auroc=auroc(defective, scores),
        pixel_auroc=pixels[0],
        aupro=pixels[1],
        pg2=presorted_good(good, bad),
        pb2=presorted_bad(good, bad),
        image_f1=best_f1(defective, scores),
        image_f1_at_threshold=None if rejected is None else f1_at(defective, rejected),
        false_reject_rate=false_reject_rate,
        false_reject_interval=interval,
        miss_rate=None if rejected is None else _mean(~rejected[defective]),
        ms_per_image=ms_per_image,
        expected_misses=_expected_misses(bundle, scores[~defective & ~in_bank], bad),
        counts=counts,
        types=_types(test_set, images, scores, rejected),
        refused_reasons=dict(Counter(image.reason for image in test_set.refused).most_common()),
        outcomes=outcomes_of(dataset, test_set, all_scores, rulings),
        unreadable=[path.relative_to(dataset).as_posix() for path in test_set.unreadable],
        warnings=test_set.warnings + _warnings(counts, false_reject_rate, interval),
        rules=None,
        thresholds=thresholds,
        dataset=str(dataset),
        bundle=str(bundle_path),
        bundle_sha256=bundle.sha256,
        device=device,
        versions=library_versions("scikit-learn", "scipy"),
    )


def _expected_misses(bundle: Bundle, good: Scores, defective: Scores) -> DrawnCalibrations | None:
    """Draw calibrations from all good scores that this bank gave to images which it does not remember.

    These are the test's, and those of a split calibration; out-of-fold scores are other banks', often higher. A draw is
    as large as the bundle's calibration, but at most half of the pool, so that the false rejects are measured with as
    many images as set the threshold.
    """
    pool = good if bundle.info.cross else np.concatenate([good, bundle.calibration_scores])
    count = min(len(bundle.calibration_scores) or len(pool), len(pool) // 2)
    if not count or not len(defective):
        return None
    return DrawnCalibrations(len(pool), count, expected_misses(pool, defective, RATES, calibration_count=count))


def _types(
    test_set: LabelledSet, images: list[LabelledImage], scores: Scores, rejected: NDArray[np.bool_] | None
) -> dict[str, TypeReport]:
    kinds = np.array([image.kind for image in images], np.str_)
    refused = Counter(image.kind for image in test_set.refused)
    under_masks = Counter(image.kind for image in test_set.images if image.under_masks)
    types = {}
    for kind in sorted({*kinds.tolist(), *refused, *under_masks}):
        rows, beside_good = kinds == kind, (kinds == kind) | (kinds == GOOD)
        reject_rate = None if rejected is None else _mean(rejected[rows])
        types[kind] = TypeReport(
            pictures=int(rows.sum()) + refused[kind] + under_masks[kind],
            refused=refused[kind],
            under_masks=under_masks[kind],
            mean_score=_mean(scores[rows]),
            false_reject_rate=reject_rate if kind == GOOD else None,
            miss_rate=None if kind == GOOD or reject_rate is None else 1 - reject_rate,
            image_auroc=None if kind == GOOD else auroc(rows[beside_good], scores[beside_good]),
        )
    return types


def _mean(values: NDArray[np.generic]) -> float | None:
    return float(np.mean(values.astype(np.float64))) if len(values) else None


def _pixel_figures(
    images: list[LabelledImage],
    inspections: list[Inspection],
    filled: NDArray[np.bool_] | None,
    track: Track,
) -> tuple[float | None, float | None]:
    """Return pixel AUROC and AUPRO over the pixels that are judged, of the good images and those with ground truth."""
    maps: list[NDArray[np.float32]] = []
    truths: list[NDArray[np.bool_]] = []
    if any(image.marked is not None for image in images):
        for image, inspection in zip(images, inspections, strict=True):
            if image.kind == GOOD or image.marked is not None:
                height_px, width_px, _ = image.pixels.shape
                shape = (height_px, width_px)
                distances = inspection.distances
                maps.append(anomaly_map(distances, shape, sigma_px(shape, distances.shape)))
                truths.append(np.zeros(shape, np.bool_) if image.marked is None else image.marked)
    judged = None if filled is None else ~filled
    labels = [truth.ravel() if judged is None else truth[judged] for truth in truths]
    if not labels or all(label.all() for label in labels):
        return None, None
    track("measure pixels", 0, 2)
    values = [pixels.ravel() if judged is None else pixels[judged] for pixels in maps]
    area = auroc(np.concatenate(labels), np.concatenate(values))
    track("measure pixels", 1, 2)
    pro = aupro(maps, truths, judged=judged)
    track("measure pixels", 2, 2)
    return area, pro


def _warnings(
    counts: EvaluationCounts, false_reject_rate: float | None, interval: tuple[float, float] | None
) -> list[str]:
    warnings = []
    if counts.in_bank:
        warnings.append(
            f"test images that the bundle's memory bank was made of, which makes the figures too good: {counts.in_bank}"
        )
    unmarked = counts.defective - counts.marked
    if counts.marked and unmarked:
        warnings.append(f"defective images without ground truth, whose pixels do not count: {unmarked}")
    if counts.under_masks:
        warnings.append(
            "images whose defect lies under the bundle's masks only, which count neither as missed nor as caught: "
            f"{counts.under_masks}"
        )
    if false_reject_rate is not None and interval is not None and not interval[0] <= false_reject_rate <= interval[1]:
        warnings.append(
            f"the false-reject rate {false_reject_rate:.2%} lies outside {interval[0]:.2%} to {interval[1]:.2%}, "
            "as calibration predicts: the test images are not like those it was calibrated with"
        )
    return warnings
