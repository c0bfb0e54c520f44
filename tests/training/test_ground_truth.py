from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from support.pictures import HEIGHT_PX, WIDTH_PX, good_picture, write_picture

from stream.core.errors import DatasetError
from stream.core.images import list_images
from stream.model.bundle import load_bundle
from stream.model.bundle_info import BundleInfo
from stream.training.ground_truth import GroundTruth, read_ground_truth
from stream.training.progress import silent

WHITE = np.full((HEIGHT_PX, WIDTH_PX), 255, np.uint8)
BLACK = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)


@pytest.fixture(scope="module")
def info(small_bundle: Path) -> BundleInfo:
    return load_bundle(small_bundle).info


def read(dataset: Path, info: BundleInfo) -> GroundTruth:
    folders = {folder.name: list_images(folder) for folder in sorted((dataset / "test").iterdir())}
    return read_ground_truth(dataset, folders, info, silent)


def write(path: Path, marks: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), marks)


def test_every_defect_has_the_mask_of_its_name_at_the_size_of_the_network_input(
    dataset: Path, info: BundleInfo
) -> None:
    truth = read(dataset, info)
    assert truth.warnings == []
    assert {path.name for path in truth.marked} == {f"{seed}.png" for seed in (*range(200, 205), *range(300, 305))}
    mask = truth.marked[dataset / "test/left/200.png"]
    assert mask.shape == (96, 96)
    rows, columns = np.nonzero(mask)
    # The square of 20 px at (15, 10), of 160×120 px, that became 96×96.
    assert (columns.min(), columns.max()) == (9, 20)
    assert (rows.min(), rows.max()) == (8, 23)


def test_a_mask_may_have_the_name_of_its_image(dataset: Path, info: BundleInfo) -> None:
    before = read(dataset, info)
    for path in list((dataset / "ground_truth").rglob("*_mask.png")):
        path.rename(path.with_name(path.name.replace("_mask", "")))
    after = read(dataset, info)
    assert after.warnings == []
    assert after.marked.keys() == before.marked.keys()


def test_without_ground_truth_there_are_no_masks(dataset: Path, info: BundleInfo) -> None:
    shutil.rmtree(dataset / "ground_truth")
    assert read(dataset, info) == ({}, set(), [])


def test_an_empty_mask_counts_as_none_and_is_named(dataset: Path, info: BundleInfo) -> None:
    write(dataset / "ground_truth/left/202_mask.png", BLACK)
    truth = read(dataset, info)
    assert dataset / "test/left/202.png" not in truth.marked
    assert len(truth.marked) == 9
    assert truth.warnings == [
        "files of ground_truth that mark nothing count as none, 1: ground_truth/left/202_mask.png"
    ]


def test_masks_without_an_image_are_named(dataset: Path, info: BundleInfo) -> None:
    write(dataset / "ground_truth/left/999_mask.png", WHITE)
    write(dataset / "ground_truth/gone/1.png", WHITE)
    write(dataset / "ground_truth/left/203_mask.jpg", WHITE)
    (warning,) = read(dataset, info).warnings
    assert "ground_truth/gone/1.png, ground_truth/left/203_mask.jpg, ground_truth/left/999_mask.png" in warning
    assert "NAME_mask.png or NAME.png" in warning


def test_a_warning_names_ten_files_and_counts_the_others(dataset: Path, info: BundleInfo) -> None:
    for number in range(13):
        write(dataset / f"ground_truth/left/x{number:02d}_mask.png", WHITE)
    (warning,) = read(dataset, info).warnings
    assert "x09_mask.png and 3 more" in warning
    assert "x10" not in warning


def test_all_masks_that_cannot_be_used_are_named_in_one_line(dataset: Path, info: BundleInfo) -> None:
    turned, damaged = dataset / "ground_truth/left/202_mask.png", dataset / "ground_truth/right/301_mask.png"
    write(turned, np.full((WIDTH_PX, HEIGHT_PX), 255, np.uint8))
    damaged.write_bytes(damaged.read_bytes()[:60])
    write(dataset / "ground_truth/left/203.png", WHITE)
    write(dataset / "ground_truth/good/105_mask.png", WHITE)
    with pytest.raises(DatasetError, match="the ground truth of 4 images cannot be used") as caught:
        read(dataset, info)
    message = str(caught.value)
    assert "\n" not in message
    assert f"{turned}: 120×160 px, but its image {dataset / 'test/left/202.png'} is 160×120 px" in message
    assert f"{damaged}: " in message
    assert f"{dataset / 'test/left/203.png'} has two, 203_mask.png and 203.png" in message
    assert f"105_mask.png: marks a defect on the good image {dataset / 'test/good/105.png'}" in message


def test_empty_masks_of_good_images_say_nothing(dataset: Path, info: BundleInfo) -> None:
    write(dataset / "ground_truth/good/105_mask.png", BLACK)
    truth = read(dataset, info)
    assert (len(truth.marked), truth.warnings) == (10, [])


@pytest.mark.parametrize(("column", "masked"), [(52, 10), (53, 0)])
def test_masks_are_sampled_at_the_centre_of_each_pixel(
    dataset: Path, info: BundleInfo, column: int, masked: int
) -> None:
    # 160 px become 96: the centres of the new pixels lie in every 5 old columns in the 1st, 3rd and 5th.
    marks = BLACK.copy()
    marks[:, column] = 1
    for path in (dataset / "ground_truth").rglob("*.png"):
        write(path, marks)
    truth = read(dataset, info)
    assert len(truth.marked) == masked
    assert any("count as none, 10" in warning for warning in truth.warnings) == (masked == 0)


def test_masks_are_cut_to_the_region_and_those_outside_are_named(dataset: Path, info: BundleInfo) -> None:
    truth = read(dataset, msgspec.structs.replace(info, roi=(70, 20, 90, 90)))
    assert {path.parent.name for path in truth.marked} == {"right"}
    (warning,) = truth.warnings
    assert "mark nothing in the bundle's region" in warning
    assert "ground_truth/left/204_mask.png" in warning


def test_the_mask_of_an_image_that_the_line_refuses_is_left_out(dataset: Path, info: BundleInfo) -> None:
    write_picture(dataset / "test/left/200.png", good_picture(1, width_px=100, height_px=80))
    write(dataset / "ground_truth/left/200_mask.png", np.full((80, 100), 255, np.uint8))
    truth = read(dataset, info)
    assert (len(truth.marked), truth.warnings) == (9, [])
