from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from support.labelled import SQUARE_PX
from support.pictures import HEIGHT_PX, WIDTH_PX, good_picture, write_picture

from stream.core.images import read_image
from stream.core.verdict import Cause, Verdict
from stream.model.bundle import load_bundle
from stream.model.bundle_info import BundleInfo
from stream.training.evaluate import evaluate
from stream.training.outcome_overlays import PixelMaps, draw_outcomes
from stream.training.outcomes import ImageOutcome, Outcome, Outcomes


@pytest.fixture(scope="module")
def info(small_bundle: Path) -> BundleInfo:
    return load_bundle(small_bundle).info


def drawn_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def outcomes(**images: list[ImageOutcome]) -> Outcomes:
    return {outcome: images.get(str(outcome), []) for outcome in Outcome}


def read(path: Path) -> NDArray[np.uint8]:
    return read_image(path)


def test_every_image_gets_an_overlay_in_the_folder_of_its_outcome_numbered_from_the_worst(
    small_bundle: Path, dataset: Path, tmp_path: Path
) -> None:
    write_picture(dataset / "test" / "good" / "dark.png", good_picture(1) // 8)
    overlays = tmp_path / "out" / "overlays"
    report = evaluate(small_bundle, dataset, overlays=overlays)
    wanted = [
        f"{outcome}/{rank:04d}_{image.kind}_{Path(image.path).stem}.png"
        for outcome, images in report.outcomes.items()
        for rank, image in enumerate(images, start=1)
    ]
    assert drawn_files(overlays) == sorted(wanted)
    assert len(wanted) == 23
    assert "refused/0001_good_dark.png" in wanted
    assert list(overlays.parent.iterdir()) == [overlays]


def test_an_overlay_shows_the_part_below_a_header_and_is_painted_where_the_defect_is(
    small_bundle: Path, untouched: Path, tmp_path: Path
) -> None:
    evaluate(small_bundle, untouched, overlays=tmp_path / "overlays")
    (path,) = (tmp_path / "overlays").rglob("*_left_202.png")
    picture, source = read(path), read(untouched / "test/left/202.png")
    assert picture.shape[0] > HEIGHT_PX
    assert picture.shape[1] == WIDTH_PX
    changed = (picture[-HEIGHT_PX:] != source).any(axis=2)
    assert changed[26 : 26 + SQUARE_PX, 23 : 23 + SQUARE_PX].mean() > changed[:, WIDTH_PX // 2 :].mean()


def test_the_mask_of_the_ground_truth_is_outlined_also_where_nothing_was_found(
    untouched: Path, info: BundleInfo, tmp_path: Path
) -> None:
    missed = ImageOutcome("test/left/202.png", "left", -1.0, Verdict.GOOD)
    mask = np.zeros((96, 96), np.bool_)
    mask[20:40, 10:30] = True
    maps = {untouched / missed.path: PixelMaps(np.zeros((12, 12), np.float32), mask)}
    draw_outcomes(outcomes(missed=[missed]), untouched, info, maps, overlays=tmp_path / "overlays", for_page=False)
    picture, source = read(tmp_path / "overlays/missed/0001_left_202.png"), read(untouched / "test/left/202.png")
    rows, columns = np.nonzero((picture[-HEIGHT_PX:] != source).any(axis=2))
    # 96×96 became 160×120: rows 25 to 50, columns 17 to 50.
    assert abs(int(rows.min()) - 25) <= 2
    assert abs(int(rows.max()) - 49) <= 2
    assert abs(int(columns.min()) - 17) <= 2
    assert abs(int(columns.max()) - 49) <= 2
    assert (picture[-HEIGHT_PX:] == source).all(axis=2)[30:45, 22:45].all()


def test_the_region_of_the_bundle_is_drawn_and_all_of_an_image_that_does_not_contain_it(
    dataset: Path, info: BundleInfo, tmp_path: Path
) -> None:
    write_picture(dataset / "test/good/small.png", good_picture(1, width_px=100, height_px=80))
    passed = ImageOutcome("test/good/100.png", "good", 1.0, Verdict.GOOD)
    refused = ImageOutcome("test/good/small.png", "good", None, Verdict.UNINSPECTED, Cause.WRONG_GEOMETRY, "too small")
    pictures = draw_outcomes(
        outcomes(passed=[passed], refused=[refused]),
        dataset,
        msgspec.structs.replace(info, roi=(10, 0, 150, 110)),
        {},
        overlays=tmp_path / "overlays",
        for_page=True,
    )
    shapes = {
        picture.image.path: np.asarray(cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)).shape
        for picture in pictures
    }
    assert shapes == {"test/good/100.png": (110, 150, 3), "test/good/small.png": (80, 100, 3)}
    assert read(tmp_path / "overlays/passed/0001_good_100.png").shape[1] == 150


def test_images_of_one_name_do_not_overwrite_each_other(dataset: Path, info: BundleInfo, tmp_path: Path) -> None:
    (dataset / "test/good/100.jpg").write_bytes(cv2.imencode(".jpg", good_picture(100))[1].tobytes())
    passed = [ImageOutcome(f"test/good/100.{suffix}", "good", 1.0, Verdict.GOOD) for suffix in ("jpg", "png")]
    draw_outcomes(outcomes(passed=passed), dataset, info, {}, overlays=tmp_path / "overlays", for_page=False)
    assert drawn_files(tmp_path / "overlays") == ["passed/0001_good_100.png", "passed/0002_good_100.png"]


def test_a_very_long_name_is_cut(dataset: Path, info: BundleInfo, tmp_path: Path) -> None:
    name = "ü" * 120 + ".png"
    (dataset / "test/good/100.png").rename(dataset / "test/good" / name)
    passed = [ImageOutcome(f"test/good/{name}", "good", 1.0, Verdict.GOOD)]
    draw_outcomes(outcomes(passed=passed), dataset, info, {}, overlays=tmp_path / "overlays", for_page=False)
    assert drawn_files(tmp_path / "overlays") == [f"passed/0001_good_{'ü' * 55}.png"]


def test_without_overlays_only_the_images_of_the_page_are_drawn(untouched: Path, info: BundleInfo) -> None:
    passed = [
        ImageOutcome(f"test/good/{100 + number % 12}.png", "good", float(-number), Verdict.GOOD) for number in range(40)
    ]
    drawn: list[int] = []
    pictures = draw_outcomes(
        outcomes(passed=passed),
        untouched,
        info,
        {},
        overlays=None,
        for_page=True,
        track=lambda _stage, done, _total: drawn.append(done),
    )
    assert [picture.rank for picture in pictures] == list(range(1, 13))
    assert len(drawn) == 12


def test_overlays_appear_whole_or_not_at_all(small_bundle: Path, dataset: Path, tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, _total: int) -> None:
        if stage == "draw overlays" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(small_bundle, dataset, overlays=tmp_path / "out" / "overlays", track=interrupt)
    assert list((tmp_path / "out").iterdir()) == []
