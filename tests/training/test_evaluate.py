from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from support.pictures import HEIGHT_PX, WIDTH_PX, good_picture, write_picture

from stream.core.errors import BundleError, DatasetError, DiskError
from stream.core.images import list_images, read_image
from stream.core.verdict import Verdict
from stream.model.bundle import change_bundle, load_bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.calibrate import conformal_threshold
from stream.model.patchcore.inspector import inspect
from stream.model.patchcore.preprocess import network_input
from stream.model.patchcore.search import MemoryBank
from stream.training.evaluate import evaluate, false_reject_interval
from stream.training.evaluation_report import EvaluationReport, report_table, write_report
from stream.training.extend import with_threshold

SQUARE_PX = 20
#: Relative. Each evaluation takes the search method that is quickest at that moment. Their distances differ in the last
#: bits, which swaps a few of 4e8 pairs of pixels: 1e-9 of the AUROC, 4e-9 of the AUPRO. One more image: above 1e-4.
ROUNDING = 1e-7


def write_defect(dataset: Path, kind: str, seed: int, at: tuple[int, int], *, mask: bool = True) -> Path:
    """A good picture with a bright square, upper left corner `at` (x, y), and its mask."""
    x, y = at
    picture, marks = good_picture(seed), np.zeros((HEIGHT_PX, WIDTH_PX), dtype=np.uint8)
    picture[y : y + SQUARE_PX, x : x + SQUARE_PX] = 255
    marks[y : y + SQUARE_PX, x : x + SQUARE_PX] = 255
    (dataset / "test" / kind).mkdir(parents=True, exist_ok=True)
    (dataset / "ground_truth" / kind).mkdir(parents=True, exist_ok=True)
    if mask:
        cv2.imwrite(str(dataset / "ground_truth" / kind / f"{seed}_mask.png"), marks)
    return write_picture(dataset / "test" / kind / f"{seed}.png", picture)


def changed_bundle(path: Path, target: Path, **changes: object) -> Path:
    change_bundle(path, target, **changes)
    return target


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 good pictures, 5 squares at the left and 5 at the right, all masked."""
    folder = tmp_path_factory.mktemp("evaluation") / "dataset"
    (folder / "test" / "good").mkdir(parents=True)
    for seed in range(100, 112):
        write_picture(folder / "test" / "good" / f"{seed}.png", good_picture(seed))
    for i in range(5):
        write_defect(folder, "left", 200 + i, (15 + 4 * i, 10 + 8 * i))
        write_defect(folder, "right", 300 + i, (100 + 6 * i, 70 - 5 * i))
    return folder


@pytest.fixture
def dataset(untouched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untouched, tmp_path / "dataset"))


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
    assert (counts.good, counts.defective, counts.masked, counts.in_bank, counts.calibration) == (
        12,
        10,
        10,
        0,
        24,
    )


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


def test_an_uncalibrated_bundle_has_no_rates_and_no_overlays(
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


def test_pictures_and_masks_are_cut_to_the_region_of_the_bundle(
    small_bundle: Path, dataset: Path, tmp_path: Path
) -> None:
    shutil.rmtree(dataset / "test" / "left")
    bundle = changed_bundle(small_bundle, tmp_path / "roi.safetensors", roi=(70, 20, 90, 90))
    inside = evaluate(bundle, dataset)
    assert inside.pixel_auroc is not None
    assert inside.pixel_auroc > 0.9
    assert not any("masks" in warning for warning in inside.warnings)
    outside = write_defect(dataset, "left", 200, (15, 10))
    warned = evaluate(bundle, dataset)
    assert warned.pixel_auroc == pytest.approx(inside.pixel_auroc, rel=ROUNDING)
    assert warned.counts.masked == 5
    assert any("1 masks mark nothing" in warning and str(outside) in warning for warning in warned.warnings)
    write_picture(dataset / "test" / "good" / "small.png", good_picture(1, width_px=100, height_px=80))
    with pytest.raises(DatasetError, match=r"test/good/small\.png: the picture is 100×80 px"):
        evaluate(bundle, dataset)


def test_without_masks_there_are_no_pixel_metrics(small_bundle: Path, dataset: Path, report: EvaluationReport) -> None:
    shutil.rmtree(dataset / "ground_truth")
    found = evaluate(small_bundle, dataset)
    assert (found.pixel_auroc, found.aupro) == (None, None)
    assert (found.image_auroc, found.counts.masked) == (report.image_auroc, 0)
    assert found.warnings == report.warnings


def test_a_defect_without_a_mask_stays_out_of_the_pixel_metrics(
    small_bundle: Path, dataset: Path, report: EvaluationReport
) -> None:
    for i in range(5):
        write_defect(dataset, "unmasked", 400 + i, (60, 40), mask=False)
    found = evaluate(small_bundle, dataset)
    assert (found.pixel_auroc, found.aupro) == pytest.approx((report.pixel_auroc, report.aupro), rel=ROUNDING)
    assert found.counts.defective == 15
    assert any("5 defective images have no mask" in warning for warning in found.warnings)


def test_good_pictures_count_in_the_pixel_metrics(small_bundle: Path, dataset: Path, report: EvaluationReport) -> None:
    bright = np.full((HEIGHT_PX, WIDTH_PX, 3), 255, dtype=np.uint8)
    for i in range(4):
        write_picture(dataset / "test" / "good" / f"bright{i}.png", bright)
    found = evaluate(small_bundle, dataset)
    assert found.pixel_auroc is not None
    assert report.pixel_auroc is not None
    assert found.pixel_auroc < report.pixel_auroc - 0.05


@pytest.mark.parametrize(("column", "masked"), [(52, 10), (53, 0)])
def test_masks_are_sampled_at_the_centre_of_each_pixel(
    small_bundle: Path, dataset: Path, column: int, masked: int
) -> None:
    # 160 px become 96: the centres of the new pixels lie in every 5 old columns in the 1st, 3rd and 5th.
    marks = np.zeros((HEIGHT_PX, WIDTH_PX), dtype=np.uint8)
    marks[:, column] = 1
    for path in (dataset / "ground_truth").rglob("*.png"):
        cv2.imwrite(str(path), marks)
    found = evaluate(small_bundle, dataset)
    assert found.counts.masked == masked
    assert any("10 masks mark nothing" in warning for warning in found.warnings) == (masked == 0)
    assert (found.aupro is None) == (masked == 0)


def test_a_mask_of_another_size_than_its_picture_names_both(small_bundle: Path, dataset: Path) -> None:
    cv2.imwrite(str(dataset / "ground_truth/left/202_mask.png"), np.full((WIDTH_PX, HEIGHT_PX), 255, np.uint8))
    with pytest.raises(DatasetError) as caught:
        evaluate(small_bundle, dataset)
    message = str(caught.value)
    assert str(dataset / "ground_truth/left/202_mask.png") in message
    assert str(dataset / "test/left/202.png") in message
    assert "120×160" in message
    assert "160×120" in message
    assert "\n" not in message


def test_a_mask_without_a_mark_is_refused(small_bundle: Path, dataset: Path) -> None:
    cv2.imwrite(str(dataset / "ground_truth/left/202_mask.png"), np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8))
    with pytest.raises(DatasetError, match=r"202_mask\.png: marks no pixel"):
        evaluate(small_bundle, dataset)


@pytest.mark.parametrize("name", ["test/left/201.png", "ground_truth/left/201_mask.png"])
def test_a_damaged_file_is_skipped_and_named(small_bundle: Path, dataset: Path, name: str) -> None:
    content = (dataset / name).read_bytes()
    (dataset / name).write_bytes(content[: len(content) // 2])
    found = evaluate(small_bundle, dataset)
    assert found.unreadable == [name]
    assert found.counts.defective == 9
    assert found.types["left"].pictures == 4


def test_many_damaged_pictures_are_refused(small_bundle: Path, dataset: Path) -> None:
    for name in ("test/left/201.png", "test/good/100.png"):
        (dataset / name).write_bytes(b"not a picture")
    with pytest.raises(DatasetError, match=r"2 of 22 test images cannot be read \(test/good/100\.png, test/left"):
        evaluate(small_bundle, dataset)


@pytest.mark.parametrize("missing", ["", "test", "test/good"])
def test_a_missing_folder_is_named(small_bundle: Path, dataset: Path, missing: str) -> None:
    shutil.rmtree(dataset / missing)
    with pytest.raises(DatasetError, match="no such folder; evaluation needs test/good") as caught:
        evaluate(small_bundle, dataset)
    assert str(caught.value).startswith(f"{dataset / missing}: ")


def test_without_defects_only_the_false_rejects_are_measured(small_bundle: Path, dataset: Path) -> None:
    shutil.rmtree(dataset / "test" / "left")
    shutil.rmtree(dataset / "test" / "right")
    found = evaluate(small_bundle, dataset)
    for name in ("image_auroc", "pixel_auroc", "aupro", "image_f1", "image_f1_at_threshold", "miss_rate"):
        assert getattr(found, name) is None
    assert found.false_reject_rate is not None
    assert found.false_reject_interval is not None


def test_pictures_that_the_bank_remembers_are_warned_of(small_bundle: Path, good_folder: Path, dataset: Path) -> None:
    shutil.copytree(good_folder, dataset / "test" / "good", dirs_exist_ok=True)
    found = evaluate(small_bundle, dataset)
    assert found.counts.in_bank == len(load_bundle(small_bundle).info.bank_pictures)
    assert any("memory bank" in warning for warning in found.warnings)


def test_every_picture_gets_an_overlay(small_bundle: Path, dataset: Path, tmp_path: Path) -> None:
    twin = cv2.imencode(".jpg", good_picture(100))[1].tobytes()
    (dataset / "test" / "good" / "100.jpg").write_bytes(twin)
    overlays = tmp_path / "out" / "overlays"
    evaluate(small_bundle, dataset, overlays=overlays)
    drawn = {path.relative_to(overlays).as_posix() for path in overlays.rglob("*") if path.is_file()}
    wanted = {f"good/{seed}.png" for seed in range(101, 112)} | {"good/100.png.png", "good/100.jpg.png"}
    wanted |= {f"{kind}/{first + i}.png" for kind, first in (("left", 200), ("right", 300)) for i in range(5)}
    assert drawn == wanted
    picture, source = (
        cv2.imread(str(overlays / "left/202.png")),
        cv2.imread(str(dataset / "test/left/202.png")),
    )
    assert picture is not None
    assert source is not None
    assert picture.shape[0] > HEIGHT_PX
    assert picture.shape[1] == WIDTH_PX
    changed = (picture[-HEIGHT_PX:] != source).any(axis=2)
    assert changed[26 : 26 + SQUARE_PX, 23 : 23 + SQUARE_PX].mean() > changed[:, WIDTH_PX // 2 :].mean()
    assert list(overlays.parent.iterdir()) == [overlays]


def test_overlays_show_the_region_and_the_verdict_of_the_threshold(
    small_bundle: Path, untouched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, tuple[tuple[int, ...], Verdict, float, float]] = {}

    def draw(view: NDArray[np.uint8], _map: object, **about: Any) -> NDArray[np.uint8]:
        asked[about["title"]] = (view.shape, about["verdict"], about["score"], about["threshold"])
        return view

    monkeypatch.setattr("stream.training.evaluate.draw", draw)
    changed = changed_bundle(small_bundle, tmp_path / "roi.safetensors", roi=(10, 0, 150, 110))
    found = evaluate(changed, untouched, overlays=tmp_path / "overlays")
    assert {shape for shape, *_ in asked.values()} == {(110, 150, 3)}
    rejected = {title for title, (_, verdict, *_) in asked.items() if verdict == Verdict.DEFECT}
    assert rejected == {title for title, (*_, score, threshold) in asked.items() if score > threshold}
    assert len([title for title in rejected if title.startswith("good/")]) == 12 * (found.false_reject_rate or 0)
    assert {"left/202.png", "right/302.png"} <= rejected


def test_a_refused_evaluation_leaves_no_overlay_behind(small_bundle: Path, dataset: Path, tmp_path: Path) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "mine.txt").write_text("keep")
    with pytest.raises(DatasetError, match="new or empty folder"):
        evaluate(small_bundle, dataset, overlays=used)
    assert [path.name for path in used.iterdir()] == ["mine.txt"]
    shutil.rmtree(dataset / "test" / "good")
    with pytest.raises(DatasetError):
        evaluate(small_bundle, dataset, overlays=tmp_path / "out" / "overlays")
    assert not (tmp_path / "out").exists()


def test_overlays_appear_whole_or_not_at_all(small_bundle: Path, dataset: Path, tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, _total: int) -> None:
        if stage == "draw overlays" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(small_bundle, dataset, overlays=tmp_path / "out" / "overlays", track=interrupt)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_report_is_json_that_reads_back(report: EvaluationReport, small_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    write_report(report, path)
    write_report(report, path)
    assert msgspec.json.decode(path.read_bytes(), type=EvaluationReport) == report
    assert list(path.parent.iterdir()) == [path]
    raw = json.loads(path.read_text())
    assert raw["bundle_sha256"] == load_bundle(small_bundle).sha256
    assert raw["types"]["left"]["pictures"] == 5
    assert raw["false_reject_interval"] == list(report.false_reject_interval or ())
    assert raw["thresholds"]["image"] > 0
    assert raw["device"] in {"cuda", "openvino", "torch-cpu"}
    assert "numpy" in raw["versions"]
    with pytest.raises(DiskError, match="cannot be written"):
        write_report(report, path / "below-a-file.json")


def test_the_table_names_what_matters(report: EvaluationReport) -> None:
    types = {**report.types, "[red]dent": report.types["left"]}
    shown = msgspec.structs.replace(
        report, types=types, pixel_auroc=None, false_reject_interval=None, unreadable=["test/left/x.png"]
    )
    text = io.StringIO()
    Console(file=text, width=120).print(report_table(shown))
    for wanted in ("image AUROC", "[red]dent", "– to –", "skipped: test/left/x.png", report.device):
        assert wanted in text.getvalue()


@pytest.mark.parametrize(
    ("calibration", "tested", "rate"), [(50, 40, 0.1), (200, 300, 0.01), (5, 30, 0.01), (9, 20, 0.5)]
)
def test_the_predicted_interval_is_that_of_a_simulation(calibration: int, tested: int, rate: float) -> None:
    random = np.random.default_rng(7)
    runs = 6000
    rejects = np.empty(runs)
    for run in range(runs):
        threshold = conformal_threshold(random.normal(size=calibration), rate)
        rejects[run] = np.count_nonzero(random.normal(size=tested) > threshold)
    low, high = np.round(np.array(false_reject_interval(calibration, tested, rate)) * tested)
    error = 0.008  # four standard errors of a share of 2.5 % in 6,000 runs
    for quantile, count in ((0.025, low), (0.975, high)):
        assert np.mean(rejects <= count) > quantile - error
        assert np.mean(rejects < count) < quantile + error


def test_a_small_calibration_predicts_a_wide_interval() -> None:
    few, many = false_reject_interval(5, 100, 0.01), false_reject_interval(2000, 100, 0.01)
    assert few[0] == many[0] == 0
    assert few[1] > 0.4
    assert many[1] < 0.05
