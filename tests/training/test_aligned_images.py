from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from support.pictures import part_picture, write_picture

from stream.capture.cropper import load_cropper
from stream.cli.check.unfit_pictures import reason_of
from stream.core.errors import BundleError, DatasetError
from stream.core.images import list_images, read_image
from stream.line.sections import StationOptions
from stream.model.bundle import (
    Bundle,
    change_bundle,
    load_bundle,
    shadow_bundle,
)
from stream.model.extractor import load_extractor
from stream.model.patchcore.alignment import Alignment
from stream.model.patchcore.inspector import inspect
from stream.model.patchcore.search import MemoryBank
from stream.training.aligned_images import placement_warnings, teach_alignment
from stream.training.dataset import read_network_inputs
from stream.training.fit import FitSummary, calibrate, fit
from stream.training.fit_options import FitOptions
from stream.training.ground_truth import read_ground_truth
from stream.training.memory_budget import MemoryBudget
from stream.training.progress import silent

ROI = (50, 40, 140, 120)
PLATE = (52, 42, 136, 116)
MOVED = [(15.0, -12.0, 4.0), (-9.5, 8.25, -3.0), (0.0, 18.0, 1.5), (-17.0, -6.0, -5.0)]


def write_moved(folder: Path, count: int, *, first_seed: int = 0) -> Path:
    """Fill a folder with plates, each moved and turned in another way."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first_seed, first_seed + count):
        random = np.random.default_rng(1000 + seed)
        x_px, y_px = random.uniform(-20, 20, 2)
        picture = part_picture(seed, x_px=x_px, y_px=y_px, angle_deg=random.uniform(-5, 5))
        write_picture(folder / f"{seed:03d}.png", picture if seed else part_picture(0))
    return folder


def alignment_of(folder: Path, reference: Path | None = None) -> Alignment:
    return teach_alignment(
        list_images(folder), [PLATE], reference=reference, rotates=True, by="edges", limit_px=40.0, limit_deg=10.0
    )


def options(folder: Path) -> FitOptions:
    return FitOptions(size_px=96, coreset=0.1, roi=ROI, alignment=alignment_of(folder), mm_per_px=0.25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moved(tmp_path_factory.mktemp("moved") / "good", 24)


@pytest.fixture(scope="module")
def summary(folder: Path) -> FitSummary:
    write_picture(folder / "belt.png", part_picture(77, part=False))
    return fit(folder, folder.parent / "aligned.safetensors", options(folder))


@pytest.fixture(scope="module")
def bundle(summary: FitSummary) -> Bundle:
    return summary.bundle


def score(bundle: Bundle, picture: np.ndarray) -> float:
    extractor = load_extractor(bundle.info.spec)
    pixels = bundle.info.geometry.network_input(bundle.info.geometry.region(picture))
    return inspect(extractor, MemoryBank(bundle.bank), pixels[None], bundle.scoring)[0].score


@pytest.mark.parametrize("move", MOVED, ids=str)
def test_a_moved_part_scores_as_an_unmoved_one_and_its_defect_is_found(
    bundle: Bundle, move: tuple[float, float, float]
):
    x_px, y_px, angle_deg = move
    assert bundle.info.thresholds is not None
    threshold = bundle.info.thresholds.image
    still, moved = score(bundle, part_picture(300)), part_picture(300, x_px=x_px, y_px=y_px, angle_deg=angle_deg)
    assert score(bundle, moved) == pytest.approx(still, rel=0.25)
    assert score(bundle, moved) <= threshold
    spoiled = part_picture(300, x_px=x_px, y_px=y_px, angle_deg=angle_deg, defect=True)
    assert score(bundle, spoiled) > threshold


def test_images_without_the_part_are_skipped_and_named(summary: FitSummary):
    assert summary.bank_images == 24
    assert any("1 images were skipped" in warning and "belt.png" in warning for warning in summary.warnings)


def test_the_bundle_says_how_parts_lay_and_keeps_alignment_and_ruler(summary: FitSummary):
    assert any("aligned by edges to 000.png: good parts lie" in note for note in summary.notes)
    info = summary.bundle.info
    assert info.alignment is not None
    assert (info.alignment.boxes, info.alignment.reference, info.mm_per_px) == ((PLATE,), "000.png", 0.25)
    assert info.alignment.least_match > 0.4, "learned from the good parts"


def test_a_region_that_leaves_parts_no_room_is_warned_of(bundle: Bundle, summary: FitSummary):
    assert not any("cannot be inspected" in warning for warning in summary.warnings)
    with read_network_inputs(
        [summary.paths[0]], bundle.info.geometry, memory=MemoryBudget.of(None), spool=summary.paths[0].parent
    ) as images:
        (warning,) = placement_warnings(bundle.info.alignment, (20, 40, 140, 120), images)
    assert warning.startswith(
        "the region is 20 px from the edge of the image, but parts may lie 40 px from their place"
    )


def test_a_picture_without_a_part_says_nothing_against_a_bundle_but_one_of_another_size_does(
    bundle: Bundle, folder: Path
):
    station = StationOptions(camera="top", bundle=folder.parent / "aligned.safetensors", frame_checks=False)
    assert bundle.info.alignment is not None
    assert reason_of("cap", station, part_picture(3, part=False)) is None
    assert "the fixtures were marked in one of 240×200" in str(reason_of("cap", station, part_picture(3)[:100]))


def test_images_without_the_part_beyond_a_twentieth_are_refused(folder: Path, tmp_path: Path):
    mixed = write_moved(tmp_path / "mixed", 10)
    for seed in (1, 2):
        write_picture(mixed / f"belt{seed}.png", part_picture(seed, part=False))
    with pytest.raises(DatasetError, match=r"in 2 of 12 images the part is not at its place \(belt1.png, belt2.png\)"):
        fit(mixed, tmp_path / "mixed.safetensors", options(folder))


def test_the_reference_is_the_first_image_that_can_be_read_or_the_one_named(tmp_path: Path):
    good = write_moved(tmp_path / "good", 3)
    (good / "000.png").write_bytes(b"no picture")
    assert alignment_of(good).reference == "001.png"
    assert alignment_of(good, good / "002.png").reference == "002.png"
    with pytest.raises(DatasetError, match=r"000\.png"):
        alignment_of(good, good / "000.png")


def test_calibration_aligns_as_the_fit_did(bundle: Bundle, folder: Path, tmp_path: Path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes((folder.parent / "aligned.safetensors").read_bytes())
    again = calibrate(copy, write_moved(tmp_path / "new", 12, first_seed=100), false_reject_rate=0.1)
    assert again.calibration_images == 12
    assert again.bundle.info.alignment == bundle.info.alignment
    assert np.median(again.calibration.scores) == pytest.approx(np.median(bundle.calibration_scores), rel=0.5)


def test_the_mask_of_a_moved_part_marks_the_place_of_an_unmoved_one(bundle: Bundle, tmp_path: Path):
    centres = []
    for number, (x_px, y_px, angle_deg) in enumerate([(0.0, 0.0, 0.0), *MOVED]):
        move = {"x_px": x_px, "y_px": y_px, "angle_deg": angle_deg}
        image = write_picture_in(tmp_path / f"test/blot/{number}.png", part_picture(5, **move, defect=True))
        plain = part_picture(5, **move).astype(int)
        marks = (np.abs(read_image(image).astype(int) - plain).max(axis=2) > 40).astype(np.uint8) * 255
        write_picture_in(tmp_path / f"ground_truth/blot/{number}.png", cv2.merge([marks] * 3))
    truth = read_ground_truth(tmp_path, {"blot": list_images(tmp_path / "test/blot")}, bundle.info, silent)
    for mask in truth.marked.values():
        centres.append(np.argwhere(mask).mean(axis=0))
    assert len(centres) == 5
    assert np.abs(np.array(centres) - centres[0]).max() < 0.7


def write_picture_in(path: Path, picture: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_picture(path, picture)


def test_a_station_cannot_move_the_region_of_a_bundle_that_aligns(bundle: Bundle, folder: Path):
    station = StationOptions(camera="top", bundle=folder.parent / "aligned.safetensors", roi=(0, 0, 140, 120))
    with pytest.raises(BundleError, match=r"aligns parts by fixtures in the picture.*remove stations\.cap\.roi"):
        load_cropper("cap", station)
    same = station.model_copy(update={"roi": ROI})
    assert load_cropper("cap", same).geometry.alignment == bundle.info.alignment


def test_a_shadow_that_aligns_in_another_way_is_refused_in_one_line(bundle: Bundle, folder: Path, tmp_path: Path):
    assert bundle.info.alignment is not None
    stricter = msgspec.structs.replace(bundle.info.alignment, least_match=0.9)
    other = msgspec.structs.replace(bundle.info.alignment, limit_px=10.0)
    path = folder.parent / "aligned.safetensors"
    change_bundle(path, tmp_path / "stricter.safetensors", alignment=stricter)
    assert shadow_bundle(tmp_path / "stricter.safetensors", bundle, None).info.alignment == stricter
    for name, alignment in (("other", other), ("none", None)):
        change_bundle(path, tmp_path / f"{name}.safetensors", alignment=alignment)
        with pytest.raises(BundleError, match="it aligns parts in another way than the live bundle") as error:
            shadow_bundle(tmp_path / f"{name}.safetensors", bundle, None)
        assert "\n" not in str(error.value)
    assert load_bundle(path).info == bundle.info
