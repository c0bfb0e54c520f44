from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.pictures import defective_picture, good_picture, write_good_folder, write_picture

from stream.core.errors import BundleError, ConfigError, DatasetError, DiskError
from stream.core.images import list_images, read_image
from stream.model.bundle import (
    calibration_distances,
    calibration_inputs,
    load_bundle,
)
from stream.model.extractor import load_extractor
from stream.model.patchcore.calibrate import conformal_threshold
from stream.model.patchcore.geometry import Geometry
from stream.model.patchcore.health import measure, reference_of, refreshed
from stream.model.patchcore.inspector import inspect
from stream.model.patchcore.preprocess import network_input
from stream.model.patchcore.score import anomaly_map, sigma_px
from stream.model.patchcore.search import MemoryBank
from stream.model.patchcore.tiles import Tiling
from stream.training.dataset import network_input_hash, read_network_inputs
from stream.training.fit import FitSummary, calibrate, fit
from stream.training.fit_options import FitOptions
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


def test_a_fit_remembers_every_picture_and_calibrates_with_every_one(good_folder: Path, small_bundle: Path):
    bundle = load_bundle(small_bundle)
    assert len(bundle.info.bank_pictures) == 24
    assert len(bundle.calibration_scores) == len(bundle.calibration_peaks) == 24
    assert bundle.info.calibration_names == tuple(path.name for path in list_images(good_folder))
    assert bundle.info.picture_px == (160, 120)
    assert bundle.info.grid == (12, 12)
    assert bundle.info.bank_patches == 24 * 144
    # Of few pictures more than the share.
    assert len(bundle.bank) == bundle.info.coreset_patches == round(0.1 * 24 * 144)


def test_the_folds_are_blocks_of_the_order_of_names(small_bundle: Path):
    folds = load_bundle(small_bundle).info.folds
    assert list(folds) == sorted(folds)
    assert len(set(folds)) == 5
    assert 2 <= min(np.bincount(folds)) <= max(np.bincount(folds)) <= 7


def test_the_bank_holds_features_of_the_remembered_pictures(good_folder: Path, small_bundle: Path):
    bundle = load_bundle(small_bundle)
    extractor = load_extractor(bundle.info.spec)
    features = extractor(np.stack([network_input(read_image(path), (96, 96)) for path in list_images(good_folder)]))
    known = {feature.tobytes() for feature in features.reshape(-1, features.shape[-1])}
    assert all(feature.tobytes() in known for feature in bundle.bank)


def test_each_calibration_score_is_that_of_a_fit_without_the_fold(
    good_folder: Path, small_bundle: Path, tmp_path: Path
):
    bundle = load_bundle(small_bundle)
    in_fold = np.array(bundle.info.folds) == 2
    fold = [path for path, is_in in zip(list_images(good_folder), in_fold, strict=True) if is_in]
    others = Path(shutil.copytree(good_folder, tmp_path / "others"))
    for path in fold:
        (others / path.name).unlink()
    without = small_fit(others, tmp_path / "without.safetensors").bundle
    inputs = np.stack([network_input(read_image(path), (96, 96)) for path in fold])
    extractor = load_extractor(bundle.info.spec)
    expected = [found.score for found in inspect(extractor, MemoryBank(without.bank), inputs, without.scoring)]
    np.testing.assert_allclose(bundle.calibration_scores[in_fold], expected, rtol=1e-6)


def test_the_thresholds_are_the_conformal_ones_of_the_scores_out_of_fold(small_bundle: Path):
    bundle = load_bundle(small_bundle)
    assert bundle.info.thresholds is not None
    assert bundle.info.thresholds.image == conformal_threshold(bundle.calibration_scores, 0.01)
    assert bundle.info.thresholds.pixel == conformal_threshold(bundle.calibration_peaks, 0.01)
    assert (bundle.info.thresholds.expected_rate, bundle.info.thresholds.guaranteed_rate) == (1 / 25, 2 / 25)


def test_the_bundle_keeps_the_pictures_and_distances_behind_the_scores(good_folder: Path, small_bundle: Path):
    bundle, pictures = load_bundle(small_bundle), calibration_inputs(small_bundle)
    for path, picture in zip(list_images(good_folder), pictures, strict=True):
        np.testing.assert_array_equal(picture, network_input(read_image(path), (96, 96)))
    planes = calibration_distances(small_bundle)
    peaks = [anomaly_map(plane, (96, 96), sigma_px((96, 96), plane.shape)).max() for plane in planes]
    np.testing.assert_allclose(bundle.calibration_peaks, peaks, rtol=1e-3)


def test_a_split_calibration_holds_blocks_out_for_good(good_folder: Path, tmp_path: Path):
    summary = small_fit(good_folder, tmp_path / "cap.safetensors", calibration="split")
    info = summary.bundle.info
    assert (summary.bank_images, summary.calibration_images) == (19, 5)
    assert info.folds == ()
    assert info.thresholds is not None
    assert info.thresholds.expected_rate == info.thresholds.guaranteed_rate == 1 / 6
    numbers = [int(name[5:8]) for name in info.calibration_names]
    assert sum(number + 1 in numbers for number in numbers) >= 2
    found = inspect(
        load_extractor(info.spec),
        MemoryBank(summary.bundle.bank),
        calibration_inputs(tmp_path / "cap.safetensors"),
        summary.bundle.scoring,
    )
    np.testing.assert_allclose([one.score for one in found], summary.bundle.calibration_scores, rtol=1e-6)


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


def test_one_picture_cannot_be_scored_without_itself(tmp_path: Path):
    good = write_good_folder(tmp_path / "good", 1)
    with pytest.raises(DatasetError, match=r"1 different readable image\(s\), but a fit needs at least 2.* needs 99"):
        small_fit(good, tmp_path / "cap.safetensors")
    assert not (tmp_path / "cap.safetensors").exists()


def test_two_pictures_are_each_scored_by_the_other(tmp_path: Path):
    summary = small_fit(write_good_folder(tmp_path / "good", 2), tmp_path / "cap.safetensors")
    assert (summary.bank_images, summary.calibration_images, summary.bundle.info.folds) == (2, 2, (0, 1))


@pytest.mark.parametrize(("holdout", "calibrating"), [(0.01, 1), (0.5, 3), (0.9, 5)])
def test_whatever_a_split_holds_out_both_sides_get_a_picture(some_good, tmp_path, holdout: float, calibrating: int):
    summary = small_fit(some_good, tmp_path / "cap.safetensors", calibration="split", holdout=holdout)
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
    assert "damaged_a.png: the file is empty" in str(error.value)
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
    assert summary.bank_images == 7
    assert any("1 of 7 images are not 160×120 px like the others: larger.png (200×150)" in w for w in summary.warnings)


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
    summary = small_fit(some_good, tmp_path / "cap.safetensors")
    (warning,) = summary.warnings
    assert (
        "6 good images can promise 1 in 7 (14.29%), not the wanted 1.00%: that takes 99 to calibrate, 93 more"
        in warning
    )
    assert summary.bundle.info.thresholds is not None
    assert summary.bundle.info.thresholds.image == summary.bundle.calibration_scores.max()


def test_enough_pictures_for_the_wanted_rate_are_not_warned_of(some_good: Path, tmp_path: Path):
    summary = small_fit(some_good, tmp_path / "cap.safetensors", false_reject_rate=0.25)
    assert summary.warnings == []
    assert summary.promise.startswith("expect 1 in 4 good parts to be rejected (25.00%); at worst")


def test_a_split_promises_the_wanted_rate_itself(some_good: Path, tmp_path: Path):
    summary = small_fit(some_good, tmp_path / "c.st", calibration="split", holdout=0.5, false_reject_rate=0.25)
    assert summary.promise == (
        "expect 1 in 4 good parts to be rejected (25.00%), guaranteed on average, whatever good parts look like"
    )


def test_exact_copies_count_once_and_are_named(tmp_path: Path):
    # A copy of a remembered picture scores 0: a threshold made of it would reject every part.
    good = write_good_folder(tmp_path / "good", 8)
    for path in list_images(good):
        shutil.copy(path, good / f"zz_copy_of_{path.name}")
    options = FitOptions(size_px=32, coreset=1.0, device="torch-cpu")
    summary = fit(good, tmp_path / "cap.safetensors", options)
    assert summary.bank_images == 8
    assert summary.bundle.calibration_scores.min() > 0.1
    assert any(
        "8 images are exact copies of others and count once: zz_copy_of_good_000.png" in n for n in summary.notes
    )


def test_a_gray_picture_among_coloured_ones_is_warned_of_by_name(some_good: Path, tmp_path: Path):
    gray = read_image(list_images(some_good)[2]).mean(axis=2).astype(np.uint8)
    write_picture(some_good / "gray.png", np.repeat(gray[..., None], 3, axis=2))
    summary = small_fit(some_good, tmp_path / "cap.safetensors")
    assert any("1 of 7 images are gray, unlike the others: gray.png" in warning for warning in summary.warnings)


def test_the_strangest_good_picture_is_named_with_the_threshold_without_it(good_folder: Path, tmp_path: Path):
    good = Path(shutil.copytree(good_folder, tmp_path / "good"))
    write_picture(good / "good_012b.png", defective_picture(3))
    summary = small_fit(good, tmp_path / "cap.safetensors", false_reject_rate=0.05)
    first, second = summary.strange[:2]
    assert (first.rank, first.name) == (1, "good_012b.png")
    assert summary.bundle.info.thresholds is not None
    assert summary.bundle.info.thresholds.image == first.score > first.threshold_without == second.score
    left = small_fit(good, tmp_path / "left.safetensors", leave_out=("good_012b.png",), false_reject_rate=0.05)
    assert left.bank_images == 24
    assert left.bundle.info.thresholds is not None
    assert left.bundle.info.thresholds.image < first.score


def test_a_name_to_leave_out_that_is_not_there_is_refused(some_good: Path, tmp_path: Path):
    with pytest.raises(DatasetError, match=r"--leave-out: no image typo\.png"):
        small_fit(some_good, tmp_path / "cap.safetensors", leave_out=("typo.png",))


def test_pictures_of_one_part_are_held_out_together(tmp_path: Path):
    good = tmp_path / "good"
    good.mkdir()
    for seed in range(12):  # the exposures of a part are far apart in the order of names
        write_picture(good / f"exposure{seed % 2}_part{seed // 2}.png", good_picture(seed))
    info = small_fit(good, tmp_path / "cap.safetensors", group_by=r"part\d+").bundle.info
    folds: dict[str, set[int]] = defaultdict(set)
    for name, fold in zip(info.calibration_names, info.folds, strict=True):
        folds[name.split("_")[1]].add(fold)
    assert all(len(of_part) == 1 for of_part in folds.values())


def test_sub_folders_can_be_groups(tmp_path: Path):
    for lot in ("a", "b", "c"):
        write_good_folder(tmp_path / "good" / lot, 2, first_seed=10 * ord(lot))
    info = small_fit(tmp_path / "good", tmp_path / "cap.safetensors", group_by="folder").bundle.info
    assert info.calibration_names[:2] == ("a/good_970.png", "a/good_971.png")
    assert info.folds == (0, 0, 1, 1, 2, 2)


def test_pictures_that_have_no_order_are_held_out_at_random(good_folder: Path, tmp_path: Path):
    info = small_fit(good_folder, tmp_path / "cap.safetensors", group_by="file").bundle.info
    assert sorted(info.calibration_names) != list(info.calibration_names)
    assert set(np.bincount(info.folds)) == {4, 5}


def test_a_wide_picture_has_a_wide_input(tmp_path: Path):
    good = tmp_path / "good"
    good.mkdir()
    for seed in range(4):
        write_picture(good / f"{seed}.png", good_picture(seed, width_px=320, height_px=160))
    bundle = small_fit(good, tmp_path / "cap.safetensors", size_px=96).bundle
    assert bundle.info.spec.input_px == (128, 64)
    assert bundle.info.grid == (8, 16)
    exact = small_fit(good, tmp_path / "exact.safetensors", size_px=(64, 96)).bundle
    assert exact.info.grid == (12, 8)


@pytest.mark.parametrize("own_banks", [False, True])
def test_a_part_in_tiles_is_one_grid_of_patches_scored_live_as_it_was_calibrated(
    good_folder: Path, tmp_path: Path, own_banks: bool
):
    path = tmp_path / "tiled.safetensors"
    tiling = Tiling(2, 1, own_banks=own_banks)
    bundle = small_fit(good_folder, path, size_px=(96, 96), tiling=tiling, coreset=0.2, calibration="split").bundle
    spec = bundle.info.spec
    assert spec.tiles is not None
    assert (spec.network_px, spec.input_px, bundle.info.grid) == ((96, 96), (160, 96), (12, 20))
    extractor = load_extractor(spec, graph=bundle.graph)
    (inspection,) = inspect(extractor, MemoryBank(bundle.bank), calibration_inputs(path)[:1], bundle.scoring)
    assert inspection.score == pytest.approx(bundle.calibration_scores[0], rel=1e-6)
    assert inspection.distances.shape == (12, 20)
    dims = bundle.bank.shape[1] - spec.tiles.coordinates
    coordinates = bundle.bank[:, dims:]
    assert coordinates.shape[1] == (2 if own_banks else 0)
    assert set(coordinates.argmax(axis=1).tolist() if own_banks else ()) == ({0, 1} if own_banks else set())


def test_every_stage_of_a_fit_is_reported_up_to_its_end(some_good: Path, tmp_path: Path):
    reported: dict[str, list[tuple[int, int]]] = defaultdict(list)
    fit(some_good, tmp_path / "cap.safetensors", SMALL, lambda stage, *done: reported[stage].append(done))
    assert list(reported) == [
        "read images",
        "load backbone",
        "extract features",
        "choose coreset",
        "choose fold coresets",
        "calibrate",
    ]
    for steps in reported.values():
        assert steps[-1][0] == steps[-1][1]
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_calibrating_leaves_out_the_pictures_in_the_bank(good_folder: Path, bundle: Path, tmp_path: Path):
    both = Path(shutil.copytree(good_folder, tmp_path / "both"))
    for seed in (400, 401, 402):
        write_picture(both / f"new_{seed}.png", good_picture(seed))
    summary = calibrate(bundle, both, false_reject_rate=0.01)
    assert summary.calibration_images == 3
    assert "24 images are in the memory bank and were left out" in summary.warnings[0]
    assert load_bundle(bundle).info.folds == ()


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
    assert after.info.thresholds.false_reject_rate == after.info.thresholds.guaranteed_rate == 0.2
    inputs = [network_input(read_image(path), (96, 96)) for path in list_images(some_good)]
    np.testing.assert_array_equal(calibration_inputs(bundle), inputs)
    assert after.info.reference == refreshed(
        before.info.reference,
        reference_of([measure(image) for image in inputs]),
    )
    fields = {
        name: getattr(before.info, name)
        for name in before.info.__struct_fields__
        if name not in ("thresholds", "reference", "calibration_names", "folds")
    }
    assert {name: getattr(after.info, name) for name in fields} == fields


def test_calibrating_can_leave_a_picture_out(some_good: Path, bundle: Path):
    summary = calibrate(bundle, some_good, false_reject_rate=0.2, leave_out=["good_102.png"])
    assert summary.calibration_images == 5
    assert "good_102.png" not in load_bundle(bundle).info.calibration_names


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
    geometry = Geometry(None, None, (96, 96))
    with read_network_inputs(list_images(some_good), geometry, memory=memory, spool=tmp_path) as pictures:
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
def test_a_disk_that_fills_up_while_images_are_read_ends_the_fit(
    good_folder: Path, tmp_path: Path, monkeypatch, full_device: Path
):
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full_device.open("wb", buffering=0))
    with pytest.raises(DiskError, match="No space left on device"):
        small_fit(good_folder, tmp_path / "cap.safetensors")


def test_a_limit_below_what_a_fit_takes_is_refused_with_the_limit_to_give(some_good: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"--max-memory: 0.00 GiB are too little: .* give \d"):
        small_fit(some_good, tmp_path / "cap.safetensors", max_memory_bytes=1000)
    assert not (tmp_path / "cap.safetensors").exists()


def test_places_that_a_fold_cannot_learn_are_refused_instead_of_mixing_scores(tmp_path: Path):
    good = write_good_folder(tmp_path / "good", 2)
    with pytest.raises(DatasetError, match="2 good images are too few to learn each place"):
        small_fit(good, tmp_path / "cap.safetensors", score="position")
    assert not (tmp_path / "cap.safetensors").exists()


def test_a_position_aware_bundle_scores_live_as_it_was_calibrated(good_folder: Path, tmp_path: Path):
    bundle = small_fit(good_folder, tmp_path / "cap.safetensors", score="position").bundle
    assert bundle.info.position_aware
    assert bundle.scoring.position is not None
    assert bundle.scoring.position.mean.shape == bundle.info.grid
    assert bundle.info.wanted_score == "position"
    thresholds = bundle.info.thresholds
    assert thresholds is not None
    inputs = np.stack([network_input(defective_picture(seed), (96, 96)) for seed in range(50, 54)])
    found = inspect(load_extractor(bundle.info.spec), MemoryBank(bundle.bank), inputs, bundle.scoring)
    assert all(one.score > thresholds.image for one in found)
