"""The images of a folder as network inputs, read once, for fit and calibration."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import DatasetError, FrameFault
from stream.core.images import read_image
from stream.core.parts import Placement
from stream.core.verdict import Cause
from stream.model.patchcore.geometry import Geometry
from stream.training.memory_budget import MemoryBudget
from stream.training.progress import Track, silent
from stream.training.spooled_array import SpooledArray

#: Highest share of unreadable images in a folder; more are refused. Also of those in which no part is found.
MAX_UNREADABLE = 0.05
#: Share of the free memory that network inputs may take; features are read more often.
_SHARE_OF_MEMORY = 0.25


class Inputs(Protocol):
    """(N, H, W, 3) uint8 RGB network inputs: an array, or rows in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, 3)."""
        ...

    def __getitem__(self, rows: Any, /) -> NDArray[np.uint8]:
        """Return the network inputs at an array of indices."""
        ...


def batches(inputs: Inputs, rows: NDArray[np.int64], size: int = 8) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (inputs done after this batch, batch) for the network inputs at `rows`."""
    for begin in range(0, len(rows), size):
        part = rows[begin : begin + size]
        yield begin + len(part), inputs[part]


def iter_inputs(inputs: Inputs, rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Yield the network inputs at `rows`, (H, W, 3) uint8 RGB, one by one."""
    for _, batch in batches(inputs, rows):
        yield from batch


@dataclass(frozen=True)
class Unreadable:
    """An image that was skipped, and why: it cannot be read, or the part was not found."""

    path: Path
    reason: str


@dataclass(frozen=True)
class ImageSet:
    """The readable images of a folder as network inputs; close them when done.

    Attributes:
        inputs: (N, H, W, 3) uint8 RGB.
        paths: of each.
        hashes: of each network input.
        sizes_px: (width, height) of each image.
        gray: whether each image has no colour.
        unreadable: those skipped.
        not_found: those skipped because the part was not found, or lies too far from its place.
        placements: how the part lies in each; empty: it was not looked for.
    """

    inputs: SpooledArray
    paths: list[Path]
    hashes: list[str]
    sizes_px: list[tuple[int, int]]
    gray: list[bool]
    unreadable: list[Unreadable]
    not_found: list[Unreadable]
    placements: list[Placement]

    @property
    def picture_px(self) -> tuple[int, int] | None:
        """(width, height) of the images, or None if they differ."""
        return self.sizes_px[0] if len(set(self.sizes_px)) == 1 else None

    def distinct(self) -> NDArray[np.int64]:
        """Return the rows of the images, without those that show the same pixels as one before them."""
        first: dict[str, int] = {}
        for row, name in enumerate(self.hashes):
            first.setdefault(name, row)
        return np.array(sorted(first.values()), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.inputs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.inputs.close()


def read_network_inputs(
    paths: list[Path],
    geometry: Geometry,
    *,
    memory: MemoryBudget,
    spool: Path,
    track: Track = silent,
) -> ImageSet:
    """Read, align, crop and resize images; damaged ones, and those without the part, are skipped and named.

    What does not fit into the memory budget goes to a temporary file in the folder `spool`.

    Raises:
        DatasetError: an image is smaller than the region, more than 5 % are unreadable, or more than 5 % do not show
            the part at its place.
        DiskError: the spool's disk is full.
    """
    shape = (geometry.input_px[1], geometry.input_px[0], 3)
    held = len(paths) * math.prod(shape) <= _SHARE_OF_MEMORY * memory.left_bytes()
    inputs = SpooledArray(shape, np.uint8, capacity=len(paths), folder=None if held else spool)
    images = ImageSet(inputs, [], [], [], [], [], [], [])
    unreadable = images.unreadable
    try:
        for done, path in enumerate(paths, start=1):
            try:
                image = read_image(path)
                placement = geometry.placement(image)
                network = geometry.network_input(geometry.region(image, placement))
                inputs.append(network[None])
                images.paths.append(path)
                images.hashes.append(network_input_hash(network))
                images.sizes_px.append((image.shape[1], image.shape[0]))
                images.gray.append(bool((network == network[..., :1]).all()))
                if placement is not None:
                    images.placements.append(placement)
            except DatasetError as error:
                unreadable.append(Unreadable(path, str(error)))
            except FrameFault as fault:
                if fault.cause is not Cause.NOT_FOUND:
                    raise DatasetError(f"{path}: {fault.detail}; choose another --roi or remove the image") from None
                images.not_found.append(Unreadable(path, f"{path}: {fault.detail}"))
            track("read images", done, len(paths))
        _check_found(paths, images.not_found)
        if len(unreadable) > MAX_UNREADABLE * len(paths):
            names = ", ".join(item.path.name for item in unreadable[:5])
            raise DatasetError(
                f"{paths[0].parent}: {len(unreadable)} of {len(paths)} images cannot be read ({names}"
                f"{', …' if len(unreadable) > 5 else ''}), more than {MAX_UNREADABLE:.0%}; mend or remove them; the "
                f"first: {unreadable[0].reason}"
            )
    except BaseException:
        inputs.close()
        raise
    return images


def _check_found(paths: list[Path], not_found: list[Unreadable]) -> None:
    """Raise DatasetError if the part was not found in too many images."""
    if len(not_found) > MAX_UNREADABLE * len(paths):
        names = ", ".join(item.path.name for item in not_found[:5])
        raise DatasetError(
            f"{paths[0].parent}: in {len(not_found)} of {len(paths)} images the part is not at its place ({names}"
            f"{', …' if len(not_found) > 5 else ''}), more than {MAX_UNREADABLE:.0%}; mark another --fixture, choose "
            f"another --reference, or raise the limits of --align; the first: {not_found[0].reason}"
        )


def network_input_hash(image: NDArray[np.uint8]) -> str:
    """Return a hash of the pixels of a network input."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()[:16]
