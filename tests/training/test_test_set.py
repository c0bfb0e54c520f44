from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from support.pictures import HEIGHT_PX, WIDTH_PX, good_picture, write_picture

from stream.core.errors import DatasetError
from stream.core.images import read_image
from stream.core.verdict import Cause
from stream.model.bundle import load_bundle
from stream.model.bundle_info import BundleInfo
from stream.model.patchcore.preprocess import network_input
from stream.training.progress import silent
from stream.training.test_set import read_test_set


@pytest.fixture(scope="module")
def info(small_bundle: Path) -> BundleInfo:
    return load_bundle(small_bundle).info


def test_every_image_has_its_type_its_network_input_and_its_mask(untouched: Path, info: BundleInfo) -> None:
    found = read_test_set(untouched, info, silent)
    assert [image.kind for image in found.images] == ["good"] * 12 + ["left"] * 5 + ["right"] * 5
    assert (found.refused, found.unreadable, found.warnings) == ([], [], [])
    for image in found.images:
        np.testing.assert_array_equal(image.pixels, network_input(read_image(image.path), info.spec.input_px))
        assert (image.marked is None) == (image.kind == "good")
        assert image.preprocess_s > 0


def test_what_the_frame_checks_of_the_line_refuse_is_kept_apart_with_its_reason(
    dataset: Path, info: BundleInfo
) -> None:
    write_picture(dataset / "test/good/dark.png", good_picture(1) // 8)
    write_picture(dataset / "test/left/blurred.png", np.asarray(cv2.GaussianBlur(good_picture(2), (0, 0), 6), np.uint8))
    write_picture(dataset / "test/left/white.png", np.full((HEIGHT_PX, WIDTH_PX, 3), 255, np.uint8))
    found = read_test_set(dataset, info, silent)
    assert len(found.images) == 22
    assert [(image.path.name, image.kind, image.cause) for image in found.refused] == [
        ("dark.png", "good", Cause.BAD_FRAME),
        ("blurred.png", "left", Cause.BAD_FRAME),
        ("white.png", "left", Cause.BAD_FRAME),
    ]
    assert [image.reason for image in found.refused] == ["too dark", "out of focus", "over-exposed"]
    assert "mean brightness" in found.refused[0].detail


def test_images_of_a_size_that_the_line_refuses_are_refused_here_and_named(dataset: Path, info: BundleInfo) -> None:
    write_picture(dataset / "test/good/small.png", good_picture(1, width_px=100, height_px=80))
    write_picture(dataset / "test/good/large.png", good_picture(1, width_px=320, height_px=240))
    found = read_test_set(dataset, info, silent)
    assert [(image.path.name, image.reason) for image in found.refused] == [
        ("large.png", "wrong_geometry"),
        ("small.png", "wrong_geometry"),
    ]
    (warning,) = found.warnings
    assert "the picture is 320×240 px, the bundle learned 160×120" in warning
    assert "test/good/large.png, test/good/small.png" in warning


def test_a_bundle_with_a_region_takes_any_image_that_contains_it(dataset: Path, info: BundleInfo) -> None:
    write_picture(dataset / "test/good/small.png", good_picture(1, width_px=100, height_px=80))
    write_picture(dataset / "test/good/large.png", good_picture(1, width_px=320, height_px=240))
    found = read_test_set(dataset, msgspec.structs.replace(info, roi=(70, 20, 90, 90)), silent)
    assert [image.path.name for image in found.refused] == ["small.png"]
    assert "too small for region 70,20,90,90" in found.refused[0].detail


def test_a_bundle_fitted_for_other_images_is_refused_if_a_line_would_inspect_none_of_these(
    dataset: Path, info: BundleInfo
) -> None:
    with pytest.raises(DatasetError, match=r"none of the 22 test images \(first: .*100\.png: the picture is 160×120"):
        read_test_set(dataset, msgspec.structs.replace(info, picture_px=(640, 480)), silent)


def test_a_damaged_image_is_skipped_and_named(dataset: Path, info: BundleInfo) -> None:
    damaged = dataset / "test/left/201.png"
    damaged.write_bytes(damaged.read_bytes()[:500])
    found = read_test_set(dataset, info, silent)
    assert (len(found.images), found.unreadable) == (21, [damaged])
    (warning,) = found.warnings
    assert "201.png: damaged picture" in warning


def test_many_damaged_images_are_refused(dataset: Path, info: BundleInfo) -> None:
    for name in ("test/left/201.png", "test/good/100.png"):
        (dataset / name).write_bytes(b"not a picture")
    with pytest.raises(
        DatasetError, match=r"2 of 22 test images cannot be read \(test/good/100\.png, test/left"
    ) as error:
        read_test_set(dataset, info, silent)
    assert "the first: " in str(error.value)
    assert "100.png: not a picture" in str(error.value)


def test_masks_are_checked_before_an_image_is_read(dataset: Path, info: BundleInfo) -> None:
    (dataset / "ground_truth/right/304_mask.png").write_bytes(b"not a picture")
    stages: list[str] = []
    with pytest.raises(DatasetError, match=r"304_mask\.png"):
        read_test_set(dataset, info, lambda stage, _done, _total: stages.append(stage))
    assert set(stages) == {"check ground truth"}


@pytest.mark.parametrize("missing", ["", "test", "test/good"])
def test_a_missing_folder_is_named(dataset: Path, info: BundleInfo, missing: str) -> None:
    shutil.rmtree(dataset / missing)
    with pytest.raises(DatasetError, match="no such folder; evaluation needs test/good") as caught:
        read_test_set(dataset, info, silent)
    assert str(caught.value).startswith(f"{dataset / missing}: ")
