"""Reads masks from files: YAML of our own, polygons of labelme or COCO, or a picture whose pixels are painted.

In labels and in names of pictures the first word is the kind: `ignore hole`, `judge-body.png`, `zone edge factor=2`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from stream.core.errors import BundleError, ConfigError, DatasetError
from stream.core.images import read_image
from stream.core.yaml_text import read_text, read_yaml
from stream.model.bundle_info import BundleInfo
from stream.model.mask_exports import exported_masks, labelled_mask, names_a_kind
from stream.model.patchcore.masks import Kind, Mask, Masks, polygons_of
from stream.model.patchcore.preprocess import Roi

#: Largest coordinate, px, and factor.
_LARGEST = 1_000_000
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
    try:
        return _read(path)
    except ConfigError as error:  # labels may hold anything
        raise ConfigError("".join(letter if letter.isprintable() else "?" for letter in str(error))) from None


def _read(path: Path) -> MaskFile:
    suffix = path.suffix.lower()
    if suffix in _PICTURES:
        return _read_picture(path)
    if suffix not in (".yaml", ".yml", ".json"):
        raise ConfigError(
            f"{path}: expected masks as .yaml, .json (labelme or COCO) or a picture ({' '.join(_PICTURES)})"
        )
    text = read_text(path, absent="no such file of masks")
    if suffix != ".json":
        _, data = read_yaml(text, str(path))
        return MaskFile(str(path), None, tuple(_checked(path, mask) for mask in _own(path, data)))
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{path}: not JSON: a number of thousands of digits, or nested too deeply") from None
    size_px, masks = exported_masks(path, data)
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


def check_masks(station: str, files: Sequence[Path], bundle: Path, info: BundleInfo) -> None:
    """Raise BundleError where a station's files are not the masks of its bundle; ConfigError if one is wrong."""
    if not files:  # the bundle's own
        return
    region_px = info.picture_px if info.roi is None else info.roi[2:]
    given = None
    if info.masks is not None or region_px is not None:
        region_px = region_px if info.masks is None else info.masks.region_px
        given = masks_of([read_masks(path) for path in files], region_px or (1, 1), info.picture_px, info.roi)
    if given != info.masks or given is None:
        has = "no masks" if info.masks is None else f"the masks {info.masks.names}"
        other = "" if given is None or info.masks is None or given.names != info.masks.names else " of another shape"
        raise BundleError(
            f"{bundle}: learned with {has}{other}, not with those of stations.{station}.masks; teach or fit it with "
            "them, or leave them out"
        )


def file_of(source: str, masks: Masks) -> MaskFile:
    """Return the masks of a bundle as if they had been read, for a fit like it."""
    return MaskFile(source, masks.region_px, masks.areas)


def _in_region(
    file: MaskFile, mask: Mask, region_px: tuple[int, int], picture_px: tuple[int, int] | None, roi: Roi | None
) -> Mask:
    width_px, height_px = region_px
    if file.size_px not in (None, region_px):
        if roi is None or file.size_px != picture_px:
            whole = "" if None in (roi, picture_px) else ", or on the whole picture"
            raise ConfigError(
                f"{file.source}: drawn on {file.size_px[0]}×{file.size_px[1]} px; draw it on the region of "
                f"{width_px}×{height_px}{whole}"
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


def _checked(path: Path, mask: Mask, *, painted: bool = False) -> Mask:
    """Raise ConfigError for a mask that has no name, no area or no usable factor."""
    problem = None
    numbers = [mask.factor, *(mask.rectangle or ()), *(mask.circle or ())]
    numbers += [number for polygon in mask.polygons for point in polygon for number in point]
    if not mask.name.strip() or len(mask.name) > 64 or not mask.name.isprintable():
        raise ConfigError(f"{path}: mask '{mask.name[:64]!s}': give it a name of 1 to 64 letters")
    if not all(abs(number) <= _LARGEST for number in numbers):
        problem = f"expected numbers of at most {_LARGEST:,}"
    elif not mask.factor > 0:
        problem = f"factor: expected a number above 0, got {mask.factor:g}; a place that is not judged is kind: ignore"
    elif mask.factor != 1 and mask.kind == "ignore":
        problem = "factor: what is ignored has no threshold; leave it out, or make it kind: zone"
    elif mask.rectangle is not None and not min(mask.rectangle[2:]) > 0:
        problem = "rectangle: expected [x, y, width, height] with a width and height above 0"
    elif mask.circle is not None and not mask.circle[2] > 0:
        problem = "circle: expected [x, y, radius] with a radius above 0"
    elif not painted and any(len(polygon) < 3 for polygon in mask.polygons):
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
        except (msgspec.ValidationError, TypeError, OverflowError) as error:
            reason = re.sub(
                r"Object contains unknown field `(.*?)`", rf"unknown field '\1'; its shape is {_SHAPES}", str(error)
            )
            raise ConfigError(f"{path}: mask '{name}': {reason}") from None
        shapes = (entry.polygon, entry.polygons, entry.rectangle, entry.circle)
        if sum(bool(shape) for shape in shapes) != 1:
            raise ConfigError(f"{path}: mask '{name}': expected one shape: {_SHAPES}")
        polygons = entry.polygons or (() if not entry.polygon else (entry.polygon,))
        yield Mask(entry.name, entry.kind, polygons, entry.rectangle, entry.circle, entry.factor)


def _read_picture(path: Path) -> MaskFile:
    try:
        painted = np.asarray(read_image(path).any(axis=2))
    except DatasetError as error:
        raise ConfigError(str(error)) from None
    if not painted.any():
        raise ConfigError(f"{path}: no pixel is painted; what is not black is the mask")
    label = path.stem if names_a_kind(path.stem) else f"ignore {path.stem}"
    mask = msgspec.structs.replace(labelled_mask(path, label, []), polygons=polygons_of(painted))
    return MaskFile(str(path), (painted.shape[1], painted.shape[0]), (_checked(path, mask, painted=True),))
