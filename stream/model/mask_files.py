"""Reads masks from files: YAML of our own, polygons of labelme or COCO, or a picture whose pixels are painted.

In labels and in the names of pictures the first word is the kind: `ignore hole`, `judge-body.png`, `zone edge factor=2`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import ruamel.yaml
from ruamel.yaml.error import YAMLError

from stream.core.errors import ConfigError, DatasetError
from stream.core.images import read_image
from stream.model.patchcore.masks import Kind, Mask, Masks, polygons_of
from stream.model.patchcore.preprocess import Roi

_KINDS: dict[str, Kind] = {"ignore": "ignore", "judge": "judge_only", "zone": "zone"}
_LABEL = re.compile(r"(ignore|judge|zone)(?![a-z]).*", re.IGNORECASE)
_FACTOR = re.compile(r"[\s_-]*factor=([0-9.]+)$", re.IGNORECASE)
_PICTURES = (".png", ".bmp", ".tif", ".tiff")
_SHAPES = "polygon, polygons, rectangle or circle"


class MaskFile(NamedTuple):
    """The masks of a file.

    Attributes:
        source: its path, for errors.
        size_px: (width, height) of the picture that they were drawn on; None: they are in px of the region.
        masks: as drawn.
    """

    source: str
    size_px: tuple[int, int] | None
    masks: tuple[Mask, ...]


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mask of our own YAML."""

    name: str
    kind: Kind
    polygon: tuple[tuple[float, float], ...] | None = None
    polygons: tuple[tuple[tuple[float, float], ...], ...] | None = None
    rectangle: tuple[float, float, float, float] | None = None
    circle: tuple[float, float, float] | None = None
    factor: float = 1.0


def read_masks(path: Path) -> MaskFile:
    """Read a file by the ending of its name; raises ConfigError, one line that names file, mask and fix."""
    suffix = path.suffix.lower()
    if suffix in _PICTURES:
        return _read_picture(path)
    if suffix not in (".yaml", ".yml", ".json"):
        raise ConfigError(f"{path}: expected masks as .yaml, .json (labelme or COCO) or a picture ({' '.join(_PICTURES)})")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file of masks") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        data = json.loads(text) if suffix == ".json" else ruamel.yaml.YAML(typ="safe", pure=True).load(text)
    except (ValueError, YAMLError, RecursionError, TypeError, KeyError) as error:
        reason = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise ConfigError(f"{path}: not {'JSON' if suffix == '.json' else 'YAML'}: {reason}") from None
    if suffix != ".json":
        return MaskFile(str(path), None, tuple(_checked(path, mask) for mask in _own(path, data)))
    size_px, masks = _exported(path, data)
    return MaskFile(str(path), size_px, tuple(_checked(path, mask) for mask in masks))


def masks_of(
    files: Sequence[MaskFile], region_px: tuple[int, int], picture_px: tuple[int, int] | None, roi: Roi | None
) -> Masks | None:
    """Return all masks in px of the region; None: there are no files.

    What was drawn on the whole picture moves with the region's corner, and is cut at its edges.

    Args:
        files: as read.
        region_px: (width, height) of the region.
        picture_px: (width, height) of the pictures; None: they differ.
        roi: the region in them; None: all.

    Raises:
        ConfigError: drawn on a picture of another size, outside of the region, or two of one name.
    """
    masks: list[Mask] = []
    for file in files:
        for mask in file.masks:
            if any(other.name == mask.name for other in masks):
                raise ConfigError(f"{file.source}: mask '{mask.name}': another one has this name; give it its own")
            masks.append(_in_region(file, mask, region_px, picture_px, roi))
    return Masks(region_px, tuple(masks)) if files else None


def file_of(source: str, masks: Masks) -> MaskFile:
    """Return the masks of a bundle as if they had been read, for a fit like it."""
    return MaskFile(source, masks.region_px, masks.areas)


def _in_region(
    file: MaskFile, mask: Mask, region_px: tuple[int, int], picture_px: tuple[int, int] | None, roi: Roi | None
) -> Mask:
    width_px, height_px = region_px
    if file.size_px not in (None, region_px):
        if roi is None or file.size_px != picture_px:
            whole = "" if roi is None or picture_px is None else " or on the whole picture of {}×{} px".format(*picture_px)
            raise ConfigError(
                f"{file.source}: drawn on {file.size_px[0]}×{file.size_px[1]} px, but the region is {width_px}×{height_px} "
                f"px; draw it on the region{whole}"
            )
        drawn, mask = mask, mask.moved(-roi[0], -roi[1])
        if _outside(mask, region_px) and _touches(mask, region_px):
            x, y, *_ = roi
            area = drawn.area(picture_px)[y : y + height_px, x : x + width_px]
            polygons = polygons_of(area)
            if polygons:
                return msgspec.structs.replace(mask, polygons=polygons, rectangle=None, circle=None)
    if _outside(mask, region_px):
        left, top, right, bottom = mask.bounds
        raise ConfigError(
            f"{file.source}: mask '{mask.name}': reaches from {left:g},{top:g} to {right:g},{bottom:g}, outside of the "
            f"region of {width_px}×{height_px} px, whose upper left pixel is 0,0"
        )
    return mask


def _outside(mask: Mask, size_px: tuple[int, int]) -> bool:
    left, top, right, bottom = mask.bounds
    return not (left >= 0 and top >= 0 and right <= size_px[0] and bottom <= size_px[1])


def _touches(mask: Mask, size_px: tuple[int, int]) -> bool:
    left, top, right, bottom = mask.bounds
    return left < size_px[0] and top < size_px[1] and right > 0 and bottom > 0


def _checked(path: Path, mask: Mask) -> Mask:
    """Raise ConfigError for a mask that has no name, no area or no usable factor."""
    problem = None
    numbers = [mask.factor, *(mask.rectangle or ()), *(mask.circle or ())]
    numbers += [number for polygon in mask.polygons for point in polygon for number in point]
    if not mask.name.strip() or len(mask.name) > 64 or not mask.name.isprintable():
        raise ConfigError(f"{path}: mask '{mask.name[:64]!s}': give it a name of 1 to 64 letters")
    if not all(math.isfinite(number) for number in numbers):
        problem = "expected finite numbers"
    elif not mask.factor > 0:
        problem = f"factor: expected a number above 0, got {mask.factor:g}; a place that is not judged is kind: ignore"
    elif mask.factor != 1 and mask.kind == "ignore":
        problem = "factor: what is ignored has no threshold; leave it out, or make it kind: zone"
    elif mask.rectangle is not None and not min(mask.rectangle[2:]) > 0:
        problem = "rectangle: expected [x, y, width, height] with a width and height above 0"
    elif mask.circle is not None and not mask.circle[2] > 0:
        problem = "circle: expected [x, y, radius] with a radius above 0"
    elif any(len(polygon) < 3 for polygon in mask.polygons):
        problem = "polygon: expected 3 points [x, y] or more"
    if problem is not None:
        raise ConfigError(f"{path}: mask '{mask.name}': {problem}")
    return mask


def _own(path: Path, data: Any) -> Iterator[Mask]:
    entries = data.get("masks") if isinstance(data, dict) and set(data) == {"masks"} else None
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{path}: expected `masks:` and below it a list of {{name, kind, shape}}")
    for number, raw in enumerate(entries, start=1):
        name = raw.get("name", f"number {number}") if isinstance(raw, dict) else f"number {number}"
        try:
            entry = msgspec.convert(raw, _Entry)
        except (msgspec.ValidationError, TypeError) as error:
            reason = re.sub(r"Object contains unknown field `(.*?)`", rf"unknown field '\1'; its shape is {_SHAPES}", str(error))
            raise ConfigError(f"{path}: mask '{name}': {reason}") from None
        shapes = (entry.polygon, entry.polygons, entry.rectangle, entry.circle)
        if sum(bool(shape) for shape in shapes) != 1:
            raise ConfigError(f"{path}: mask '{name}': expected one shape: {_SHAPES}")
        polygons = entry.polygons or (() if not entry.polygon else (entry.polygon,))
        yield Mask(entry.name, entry.kind, polygons, entry.rectangle, entry.circle, entry.factor)


def _exported(path: Path, data: Any) -> tuple[tuple[int, int], list[Mask]]:
    try:
        if isinstance(data, dict) and isinstance(data.get("shapes"), list):
            return _labelme(path, data)
        if isinstance(data, dict) and isinstance(data.get("annotations"), list):
            return _coco(path, data)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path}: not as labelme and COCO write it ({type(error).__name__}: {error}); export it again") from None
    raise ConfigError(f"{path}: expected labelme's `shapes` or COCO's `annotations`")


def _labelme(path: Path, data: dict[str, Any]) -> tuple[tuple[int, int], list[Mask]]:
    masks: list[Mask] = []
    for shape in data["shapes"]:
        label, kind = str(shape["label"]), shape.get("shape_type", "polygon")
        points = tuple((float(x), float(y)) for x, y in shape["points"])
        mask = _labelled(path, label, masks)
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
        mask = _labelled(path, categories[annotation["category_id"]], masks)
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


def _read_picture(path: Path) -> MaskFile:
    try:
        painted = read_image(path).any(axis=2)
    except DatasetError as error:
        raise ConfigError(str(error)) from None
    if not painted.any():
        raise ConfigError(f"{path}: no pixel is painted; what is not black is the mask")
    label = path.stem if _LABEL.fullmatch(path.stem) else f"ignore {path.stem}"
    mask = msgspec.structs.replace(_labelled(path, label, []), polygons=polygons_of(painted))
    if not (mask.kind != "ignore" or mask.factor == 1):
        raise ConfigError(f"{path}: factor: what is ignored has no threshold; leave it out, or name the file zone")
    return MaskFile(str(path), (painted.shape[1], painted.shape[0]), (mask,))


def _labelled(path: Path, label: str, before: list[Mask]) -> Mask:
    """Return a mask without shape of a label; further ones of one label are numbered."""
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
