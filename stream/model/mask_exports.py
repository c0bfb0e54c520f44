"""Masks from what labelme and COCO export, and from labels: their first word is the kind, `zone edge factor=2`."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import msgspec

from stream.core.errors import ConfigError
from stream.model.patchcore.masks import Kind, Mask

_KINDS: dict[str, Kind] = {"ignore": "ignore", "judge": "judge_only", "zone": "zone"}
_LABEL = re.compile(r"(ignore|judge|zone)(?![a-z]).*", re.IGNORECASE)
_FACTOR = re.compile(r"[\s_-]*factor=([0-9.]+)$", re.IGNORECASE)


def exported_masks(path: Path, data: Any) -> tuple[tuple[int, int], list[Mask]]:
    """Return (width, height) of the picture in an exported JSON, and the masks drawn on it; raises ConfigError."""
    try:
        if isinstance(data, dict) and isinstance(data.get("shapes"), list):
            return _labelme(path, data)
        if isinstance(data, dict) and isinstance(data.get("annotations"), list):
            return _coco(path, data)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ConfigError(
            f"{path}: not as labelme and COCO write it ({type(error).__name__}: {error}); export it again"
        ) from None
    raise ConfigError(f"{path}: expected labelme's `shapes` or COCO's `annotations`")


def _labelme(path: Path, data: dict[str, Any]) -> tuple[tuple[int, int], list[Mask]]:
    masks: list[Mask] = []
    for shape in data["shapes"]:
        label, kind = str(shape["label"]), shape.get("shape_type", "polygon")
        points = tuple((float(x), float(y)) for x, y in shape["points"])
        mask = labelled_mask(path, label, masks)
        if kind == "polygon":
            mask = msgspec.structs.replace(mask, polygons=(points,))
        elif kind == "rectangle":
            (left, right), (top, bottom) = (sorted(edges) for edges in zip(*points, strict=True))
            mask = msgspec.structs.replace(mask, rectangle=(left, top, right - left, bottom - top))
        elif kind == "circle":
            centre, rim = points
            mask = msgspec.structs.replace(mask, circle=(*centre, math.dist(centre, rim)))
        else:
            raise ConfigError(
                f"{path}: mask '{label}': unknown shape '{kind}'; draw it as polygon, rectangle or circle"
            )
        masks.append(mask)
    return _size(path, data["imageWidth"], data["imageHeight"]), _some(path, masks)


def _coco(path: Path, data: dict[str, Any]) -> tuple[tuple[int, int], list[Mask]]:
    images = {image["id"]: image for image in data["images"]}
    drawn = {annotation["image_id"] for annotation in data["annotations"]}
    if len(drawn) > 1:
        raise ConfigError(f"{path}: polygons on {len(drawn)} images; export those of one")
    categories = {category["id"]: str(category["name"]) for category in data["categories"]}
    masks: list[Mask] = []
    for annotation in data["annotations"]:
        mask = labelled_mask(path, categories[annotation["category_id"]], masks)
        outline = annotation.get("segmentation")
        if isinstance(outline, dict):
            raise ConfigError(f"{path}: mask '{mask.name}': unknown shape, a run-length mask; export polygons")
        if outline:
            polygons = tuple(tuple(zip(map(float, flat[::2]), map(float, flat[1::2]), strict=True)) for flat in outline)
            mask = msgspec.structs.replace(mask, polygons=polygons)
        else:
            x, y, width, height = (float(number) for number in annotation["bbox"])
            mask = msgspec.structs.replace(mask, rectangle=(x, y, width, height))
        masks.append(mask)
    image = images[drawn.pop()] if drawn else {"width": 0, "height": 0}
    masks = _some(path, masks)
    return _size(path, image["width"], image["height"]), masks


def names_a_kind(label: str) -> bool:
    """Whether the first word of a label is a kind."""
    return _LABEL.fullmatch(label) is not None


def labelled_mask(path: Path, label: str, before: list[Mask]) -> Mask:
    """Return a mask without shape of a label, numbered if one `before` has its name; raises ConfigError."""
    factor = _FACTOR.search(label)
    name = label[: factor.start()] if factor else label
    first = _LABEL.fullmatch(name)
    if first is None:
        raise ConfigError(f"{path}: label '{label}': its first word must be the kind: ignore, judge or zone")
    try:
        multiple = float(factor[1]) if factor else 1.0
    except ValueError:
        raise ConfigError(f"{path}: label '{label}': factor: expected a number, such as factor=1.5") from None
    taken, number, unique = {mask.name for mask in before}, 1, name
    while unique in taken:
        number += 1
        unique = f"{name} {number}"
    return Mask(unique, _KINDS[first[1].lower()], factor=multiple)


def _some(path: Path, masks: list[Mask]) -> list[Mask]:
    if not masks:
        raise ConfigError(f"{path}: nothing is drawn; draw a mask, or leave the file out")
    return masks


def _size(path: Path, width: Any, height: Any) -> tuple[int, int]:
    size_px = int(width), int(height)
    if min(size_px) < 1:
        raise ConfigError(f"{path}: does not say how large its picture is; export it again")
    return size_px
