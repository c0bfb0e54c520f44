"""Tiles: a large part is seen through one network many times, and its patches are joined to one grid. Pure.

The network input of a tiled part is one picture that holds all tiles, neighbours sharing a strip. Each tile passes the
backbone by itself; where tiles overlap, their features are blended, each weighing less towards its edge, since patches
there see the network's padding. Banks, scores and maps know one grid of patches, as if the network were that large.

One bank serves all tiles, or each has its own. Its patches then bear the tile's coordinate as further features, so far
apart that the nearest patch in the bank is always one of the same tile: coreset, search and score need not know of it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.core.errors import ConfigError
from stream.model.patchcore.preprocess import Size, input_size

#: Strip that neighbouring tiles share, px of the network input: two steps of the usual coarse level.
OVERLAP_PX = 32


class Tiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the network input of a part is cut.

    Attributes:
        columns, rows: how many tiles.
        tile_px: (width, height) of each.
        overlap_px: of neighbours, a multiple of the distance of patches.
        apart: distance that the coordinates of two tiles add between their patches; 0: one bank for all tiles.
    """

    columns: int
    rows: int
    tile_px: tuple[int, int]
    overlap_px: int
    apart: float = 0.0

    @property
    def count(self) -> int:
        """Number of tiles."""
        return self.columns * self.rows

    @property
    def input_px(self) -> tuple[int, int]:
        """(width, height) of the picture that holds all of them."""
        width_px, height_px = self.tile_px
        return _total(self.columns, width_px, self.overlap_px), _total(self.rows, height_px, self.overlap_px)

    @property
    def coordinates(self) -> int:
        """Number of further features that tell the tiles apart."""
        return self.count if self.apart else 0

    def cut(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the tiles (N · rows · columns, h, w, 3) of (N, H, W, 3) network inputs, row by row of each."""
        width_px, height_px = self.tile_px
        step_x, step_y = width_px - self.overlap_px, height_px - self.overlap_px
        tiles = [
            images[:, y : y + height_px, x : x + width_px]
            for y in range(0, self.rows * step_y, step_y)
            for x in range(0, self.columns * step_x, step_x)
        ]
        return np.stack(tiles, axis=1).reshape(-1, height_px, width_px, images.shape[-1])

    def join(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Join the features (N · rows · columns, h, w, D) of the tiles to (N, H, W, D), blended in the overlaps."""
        _, height, width, dims = features.shape
        strip_x, strip_y = self._strip(width, self.tile_px[0]), self._strip(height, self.tile_px[1])
        grid = features.reshape(-1, self.rows, self.columns, height, width, dims)
        rows = [_joined([row[:, c] for c in range(self.columns)], strip_x, axis=2) for row in np.moveaxis(grid, 1, 0)]
        joined = _joined(rows, strip_y, axis=1)
        if not self.apart:
            return np.ascontiguousarray(joined)
        # Two of them differ in two coordinates.
        known = (
            np.float32(self.apart / math.sqrt(2)) * np.eye(self.count, dtype=np.float32)[self.owners(joined.shape[1:3])]
        )
        return np.concatenate([joined, np.broadcast_to(known, (*joined.shape[:3], self.count))], axis=3)

    def owners(self, grid: tuple[int, ...]) -> NDArray[np.int64]:
        """Return which tile each patch of the joined grid (h, w) is nearest to the middle of, row by row, (h, w)."""
        rows = _nearest(grid[0], self.rows, self.tile_px[1], self.overlap_px)
        columns = _nearest(grid[1], self.columns, self.tile_px[0], self.overlap_px)
        return rows[:, None] * self.columns + columns[None]

    def _strip(self, patches: int, edge_px: int) -> int:
        """Return the overlap in patches, of a tile with so many along an edge."""
        strip, rest = divmod(self.overlap_px * patches, edge_px)
        if rest:
            raise ConfigError(
                f"--tile-overlap: {self.overlap_px} px are no whole number of patches, which are {edge_px / patches:g} "
                "px apart; give a multiple"
            )
        return strip


class Tiling(NamedTuple):
    """How a user wants tiles: so many, or so large.

    Attributes:
        columns, rows: how many; 0: as many as `edge_px` needs.
        edge_px: edge of a square tile, in px of the region times `scale`.
        scale: of the region that the tiles show.
        overlap_px: of neighbours.
        own_banks: one for each tile.
    """

    columns: int = 0
    rows: int = 0
    edge_px: int = 0
    scale: float = 1.0
    overlap_px: int = OVERLAP_PX
    own_banks: bool = False

    def tiles(self, size: Size, region_px: tuple[int, int], multiple_px: int) -> Tiles:
        """Return the tiles of a region of (width, height), for a network that takes multiples of `multiple_px`.

        `size` is that of one tile where so many are wanted, as for `input_size`. Tiles by their size show the region as
        near to the scale as whole tiles allow.

        Raises:
            ConfigError: a tile is larger than the region, no size for the network, or not larger than the overlaps.
        """
        if self.columns:
            of_tile = max(1, region_px[0] // self.columns), max(1, region_px[1] // self.rows)
            tile_px = input_size(size, of_tile, multiple_px)
            columns, rows = self.columns, self.rows
        else:
            tile_px = self.edge_px, self.edge_px
            wanted = [edge * self.scale for edge in region_px]
            if max(wanted) < self.edge_px:
                raise ConfigError(
                    f"--tile-px: a tile of {self.edge_px} px is larger than the region of {region_px[0]}×"
                    f"{region_px[1]} px at scale {self.scale:g}; give a smaller tile, or none"
                )
            if self.edge_px % multiple_px:
                raise ConfigError(
                    f"--tile-px: {self.edge_px} px is no multiple of {multiple_px} px, which the network needs"
                )
            columns, rows = (_number(edge, self.edge_px, self.overlap_px) for edge in wanted)
        if 2 * self.overlap_px > min(tile_px):
            raise ConfigError(
                f"--tile-overlap: {self.overlap_px} px are more than half of a tile of {tile_px[0]}×{tile_px[1]} px; "
                "give less"
            )
        return Tiles(columns, rows, tile_px, self.overlap_px)


def tiling_of(tiles: Tiles | None) -> Tiling | None:
    """Return what a user would ask for to get these tiles again, with `tile_px` as the size."""
    if tiles is None:
        return None
    return Tiling(tiles.columns, tiles.rows, overlap_px=tiles.overlap_px, own_banks=tiles.apart > 0)


def apart(tiles: Tiles, features: NDArray[np.float32]) -> Tiles:
    """Return tiles of which each has a bank of its own, by the features (N, h, w, D) of some pictures."""
    # No two features of these pictures are as far from each other; where a strange patch is, it is far from all banks.
    longest = float(np.sqrt(np.einsum("nhwd,nhwd->nhw", features, features).max()))
    return msgspec.structs.replace(tiles, apart=4.0 * longest)


def _total(count: int, edge_px: int, overlap_px: int) -> int:
    return count * edge_px - (count - 1) * overlap_px


def _number(wanted_px: float, edge_px: int, overlap_px: int) -> int:
    """Return how many tiles span nearest to so many px."""
    most = max(1, math.ceil((wanted_px - overlap_px) / (edge_px - overlap_px)))
    return min(
        (most, max(1, most - 1)), key=lambda count: abs(math.log(_total(count, edge_px, overlap_px) / wanted_px))
    )


def _joined(parts: list[NDArray[np.float32]], strip: int, axis: int) -> NDArray[np.float32]:
    """Put arrays side by side along an axis; the last `strip` of each and the first of the next are blended."""
    joined = parts[0]
    if not strip:
        return np.concatenate(parts, axis=axis)
    weight = (np.arange(strip, dtype=np.float32) + 0.5) / strip
    weight = weight.reshape([-1 if dimension == axis else 1 for dimension in range(joined.ndim)])
    for part in parts[1:]:
        left, old = np.split(joined, [joined.shape[axis] - strip], axis=axis)
        new, right = np.split(part, [strip], axis=axis)
        joined = np.concatenate([left, old + weight * (new - old), right], axis=axis)
    return joined


def _nearest(patches: int, count: int, edge_px: int, overlap_px: int) -> NDArray[np.int64]:
    """Return for each patch along an axis the tile whose middle is nearest; the first among equals."""
    total_px = _total(count, edge_px, overlap_px)
    places = (np.arange(patches) + 0.5) * total_px / patches
    middles = edge_px / 2 + np.arange(count) * (edge_px - overlap_px)
    return np.asarray(np.abs(places[:, None] - middles[None]).argmin(axis=1), dtype=np.int64)
