from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.pictures import good_picture, write_good_folder, write_picture

from stream.core.errors import BundleError, ConfigError, DatasetError, DiskError
from stream.core.images import list_images, read_image
from stream.model.bundle import calibration_inputs, load_bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.calibrate import conformal_threshold
from stream.model.patchcore.health import measure, reference_of, refreshed
from stream.model.patchcore.inspector import inspect
from stream.model.patchcore.preprocess import network_input
from stream.model.patchcore.scoring import Scoring
from stream.model.patchcore.search import MemoryBank
from stream.training.dataset import network_input_hash, read_network_inputs
from stream.training.fit import FitOptions, FitSummary, calibrate, fit
from stream.training.memory_budget import MemoryBudget

SMALL = FitOptions(size_px=96, coreset=0.05)


def small_fit(good: Path, output: Path, **options: object) -> FitSummary:
    return fit(good, output, FitOptions(**({"size_px": 96, "coreset": 0.05} | options)))


def in_bank(path: Path, bundle: Path) -> bool:
    info = load_bundle(bundle).info
    return network_input_hash(network_input(read_image(path), info.spec.input_px)) in info.bank_pictures


@pytest.fixture
def some_good(tmp_path: Path) -> Path:
    """Six good pictures of one test's own."""
    return write_good_folder(tmp_path / "good", 6, first_seed=100)


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the small bundle, to be calibrated anew."""
    return Path(shutil.copy(small_bundle, tmp_path / "copy.safetensors"))


def test_a_fit_remembers_most_pictures_and_calibrates_with_the_rest(good_folder: Path, small_bundle: Path):
    bundle = load_bundle(small_bundle)
    assert len(bundle.info.bank_pictures) == 19
    assert len(bundle.calibration_scores) == len(bundle.calibration_peaks) == 5
    assert bundle.info.picture_px == (160, 120)
    assert bundle.info.grid == (12, 12)
    assert bundle.info.bank_patches == 19 * 144
    assert len(bundle.bank) == round(0.05 * 19 * 144)


def test_the_bank_holds_features_of_the_remembered_pictures(good_folder: Path, small_bundle: Path):
    bundle = load_bundle(small_bundle)
    extractor = load_extractor(bundle.info.spec)
    remembered = [path for path in list_images(good_folder) if in_bank(path, small_bundle)]
    features = extractor(np.stack([network_input(read_image(path), (96, 96)) for path in remembered]))
    known = {feature.tobytes() for feature in features.reshape(-1, features.shape[-1])}
    assert len(remembered) == 19
    assert all(feature.tobytes() in known for feature in bundle.bank)


def test_the_thresholds_are_the_conformal_ones_of_the_held_out_pictures(good_folder: Path, small_bundle: Path):
    bundle = load_bundle(small_bundle)
    held_out = [path for path in list_images(good_folder) if not in_bank(path, small_bundle)]
    found = inspect(
        load_extractor(bundle.info.spec),
        MemoryBank(bundle.bank),
        np.stack([network_input(read_image(path), (96, 96)) for path in held_out]),
        reweight_neighbours=9,
    )
    scores = sorted(inspection.score for inspection in found)
    np.testing.assert_allclose(np.sort(bundle.calibration_scores), scores, rtol=1e-5)
    assert bundle.info.thresholds is not None
    assert bundle.info.thresholds.image == conformal_threshold(bundle.calibration_scores, 0.01)
    assert bundle.info.thresholds.pixel == conformal_threshold(bundle.calibration_peaks, 0.01)
    assert bundle.info.thresholds.pixel > 0


def test_the_bundle_keeps_the_held_out_pictures_in_the_order_of_their_scores(good_folder: Path, small_bundle: Path):
    bundle, pictures = load_bundle(small_bundle), calibration_inputs(small_bundle)
    held_out = [path for path in list_images(good_folder) if not in_bank(path, small_bundle)]
    assert {network_input_hash(picture) for picture in pictures} == {
        network_input_hash(network_input(read_image(path), (96, 96))) for path in held_out
    }
    found = inspect(load_extractor(bundle.info.spec), MemoryBank(bundle.bank), pictures, Scoring(9))
    np.testing.assert_allclose([one.score for one in found], bundle.calibration_scores, rtol=1e-6)


def test_no_remembered_patch_lies_farther_from_the_bank_than_the_covering_radius(good_folder: Path, small_bundle: Path):
    bundle = load_bundle(small_bundle)
    remembered = [path for path in list_images(good_folder) if in_bank(path, small_bundle)]
    features = load_extractor(bundle.info.spec)(
        np.stack([network_input(read_image(path), (96, 96)) for path in remembered])
    )
    nearest = [
        np.linalg.norm(bundle.bank.astype(np.float64) - patch, axis=1).min()
        for patch in features.reshape(-1, bundle.bank.shape[1])
    ]
    assert bundle.info.covering_radius == pytest.approx(max(nearest), rel=1e-6)


def test_a_missing_folder_is_named_and_nothing_is_written(tmp_path: Path):
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        small_fit(tmp_path / "nowhere", tmp_path / "cap.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_named_and_nothing_is_written(tmp_path: Path):
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "notes.txt").write_text("no picture")
    with pytest.raises(DatasetError, match="good: no picture"):
        small_fit(tmp_path / "good", tmp_path / "cap.safetensors")
    assert not (tmp_path / "cap.safetensors").exists()


def test_one_picture_cannot_be_both_remembered_and_held_out(tmp_path: Path):
    good = write_good_folder(tmp_path / "good", 1)
    with pytest.raises(
        DatasetError, match=r"1 readable image\(s\), but a fit needs at least 2 .* needs 99 to calibrate"
    ):
        small_fit(good, tmp_path / "cap.safetensors")
    assert not (tmp_path / "cap.safetensors").exists()


def test_two_pictures_are_one_to_remember_and_one_to_calibrate(tmp_path: Path):
    summary = small_fit(write_good_folder(tmp_path / "good", 2), tmp_path / "cap.safetensors")
    assert (summary.bank_images, summary.calibration_images) == (1, 1)


@pytest.mark.parametrize(("holdout", "calibrating"), [(0.0, 1), (0.5, 3), (1.0, 5)])
def test_whatever_is_held_out_both_sides_get_a_picture(some_good, tmp_path, holdout: float, calibrating: int):
    summary = small_fit(some_good, tmp_path / "cap.safetensors", holdout=holdout)
    assert (summary.bank_images, summary.calibration_images) == (6 - calibrating, calibrating)


def test_a_corrupt_picture_among_good_ones_is_skipped_and_named(good_folder: Path, small_bundle: Path, tmp_path: Path):
    good = Path(shutil.copytree(good_folder, tmp_path / "good"))
    (good / "zz_damaged.png").write_bytes((good / "good_000.png").read_bytes()[:2000])
    summary = small_fit(good, tmp_path / "cap.safetensors")
    (skipped,) = summary.unreadable
    assert skipped.path == good / "zz_damaged.png"
    assert "zz_damaged.png" in skipped.reason
    # The bundle is that of the good ones alone.
    assert (tmp_path / "cap.safetensors").read_bytes() == small_bundle.read_bytes()


def test_too_many_corrupt_pictures_are_refused_by_name_and_nothing_is_written(good_folder: Path, tmp_path: Path):
    good = Path(shutil.copytree(good_folder, tmp_path / "good"))
    (good / "damaged_a.png").write_bytes(b"")
    (good / "damaged_b.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"2 of 26 images cannot be read .* more than 5%") as error:
        small_fit(good, tmp_path / "cap.safetensors")
    assert "damaged_a.png" in str(error.value)
    assert "damaged_b.jpg" in str(error.value)
    assert not (tmp_path / "cap.safetensors").exists()


def test_nothing_but_corrupt_pictures_is_refused(tmp_path: Path):
    (tmp_path / "good").mkdir()
    for index in range(8):
        (tmp_path / "good" / f"{index}.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"8 of 8 images cannot be read .*…"):
        small_fit(tmp_path / "good", tmp_path / "cap.safetensors")


def test_a_picture_smaller_than_the_region_is_refused_by_name(some_good: Path, tmp_path: Path):
    write_picture(some_good / "small.png", good_picture(1, width_px=90, height_px=120))
    with pytest.raises(DatasetError, match=r"small\.png: the picture is 90×120 px, too small .* --roi"):
        small_fit(some_good, tmp_path / "cap.safetensors", roi=(10, 10, 100, 100))
    assert not (tmp_path / "cap.safetensors").exists()


def test_pictures_of_several_sizes_are_taken_and_no_size_is_noted(some_good: Path, tmp_path: Path):
    write_picture(some_good / "larger.png", good_picture(1, width_px=200, height_px=150))
    summary = small_fit(some_good, tmp_path / "cap.safetensors")
    assert summary.bundle.info.picture_px is None
    assert summary.bank_images + summary.calibration_images == 7


def test_only_the_region_is_learned(some_good: Path, tmp_path: Path):
    region = (40, 20, 80, 64)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in list_images(some_good):
        picture = np.full_like(read_image(path), 255)
        x, y, width, height = region
        picture[y : y + height, x : x + width] = read_image(path)[y : y + height, x : x + width]
        write_picture(elsewhere / path.name, picture)
    bundles = [
        small_fit(folder, tmp_path / f"{folder.name}.safetensors", roi=region).bundle
        for folder in (some_good, elsewhere)
    ]
    assert bundles[0].info.roi == region
    assert bundles[0].sha256 == bundles[1].sha256


def test_too_few_pictures_for_the_wanted_rate_are_warned_of_with_the_number_needed(some_good: Path, tmp_path: Path):
    summary = small_fit(some_good, tmp_path / "cap.safetensors", holdout=0.5)
    (warning,) = summary.warnings
    assert "3 held-out images guarantee a false-reject rate of 25.00%" in warning
    assert "1.00% needs 99" in warning
    assert summary.bundle.info.thresholds is not None
    assert summary.bundle.info.thresholds.guaranteed_rate == 0.25
    assert summary.bundle.info.thresholds.image == summary.bundle.calibration_scores.max()


def test_enough_pictures_for_the_wanted_rate_are_not_warned_of(some_good: Path, tmp_path: Path):
    summary = small_fit(some_good, tmp_path / "cap.safetensors", holdout=0.5, false_reject_rate=0.25)
    assert summary.warnings == []
    assert summary.bundle.info.thresholds is not None
    assert summary.bundle.info.thresholds.guaranteed_rate == 0.25


def test_copies_of_remembered_pictures_do_not_calibrate(tmp_path: Path):
    # A remembered picture scores 0: a threshold made of it would reject every part.
    good = write_good_folder(tmp_path / "good", 8)
    for path in list_images(good):
        shutil.copy(path, good / f"copy_of_{path.name}")
    options = FitOptions(size_px=32, coreset=1.0, holdout=0.4, device="torch-cpu")
    summary = fit(good, tmp_path / "cap.safetensors", options)
    assert summary.bundle.calibration_scores.min() > 0.1


def test_every_stage_of_a_fit_is_reported_up_to_its_end(some_good: Path, tmp_path: Path):
    reported: dict[str, list[tuple[int, int]]] = defaultdict(list)
    fit(some_good, tmp_path / "cap.safetensors", SMALL, lambda stage, *done: reported[stage].append(done))
    assert list(reported) == [
        "read images",
        "load backbone",
        "extract features",
        "choose coreset",
        "calibrate",
    ]
    for steps in reported.values():
        assert steps[-1][0] == steps[-1][1]
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_calibrating_leaves_out_the_pictures_in_the_bank(good_folder: Path, bundle: Path):
    before = load_bundle(bundle)
    summary = calibrate(bundle, good_folder, false_reject_rate=0.01)
    assert summary.calibration_images == 5
    assert "19 images are in the memory bank and were left out" in summary.warnings[0]
    after = load_bundle(bundle)
    np.testing.assert_allclose(np.sort(after.calibration_scores), np.sort(before.calibration_scores), rtol=1e-6)
    assert after.info.thresholds == before.info.thresholds


def test_calibrating_with_new_pictures_changes_the_thresholds_and_what_good_looks_like_and_nothing_else(
    some_good: Path, bundle: Path
):
    before = load_bundle(bundle)
    summary = calibrate(bundle, some_good, false_reject_rate=0.2)
    after = load_bundle(bundle)
    assert summary.warnings == []
    assert summary.bundle.sha256 == after.sha256 != before.sha256
    np.testing.assert_array_equal(after.bank, before.bank)
    assert after.info.thresholds is not None
    assert after.info.thresholds.image == conformal_threshold(after.calibration_scores, 0.2)
    assert after.info.thresholds.false_reject_rate == 0.2
    inputs = [network_input(read_image(path), (96, 96)) for path in list_images(some_good)]
    np.testing.assert_array_equal(calibration_inputs(bundle), inputs)
    assert after.info.reference == refreshed(
        before.info.reference,
        reference_of([measure(image) for image in inputs]),
    )
    fields = {
        name: getattr(before.info, name)
        for name in before.info.__struct_fields__
        if name not in ("thresholds", "reference")
    }
    assert {name: getattr(after.info, name) for name in fields} == fields


def test_calibrating_with_nothing_but_pictures_in_the_bank_is_refused(good_folder: Path, bundle: Path, tmp_path: Path):
    (tmp_path / "known").mkdir()
    for path in list_images(good_folder):
        if in_bank(path, bundle):
            shutil.copy(path, tmp_path / "known")
    before = bundle.read_bytes()
    with pytest.raises(DatasetError, match="known: every image is in the bundle's memory bank"):
        calibrate(bundle, tmp_path / "known", false_reject_rate=0.01)
    assert bundle.read_bytes() == before


def test_a_remembered_picture_is_recognised_under_another_name_and_format(good_folder: Path, bundle: Path, tmp_path):
    known = next(path for path in list_images(good_folder) if in_bank(path, bundle))
    (tmp_path / "again").mkdir()
    assert cv2.imwrite(str(tmp_path / "again" / "other.bmp"), read_image(known))
    with pytest.raises(DatasetError, match="every image is in the bundle's memory bank"):
        calibrate(bundle, tmp_path / "again", false_reject_rate=0.01)


def test_calibrating_a_bundle_that_is_not_there_is_refused(some_good: Path, tmp_path: Path):
    with pytest.raises(BundleError, match="no such bundle"):
        calibrate(tmp_path / "absent.safetensors", some_good, false_reject_rate=0.01)


@pytest.mark.parametrize("limit_bytes", [0, 2**40], ids=["on disk", "in memory"])
def test_pictures_are_read_in_the_order_of_their_names(some_good: Path, tmp_path: Path, limit_bytes: int):
    memory = MemoryBudget(limit_bytes, asked_for=False)
    with read_network_inputs(list_images(some_good), None, 96, memory=memory, spool=tmp_path) as pictures:
        assert pictures.inputs.shape == (6, 96, 96, 3)
        for image, seed in zip(pictures.inputs[:], range(100, 106), strict=True):
            np.testing.assert_array_equal(image, network_input(good_picture(seed), (96, 96)))


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose memory is taken."""
    monkeypatch.setattr("stream.training.memory_budget._free_bytes", lambda: 0)


@pytest.mark.usefixtures("no_memory")
def test_without_free_memory_the_bundle_is_the_same(good_folder: Path, small_bundle: Path, tmp_path: Path):
    small_fit(good_folder, tmp_path / "spooled.safetensors")
    assert (tmp_path / "spooled.safetensors").read_bytes() == small_bundle.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["spooled.safetensors"]


@pytest.mark.usefixtures("no_memory")
def test_without_free_memory_and_disk_the_fit_says_what_it_needs(good_folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: shutil._ntuple_diskusage(10**6, 10**6, 0))
    with pytest.raises(DiskError, match=r"GiB are needed for a while, 0.00 GiB are free; .* --max-memory"):
        small_fit(good_folder, tmp_path / "cap.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_memory")
def test_a_disk_that_fills_up_while_images_are_read_ends_the_fit(good_folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Path("/dev/full").open("wb", buffering=0))  # noqa: SIM115
    with pytest.raises(DiskError, match="No space left on device"):
        small_fit(good_folder, tmp_path / "cap.safetensors")


def test_a_limit_below_what_a_fit_takes_is_refused_with_the_limit_to_give(some_good: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"--max-memory: 0.00 GiB are too little: .* give \d"):
        small_fit(some_good, tmp_path / "cap.safetensors", max_memory_bytes=1000)
    assert not (tmp_path / "cap.safetensors").exists()
