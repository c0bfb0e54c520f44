from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from support.labelled import write_defect
from support.pictures import good_picture, write_picture

from stream.core.errors import BundleError, DatasetError, PatchLineError
from stream.core.images import list_images, read_image
from stream.model.bundle import change_bundle, load_bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.inspector import inspect
from stream.model.patchcore.preprocess import network_input
from stream.model.patchcore.search import MemoryBank
from stream.training.evaluate import evaluate
from stream.training.evaluation_report import EvaluationReport
from stream.training.extend import with_threshold
from stream.training.fit import fit
from stream.training.fit_options import FitOptions
from stream.training.outcomes import Outcome

#: Relative. Each evaluation takes the search method that is quickest at that moment. Their distances differ in the last
#: bits, which swaps a few of 4e8 pairs of pixels: 1e-9 of the AUROC, 4e-9 of the AUPRO. One more image: above 1e-4.
ROUNDING = 1e-7


def changed_bundle(path: Path, target: Path, **changes: object) -> Path:
    change_bundle(path, target, **changes)
    return target


@pytest.fixture(scope="module")
def report(small_bundle: Path, untouched: Path) -> EvaluationReport:
    return evaluate(small_bundle, untouched)


def test_bright_squares_are_found_and_their_place_too(report: EvaluationReport) -> None:
    assert report.image_auroc is not None
    assert report.image_auroc > 0.95
    assert report.pixel_auroc is not None
    assert 0.97 < report.pixel_auroc < 1
    assert report.aupro is not None
    assert 0.9 < report.aupro < 1
    assert report.image_f1 is not None
    assert report.image_f1 > 0.9
    assert 0.1 < report.ms_per_image < 5_000
    counts = report.counts
    assert (counts.good, counts.defective, counts.refused, counts.marked) == (12, 10, 0, 10)
    assert (counts.in_bank, counts.calibration) == (0, 24)


def test_masks_in_the_wrong_place_spoil_the_pixel_metrics_only(
    small_bundle: Path, dataset: Path, report: EvaluationReport
) -> None:
    for path in (dataset / "ground_truth").rglob("*.png"):
        marks = cv2.imread(str(path))
        assert marks is not None
        cv2.imwrite(str(path), marks[:, ::-1])
    mirrored = evaluate(small_bundle, dataset)
    assert mirrored.image_auroc == report.image_auroc
    assert mirrored.pixel_auroc is not None
    assert mirrored.pixel_auroc < 0.7
    assert mirrored.aupro is not None
    assert report.aupro is not None
    assert mirrored.aupro < report.aupro / 2


def test_the_rates_are_those_of_a_batch_judged_without_evaluate(
    small_bundle: Path, untouched: Path, report: EvaluationReport
) -> None:
    bundle = load_bundle(small_bundle)
    extractor, memory = load_extractor(bundle.info.spec), MemoryBank(bundle.bank)
    scores = {}
    input_px = bundle.info.spec.input_px
    for kind in ("good", "left", "right"):
        inputs = np.stack(
            [network_input(read_image(path), input_px) for path in list_images(untouched / "test" / kind)]
        )
        judged = inspect(extractor, memory, inputs, bundle.scoring)
        scores[kind] = np.array([one.score for one in judged])
        assert report.types[kind].mean_score == pytest.approx(scores[kind].mean(), rel=1e-5)
        assert report.types[kind].pictures == len(judged)
    assert bundle.info.thresholds is not None
    threshold = bundle.info.thresholds.image
    assert report.false_reject_rate == np.mean(scores["good"] > threshold)
    assert report.types["good"].false_reject_rate == report.false_reject_rate
    assert report.types["left"].miss_rate == np.mean(scores["left"] <= threshold)
    pairs = scores["left"][:, None] > scores["good"][None]
    assert report.types["left"].image_auroc == pytest.approx(pairs.mean())
    assert report.types["good"].image_auroc is None


@pytest.mark.parametrize(("threshold", "false_rejects", "misses"), [(-1.0, 1.0, 0.0), (1e9, 0.0, 1.0)])
def test_a_useless_threshold_shows_in_the_rates_but_not_in_the_best_f1(
    small_bundle: Path,
    untouched: Path,
    report: EvaluationReport,
    tmp_path: Path,
    *,
    threshold: float,
    false_rejects: float,
    misses: float,
) -> None:
    thresholds = load_bundle(small_bundle).info.thresholds
    assert thresholds is not None
    useless = msgspec.structs.replace(thresholds, image=threshold)
    bundle = changed_bundle(small_bundle, tmp_path / "useless.safetensors", thresholds=useless)
    found = evaluate(bundle, untouched)
    assert (found.false_reject_rate, found.miss_rate) == (false_rejects, misses)
    assert found.image_f1_at_threshold == pytest.approx(2 * 10 / (2 * 10 + 12) if misses == 0 else 0)
    assert found.image_f1 == report.image_f1
    outside = [warning for warning in found.warnings if "not like those" in warning]
    assert bool(outside) == (false_rejects == 1.0)


def test_for_a_threshold_set_by_hand_calibration_predicts_nothing(
    small_bundle: Path, untouched: Path, report: EvaluationReport, tmp_path: Path
) -> None:
    with_threshold(small_bundle, tmp_path / "moved.safetensors", 1e6)
    found = evaluate(tmp_path / "moved.safetensors", untouched)
    assert report.false_reject_interval is not None
    assert (found.false_reject_interval, found.false_reject_rate, found.miss_rate) == (None, 0.0, 1.0)
    assert not any("as calibration predicts" in warning for warning in found.warnings)


def test_an_uncalibrated_bundle_has_no_rates_no_overlays_and_no_page(
    small_bundle: Path, untouched: Path, report: EvaluationReport, tmp_path: Path
) -> None:
    bundle = changed_bundle(small_bundle, tmp_path / "raw.safetensors", thresholds=None)
    found = evaluate(bundle, untouched)
    assert found.image_auroc == report.image_auroc
    assert found.types["left"].miss_rate is None
    for name in ("false_reject_rate", "false_reject_interval", "miss_rate", "image_f1_at_threshold"):
        assert getattr(found, name) is None
    with pytest.raises(BundleError, match="not calibrated"):
        evaluate(bundle, untouched, overlays=tmp_path / "overlays")
    with pytest.raises(BundleError, match="not calibrated"):
        evaluate(bundle, untouched, page=tmp_path / "page.html")


def test_pictures_and_masks_are_cut_to_the_region_of_the_bundle(
    small_bundle: Path, dataset: Path, tmp_path: Path
) -> None:
    shutil.rmtree(dataset / "test" / "left")
    shutil.rmtree(dataset / "ground_truth" / "left")
    bundle = changed_bundle(small_bundle, tmp_path / "roi.safetensors", roi=(70, 20, 90, 90))
    inside = evaluate(bundle, dataset)
    assert inside.pixel_auroc is not None
    assert inside.pixel_auroc > 0.9
    assert not any("mask" in warning for warning in inside.warnings)
    write_defect(dataset, "left", 200, (15, 10))
    warned = evaluate(bundle, dataset)
    assert warned.pixel_auroc == pytest.approx(inside.pixel_auroc, rel=ROUNDING)
    assert warned.counts.marked == 5
    assert any("nothing in the bundle's region" in warning for warning in warned.warnings)


def test_what_the_line_refuses_is_counted_by_type_and_reason_and_is_in_no_other_figure(
    small_bundle: Path, dataset: Path, report: EvaluationReport
) -> None:
    write_picture(dataset / "test" / "good" / "dark.png", good_picture(1) // 8)
    write_picture(dataset / "test" / "left" / "black.png", good_picture(1) // 50)
    write_picture(dataset / "test" / "right" / "small.png", good_picture(1, width_px=100, height_px=80))
    write_picture(dataset / "test" / "right" / "large.png", good_picture(1, width_px=300, height_px=200))
    found = evaluate(small_bundle, dataset)
    assert (found.counts.refused_good, found.counts.refused_defective) == (1, 3)
    assert {kind: one.refused for kind, one in found.types.items()} == {"good": 1, "left": 1, "right": 2}
    assert {kind: one.pictures for kind, one in found.types.items()} == {"good": 13, "left": 6, "right": 7}
    assert found.refused_reasons == {"wrong_geometry": 2, "too dark": 1, "black": 1}
    assert [image.path for image in found.outcomes[Outcome.REFUSED]] == [
        *("test/good/dark.png", "test/left/black.png", "test/right/large.png", "test/right/small.png"),
    ]
    for name in ("image_auroc", "pg2", "pb2", "image_f1", "false_reject_rate", "miss_rate", "pixel_auroc"):
        assert getattr(found, name) == pytest.approx(getattr(report, name), rel=ROUNDING)
    assert (found.counts.good, found.counts.defective) == (12, 10)


def test_every_image_has_an_outcome_that_fits_the_rates(report: EvaluationReport) -> None:
    assert report.thresholds is not None
    numbers = {outcome: len(images) for outcome, images in report.outcomes.items()}
    assert sum(numbers.values()) == 22
    assert report.miss_rate == numbers[Outcome.MISSED] / 10
    assert report.false_reject_rate == numbers[Outcome.FALSE_REJECT] / 12
    rejected = report.outcomes[Outcome.CAUGHT] + report.outcomes[Outcome.FALSE_REJECT]
    assert all(image.score is not None and image.score > report.thresholds.image for image in rejected)


@pytest.fixture(scope="module")
def split_bundle(good_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("split") / "split.safetensors"
    fit(good_folder, path, FitOptions(size_px=96, coreset=0.05, calibration="split"))
    return path


def test_calibrations_are_drawn_from_the_good_images_of_the_test(report: EvaluationReport) -> None:
    drawn = report.expected_misses
    assert drawn is not None
    assert (drawn.pool, drawn.drawn) == (12, 6), "as many as calibrate, but at most half"
    assert [one.rate for one in drawn.rates] == [0.01, 0.02, 0.05]
    # 6 images cannot keep less than 1/7: each of the others exceeds their highest score with that probability.
    assert all(one.false_rejects == pytest.approx(1 / 7, abs=0.04) for one in drawn.rates)


def test_calibrations_are_also_drawn_from_held_out_images_but_never_from_those_of_the_bank(
    split_bundle: Path, good_folder: Path, dataset: Path
) -> None:
    bundle = load_bundle(split_bundle)
    remembered, held_out = len(bundle.info.bank_pictures), len(bundle.calibration_scores)
    found = evaluate(split_bundle, dataset).expected_misses
    assert found is not None
    assert (found.pool, found.drawn) == (12 + held_out, held_out)
    for path in list_images(good_folder):
        shutil.copy(path, dataset / "test" / "good")
    report = evaluate(split_bundle, dataset)
    assert report.counts.in_bank == remembered
    assert report.expected_misses is not None
    assert report.expected_misses.pool == 12 + 24 - remembered + held_out


def test_without_masks_there_are_no_pixel_metrics(small_bundle: Path, dataset: Path, report: EvaluationReport) -> None:
    shutil.rmtree(dataset / "ground_truth")
    found = evaluate(small_bundle, dataset)
    assert (found.pixel_auroc, found.aupro) == (None, None)
    assert (found.image_auroc, found.counts.marked) == (report.image_auroc, 0)
    assert found.warnings == report.warnings


def test_a_defect_without_a_mask_stays_out_of_the_pixel_metrics(
    small_bundle: Path, dataset: Path, report: EvaluationReport
) -> None:
    for i in range(5):
        write_defect(dataset, "unmasked", 400 + i, (60, 40), truth=False)
    found = evaluate(small_bundle, dataset)
    assert (found.pixel_auroc, found.aupro) == pytest.approx((report.pixel_auroc, report.aupro), rel=ROUNDING)
    assert found.counts.defective == 15
    assert any("without ground truth, whose pixels do not count: 5" in warning for warning in found.warnings)


def test_good_pictures_count_in_the_pixel_metrics(small_bundle: Path, dataset: Path, report: EvaluationReport) -> None:
    for seed in range(400, 408):
        picture = good_picture(seed)
        picture[20:70, 20:70] = 255
        write_picture(dataset / "test" / "good" / f"{seed}.png", picture)
    found = evaluate(small_bundle, dataset)
    assert found.pixel_auroc is not None
    assert report.pixel_auroc is not None
    assert found.counts.refused == 0
    assert found.pixel_auroc < report.pixel_auroc - 0.02


def test_without_defects_only_the_false_rejects_are_measured(small_bundle: Path, dataset: Path) -> None:
    shutil.rmtree(dataset / "test" / "left")
    shutil.rmtree(dataset / "test" / "right")
    found = evaluate(small_bundle, dataset)
    for name in ("image_auroc", "pg2", "pb2", "pixel_auroc", "aupro", "image_f1", "miss_rate", "expected_misses"):
        assert getattr(found, name) is None
    assert found.false_reject_rate is not None
    assert found.false_reject_interval is not None


def test_pictures_that_the_bank_remembers_are_warned_of(small_bundle: Path, good_folder: Path, dataset: Path) -> None:
    shutil.copytree(good_folder, dataset / "test" / "good", dirs_exist_ok=True)
    found = evaluate(small_bundle, dataset)
    assert found.counts.in_bank == len(load_bundle(small_bundle).info.bank_pictures)
    assert any("memory bank" in warning for warning in found.warnings)


def test_outputs_that_cannot_be_written_are_refused_before_the_inspection(
    small_bundle: Path, untouched: Path, tmp_path: Path
) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "mine.txt").write_text("keep")
    stages: list[str] = []
    for outputs in ({"overlays": used}, {"page": used}):
        with pytest.raises(PatchLineError, match=str(used)):
            evaluate(small_bundle, untouched, track=lambda stage, _done, _total: stages.append(stage), **outputs)
    assert stages == []
    assert [path.name for path in used.iterdir()] == ["mine.txt"]


def test_a_refused_evaluation_leaves_nothing_behind(small_bundle: Path, dataset: Path, tmp_path: Path) -> None:
    shutil.rmtree(dataset / "test" / "good")
    with pytest.raises(DatasetError):
        evaluate(small_bundle, dataset, overlays=tmp_path / "out" / "overlays", page=tmp_path / "out" / "page.html")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kinds", [("good",), ("left", "right")])
def test_a_class_that_the_line_refuses_as_a_whole_has_no_figures_but_a_page(
    small_bundle: Path, dataset: Path, tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    for kind in kinds:
        for path in list_images(dataset / "test" / kind):
            write_picture(path, good_picture(1) // 8)
    found = evaluate(small_bundle, dataset, page=tmp_path / "page.html", overlays=tmp_path / "overlays")
    for name in ("image_auroc", "pg2", "pb2", "image_f1"):
        assert getattr(found, name) is None
    assert (found.false_reject_rate is None) == ("good" in kinds)
    assert (found.miss_rate is None) == ("left" in kinds)
    assert f"{found.counts.refused} too dark" in (tmp_path / "page.html").read_text()
    assert len(list((tmp_path / "overlays" / "refused").iterdir())) == found.counts.refused
