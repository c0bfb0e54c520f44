from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stream.core.errors import ConfigError
from stream.model.mask_files import MaskFile, masks_of, read_masks
from stream.model.patchcore.masks import Mask, Masks

ROOT = Path(__file__).parents[2]
REGION = (160, 120)
SQUARE = [[10, 10], [40, 10], [40, 40], [10, 40]]


def written(folder: Path, content: Any, name: str = "masks.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def painted(folder: Path, name: str, size_px: tuple[int, int] = REGION) -> Path:
    picture = np.zeros(size_px[::-1], np.uint8)
    cv2.circle(picture, (60, 60), 20, 255, -1)
    cv2.circle(picture, (60, 60), 8, 0, -1)
    assert cv2.imwrite(str(folder / name), picture)
    return folder / name


def labelme(*shapes: dict[str, Any], size_px: tuple[int, int] = REGION) -> dict[str, Any]:
    return {"version": "5.5.0", "shapes": list(shapes), "imageWidth": size_px[0], "imageHeight": size_px[1]}


def coco(*annotations: dict[str, Any]) -> dict[str, Any]:
    return {
        "images": [{"id": 7, "width": 160, "height": 120, "file_name": "a.png"}, {"id": 8, "width": 1, "height": 1}],
        "categories": [{"id": 1, "name": "ignore print"}, {"id": 2, "name": "zone rim factor=1.5"}],
        "annotations": [{"image_id": 7, "category_id": 1} | annotation for annotation in annotations],
    }


def in_region(path: Path, **changes: Any) -> Masks:
    place: dict[str, Any] = {"region_px": REGION, "picture_px": REGION, "roi": None} | changes
    masks = masks_of([read_masks(path)], **place)
    assert masks is not None
    return masks


def test_the_example_that_ships_is_read():
    masks = in_region(ROOT / "configs/masks/cap.yaml", region_px=(512, 512))
    assert [(mask.name, mask.kind, mask.factor) for mask in masks.areas] == [
        ("date print", "ignore", 1),
        ("hole", "ignore", 1),
        ("lid", "judge_only", 1),
        ("rim", "zone", 1.5),
    ]
    masks.check((224, 224), (28, 28))


def test_the_first_word_of_a_label_of_labelme_is_the_kind_and_its_last_may_be_a_factor(tmp_path: Path):
    shapes = [
        {"label": "ignore", "points": SQUARE, "shape_type": "polygon"},
        {"label": "ignore", "points": [[60, 60], [60, 70]], "shape_type": "circle"},
        {"label": "judge-body", "points": [[150, 110], [5, 5]], "shape_type": "rectangle"},
        {"label": "zone rim factor=2", "points": SQUARE, "shape_type": "polygon"},
    ]
    masks = in_region(written(tmp_path, labelme(*shapes)))
    assert masks.areas == (
        Mask("ignore", "ignore", (tuple((float(x), float(y)) for x, y in SQUARE),)),
        Mask("ignore 2", "ignore", circle=(60, 60, 10)),
        Mask("judge-body", "judge_only", rectangle=(5, 5, 145, 105)),
        Mask("zone rim", "zone", (tuple((float(x), float(y)) for x, y in SQUARE),), factor=2),
    )


def test_polygons_and_boxes_of_coco_are_read_by_their_categories(tmp_path: Path):
    polygon = {"segmentation": [[10, 10, 40, 10, 40, 40], [60, 60, 70, 60, 70, 70]]}
    masks = in_region(written(tmp_path, coco(polygon, {"category_id": 2, "bbox": [5, 6, 50, 60]})))
    assert masks.areas == (
        Mask("ignore print", "ignore", (((10, 10), (40, 10), (40, 40)), ((60, 60), (70, 60), (70, 70)))),
        Mask("zone rim", "zone", rectangle=(5, 6, 50, 60), factor=1.5),
    )


@pytest.mark.parametrize(
    ("name", "mask", "kind", "factor"),
    [
        ("holes.png", "ignore holes", "ignore", 1),
        ("ignore-holes.png", "ignore-holes", "ignore", 1),
        ("judge.bmp", "judge", "judge_only", 1),
        ("zone rim factor=1.5.png", "zone rim", "zone", 1.5),
    ],
)
def test_a_picture_is_what_is_painted_in_it(tmp_path: Path, name: str, mask: str, kind: str, factor: float):
    path = painted(tmp_path, name)
    (area,) = in_region(path).areas
    assert (area.name, area.kind, area.factor) == (mask, kind, factor)
    np.testing.assert_array_equal(area.area(REGION), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0)


def test_what_is_drawn_on_the_whole_picture_moves_with_the_region_and_is_cut_at_its_edges(tmp_path: Path):
    shapes = [
        {"label": "ignore within", "points": [[60, 60], [80, 80]], "shape_type": "rectangle"},
        {"label": "ignore beyond", "points": [[0, 0], [60, 400]], "shape_type": "rectangle"},
    ]
    place = {"region_px": (200, 160), "picture_px": (640, 480), "roi": (50, 40, 200, 160)}
    within, beyond = in_region(written(tmp_path, labelme(*shapes, size_px=(640, 480))), **place).areas
    assert within.rectangle == (10, 20, 20, 20)
    area = beyond.area((200, 160))
    assert area[:, :10].all()
    assert not area[:, 10:].any()


OUTSIDE = {"label": "ignore far", "points": [[300, 10], [320, 10], [320, 20]], "shape_type": "polygon"}
ONE = {"name": "a", "kind": "ignore", "rectangle": [0, 0, 9, 9]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (labelme(OUTSIDE), r"mask 'ignore far': reaches from 300,10 to 320,20, outside of the region of 160×120 px"),
        (
            labelme({"label": "ignore", "points": [[1, 2], [3, 4]], "shape_type": "line"}),
            "unknown shape 'line'; draw it as",
        ),
        (labelme({"label": "scratch", "points": SQUARE}), "label 'scratch': its first word must be the kind"),
        (labelme({"label": "zone factor=.", "points": SQUARE}), "factor: expected a number, such as factor=1.5"),
        (labelme({"label": "zone factor=0", "points": SQUARE}), "factor: expected a number above 0, got 0"),
        (labelme(), "nothing is drawn"),
        (labelme({"label": "ignore", "points": SQUARE}, size_px=(32, 24)), "drawn on 32×24 px; draw it on the region"),
        (labelme({"points": SQUARE}), r"not as labelme and COCO write it \(KeyError: 'label'\)"),
        (coco({"segmentation": {"counts": "x", "size": [1, 1]}}), "unknown shape, a run-length mask; export polygons"),
        (
            coco({"bbox": [0, 0, 9, 9]}, {"image_id": 8, "bbox": [0, 0, 9, 9]}),
            "polygons on 2 images; export those of one",
        ),
        (coco(), "nothing is drawn"),
        ({"masks": []}, "expected labelme's `shapes` or COCO's `annotations`"),
        ([1], "expected labelme's `shapes` or COCO's `annotations`"),
        ("{", "not JSON: "),
    ],
)
def test_an_export_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, content: Any, reason: str):
    path = written(tmp_path, content)
    with pytest.raises(ConfigError, match=reason) as refused:
        in_region(path)
    assert str(refused.value).startswith(f"{path}:")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"masks": [ONE, ONE]}, "mask 'a': another one has this name"),
        ({"masks": [ONE | {"factor": 0, "kind": "zone"}]}, "mask 'a': factor: expected a number above 0, got 0"),
        ({"masks": [ONE | {"factor": -1, "kind": "zone"}]}, "mask 'a': factor: expected a number above 0, got -1"),
        ({"masks": [ONE | {"factor": 2}]}, "mask 'a': factor: what is ignored has no threshold"),
        ({"masks": [ONE | {"kind": "skip"}]}, "mask 'a': Invalid enum value 'skip'"),
        (
            {"masks": [{"name": "a", "kind": "ignore", "ellipse": [1, 2, 3]}]},
            "mask 'a': unknown field 'ellipse'; its shape is",
        ),
        ({"masks": [ONE | {"circle": [9, 9, 3]}]}, "mask 'a': expected one shape"),
        ({"masks": [{"name": "a", "kind": "ignore"}]}, "mask 'a': expected one shape"),
        (
            {"masks": [{"name": "a", "kind": "ignore", "polygon": [[1, 2], [3, 4]]}]},
            "mask 'a': polygon: expected 3 points",
        ),
        ({"masks": [{"name": "a", "kind": "ignore", "circle": [9, 9, 0]}]}, "mask 'a': circle: .* radius above 0"),
        ({"masks": [{"name": "a", "kind": "ignore", "rectangle": [9, 9, 0, 5]}]}, "mask 'a': rectangle: expected"),
        ({"masks": [{"name": "a", "kind": "ignore", "rectangle": [150, 9, 20, 5]}]}, "mask 'a': reaches from 150,9"),
        ("masks: [{name: a, kind: ignore, circle: [.nan, 1, 2]}]", "mask 'a': expected numbers of at most 1,000,000"),
        ({"masks": [{"kind": "ignore", "circle": [9, 9, 2]}]}, "mask 'number 1': Object missing required field `name`"),
        ({"masks": [ONE | {"name": "a\nb"}]}, r"mask 'a\?b': give it a name of 1 to 64 letters"),
        ({"masks": [ONE | {"name": " "}]}, "give it a name of 1 to 64 letters"),
        ({"masks": []}, "expected `masks:` and below it a list"),
        ("masks: [", "not YAML: "),
        ("masks: {a: 1, a: 2}", 'duplicate key "a": give each key once'),
        ("masks: [1, 2024-13-45]", "not YAML: line 1: a date or time that does not exist"),
        ("", "expected `masks:`"),
    ],
)
def test_a_file_of_our_own_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, content: Any, reason: str):
    path = written(tmp_path, content, "masks.yaml")
    with pytest.raises(ConfigError, match=reason) as refused:
        in_region(path)
    assert str(refused.value).startswith(f"{path}:")
    assert "\n" not in str(refused.value)


def test_a_picture_of_another_size_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"holes\.png: drawn on 320×240 px; draw it on the region of 160×120$"):
        in_region(painted(tmp_path, "holes.png", (320, 240)))


def test_a_picture_in_which_nothing_is_painted_is_refused(tmp_path: Path):
    assert cv2.imwrite(str(tmp_path / "black.png"), np.zeros((120, 160), np.uint8))
    with pytest.raises(ConfigError, match=r"black\.png: no pixel is painted"):
        read_masks(tmp_path / "black.png")


@pytest.mark.parametrize("name", ["nowhere.yaml", "nowhere.png", "nowhere.json", "mask.jpg"])
def test_a_file_that_is_absent_or_of_another_kind_is_refused(tmp_path: Path, name: str):
    with pytest.raises(ConfigError, match=name):
        read_masks(tmp_path / name)


def test_masks_of_several_files_need_names_of_their_own_too():
    file = MaskFile("a.yaml", None, (Mask("a", "ignore", circle=(9, 9, 2)),))
    with pytest.raises(ConfigError, match=r"b\.yaml: mask 'a': another one has this name"):
        masks_of([file, file._replace(source="b.yaml")], REGION, REGION, None)
