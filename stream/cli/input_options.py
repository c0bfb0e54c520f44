"""Values of options that a command line gives as text: sizes, tiles, regions, memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.core.errors import ConfigError

if TYPE_CHECKING:
    from stream.model.patchcore.preprocess import Roi, Size
    from stream.model.patchcore.tiles import Tiling

#: Least and largest edge of a network input.
SIZES_PX = 32, 2048
#: Most tiles along one side.
_MOST_TILES = 32


def network_size(text: str) -> Size:
    """Read `224` or `448x224`; raises ConfigError."""
    try:
        edges = [int(number) for number in text.lower().replace("×", "x").split("x")]
    except ValueError:
        edges = []
    if len(edges) not in (1, 2) or not all(SIZES_PX[0] <= edge <= SIZES_PX[1] for edge in edges):
        raise ConfigError(
            f"--size: expected pixels such as 224, or WIDTHxHEIGHT such as 448x224, each from {SIZES_PX[0]} to "
            f"{SIZES_PX[1]}, got '{text}'"
        )
    return edges[0] if len(edges) == 1 else (edges[0], edges[1])


def tiling_of(
    tiles: str | None, tile_px: int | None, scale: float, overlap_px: int, *, own_banks: bool
) -> Tiling | None:
    """Read the options of tiles; raises ConfigError."""
    from stream.model.patchcore.tiles import OVERLAP_PX, Tiling

    if tiles is not None and tile_px is not None:
        raise ConfigError("--tiles and --tile-px both say how many tiles there are; give one of them")
    if tile_px is None and scale != 1.0:
        raise ConfigError("--tile-scale: has a meaning with --tile-px only; with --tiles the scale follows from --size")
    if tiles is None and tile_px is None:
        if own_banks or overlap_px != OVERLAP_PX:
            raise ConfigError("--tile-banks, --tile-overlap: there are no tiles; add --tiles or --tile-px")
        return None
    if tile_px is not None:
        return Tiling(edge_px=tile_px, scale=scale, overlap_px=overlap_px, own_banks=own_banks)
    try:
        columns, rows = (int(number) for number in str(tiles).lower().replace("×", "x").split("x"))
    except ValueError:
        columns = rows = 0
    if not (1 <= columns <= _MOST_TILES and 1 <= rows <= _MOST_TILES and columns * rows > 1):
        raise ConfigError(f"--tiles: expected COLUMNSxROWS such as 4x3, each from 1 to {_MOST_TILES}, got '{tiles}'")
    return Tiling(columns, rows, overlap_px=overlap_px, own_banks=own_banks)


def roi_of(text: str | None) -> Roi | None:
    """Read `X,Y,WIDTH,HEIGHT`; raises ConfigError."""
    if text is None:
        return None
    try:
        x, y, width, height = (int(number) for number in text.split(","))
    except ValueError:
        raise ConfigError(f"--roi: expected X,Y,WIDTH,HEIGHT in pixels, got '{text}'") from None
    if min(x, y) < 0 or min(width, height) < 1:
        raise ConfigError(f"--roi: offsets must not be negative and sizes at least 1, got '{text}'")
    return x, y, width, height


def bytes_of(option: str, text: str | None) -> int | None:
    """Read `800MB` or `2GiB`, the value of an `option`; raises ConfigError."""
    from pydantic import ByteSize, TypeAdapter, ValidationError

    if text is None:
        return None
    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        raise ConfigError(f"{option}: expected a size such as 800MB or 2GiB, got '{text}'") from None
