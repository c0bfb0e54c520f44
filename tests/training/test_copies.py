"""Copies of a picture are no evidence of their own, whatever they were saved as."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.pictures import good_picture

from stream.model.patchcore.preprocess import network_input
from stream.training.copies import near_copies
from stream.training.fit import FitSummary, calibrate, fit
from stream.training.fit_options import FitOptions


def inputs_of(pictures: Iterable[np.ndarray]) -> np.ndarray:
    return np.stack([network_input(picture, (96, 96)) for picture in pictures])


def as_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def one_pixel_off(picture: np.ndarray, number: int) -> np.ndarray:
    changed = picture.copy()
    changed[5 + number, 7 * number % 150] ^= 255
    return changed


def originals(pictures: list[np.ndarray]) -> int:
    return len(pictures) - len(near_copies(inputs_of(pictures), np.arange(len(pictures))))


def test_pictures_saved_again_are_copies_of_the_first():
    copies = [as_jpeg(good_picture(seed), quality) for seed in range(6) for quality in (95, 90, 80, 75)]
    found = near_copies(inputs_of(copies), np.arange(24))
    assert found == {row: row - row % 4 for row in range(24) if row % 4}


def test_a_changed_pixel_makes_no_other_picture():
    assert originals([one_pixel_off(good_picture(seed), number) for number in range(4) for seed in range(6)]) == 6


def test_different_pictures_are_no_copies():
    assert originals([good_picture(seed) for seed in range(60)]) == 60


def test_exposures_of_a_still_scene_are_no_copies():
    random = np.random.default_rng(0)
    still = [good_picture(1) + random.normal(0, 3, (120, 160, 3)) for _ in range(30)]
    assert originals([np.clip(picture, 0, 255).astype(np.uint8) for picture in still]) == 30


def write(folder: Path, pictures: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    for name, picture in pictures.items():
        assert cv2.imwrite(str(folder / name), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return folder


def fitted(good: Path, **options: object) -> FitSummary:
    return fit(good, good.parent / "cap.safetensors", FitOptions(size_px=96, coreset=0.05, **options))


@pytest.mark.parametrize("calibration", ["cross", "split"])
def test_twenty_pictures_and_their_copies_are_learned_as_twenty(tmp_path: Path, calibration: str):
    pictures = {}
    for seed in range(20):
        picture = good_picture(seed)
        pictures |= {f"{seed:02}.png": picture, f"{seed:02}.bmp": picture, f"{seed:02}_again.jpg": picture}
        pictures[f"{seed:02}_pixel.png"] = one_pixel_off(picture, seed)
    summary = fitted(write(tmp_path / "good", pictures), calibration=calibration)
    both = summary.bank_images + (summary.calibration_images if calibration == "split" else 0)
    assert both == 20
    assert any("20 images are exact copies of others and count once: 00.png" in note for note in summary.notes)
    assert any("40 images are almost copies of others" in note for note in summary.notes)
    assert any("not the wanted 1.00%" in warning for warning in summary.warnings)


def test_pictures_that_the_user_knows_to_be_of_different_parts_are_all_learned(tmp_path: Path):
    pictures = {f"{seed}{end}": good_picture(seed) for seed in range(4) for end in (".png", ".jpg")}
    assert fitted(write(tmp_path / "good", pictures), group_by="file").bank_images == 8


def test_a_calibration_counts_copies_once(tmp_path: Path):
    fitted(write(tmp_path / "good", {f"{seed}.png": good_picture(seed) for seed in range(6)}))
    more = {f"{seed}{end}": good_picture(seed) for seed in range(20, 26) for end in (".png", ".jpg", ".bmp")}
    bundle, others = tmp_path / "cap.safetensors", write(tmp_path / "more", more)
    assert calibrate(bundle, others, false_reject_rate=0.1).calibration_images == 6
