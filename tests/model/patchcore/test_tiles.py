"""Tiles of a part: cut, joined, told apart."""

from __future__ import annotations

import numpy as np
import pytest

from stream.core.errors import ConfigError
from stream.model.patchcore.search import MemoryBank
from stream.model.patchcore.tiles import Tiles, Tiling, apart, tiling_of

RANDOM = np.random.default_rng(3)


def patches_of(images: np.ndarray, patch_px: int) -> np.ndarray:
    """A backbone that sees each patch by itself: its mean colour."""
    count, height_px, width_px, _ = images.shape
    blocks = images.reshape(count, height_px // patch_px, patch_px, width_px // patch_px, patch_px, 3)
    return blocks.mean(axis=(2, 4)).astype(np.float32)


@pytest.mark.parametrize("overlap_px", [0, 8, 16])
def test_a_backbone_without_context_sees_the_same_in_tiles_as_in_the_whole(overlap_px: int):
    tiles = Tiles(3, 2, (48, 32), overlap_px)
    width_px, height_px = tiles.input_px
    assert (width_px, height_px) == (144 - 2 * overlap_px, 64 - overlap_px)
    images = RANDOM.integers(0, 255, (2, height_px, width_px, 3), np.uint8)
    cut = tiles.cut(images)
    assert cut.shape == (12, 32, 48, 3)
    np.testing.assert_array_equal(cut[0], images[0, :32, :48])
    np.testing.assert_array_equal(cut[5], images[0, -32:, -48:])
    joined = tiles.join(patches_of(cut, 8))
    np.testing.assert_allclose(joined, patches_of(images, 8), rtol=1e-5)
    assert joined.dtype == np.float32


def test_where_tiles_overlap_each_weighs_less_towards_its_edge():
    tiles = Tiles(2, 1, (32, 32), 16)
    features = np.zeros((2, 4, 4, 1), np.float32)
    features[1] = 1.0
    np.testing.assert_allclose(tiles.join(features)[0, 0, :, 0], [0, 0, 0.25, 0.75, 1, 1])


def test_a_patch_belongs_to_the_tile_whose_middle_is_nearest():
    tiles = Tiles(2, 2, (32, 32), 16)
    owners = tiles.owners((6, 6))
    assert owners[0].tolist() == [0, 0, 0, 1, 1, 1]
    assert owners[5].tolist() == [2, 2, 2, 3, 3, 3]


def test_with_banks_of_their_own_the_nearest_patch_is_one_of_the_same_tile_as_near_as_without():
    shared = Tiles(2, 1, (32, 32), 0)
    pictures = RANDOM.normal(0, 1, (6, 4, 4, 5)).astype(np.float32)
    own = apart(shared, pictures)
    assert (own.coordinates, shared.coordinates) == (2, 0)
    known = own.join(pictures[:4]).reshape(-1, 7)
    asked = own.join(pictures[4:])[0]
    found = MemoryBank(known).nearest(asked.reshape(-1, 7))
    owners = own.owners((4, 8)).reshape(-1)
    np.testing.assert_array_equal(np.tile(owners, 2)[found.row], owners)
    plain = known[:, :5]
    for patch, (tile, distance) in enumerate(zip(owners, found.distance, strict=True)):
        of_tile = plain[np.tile(owners, 2) == tile]
        nearest = np.linalg.norm(of_tile - asked.reshape(-1, 7)[patch, :5], axis=1).min()
        assert distance == pytest.approx(nearest, rel=1e-4)


def test_so_many_tiles_have_the_size_of_the_network_in_their_own_aspect():
    assert Tiling(4, 3).tiles(224, (2448, 2048), 32) == Tiles(4, 3, (224, 224), 32)
    assert Tiling(2, 1, overlap_px=64).tiles(224, (1000, 250), 32) == Tiles(2, 1, (320, 160), 64)


def test_tiles_of_a_size_show_the_region_as_near_to_its_scale_as_whole_tiles_allow():
    tiles = Tiling(edge_px=256).tiles(224, (2448, 2048), 32)
    assert (tiles.columns, tiles.rows, tiles.input_px) == (11, 9, (2496, 2048))
    half = Tiling(edge_px=256, scale=0.5).tiles(224, (2448, 2048), 32)
    assert (half.columns, half.rows) == (5, 4)
    assert Tiling(edge_px=256).tiles(224, (256, 256), 32).count == 1


@pytest.mark.parametrize(
    ("tiling", "region_px", "problem"),
    [
        (Tiling(edge_px=512), (400, 300), "--tile-px: a tile of 512 px is larger than the region of 400×300 px"),
        (Tiling(edge_px=512, scale=0.1), (2000, 2000), "at scale 0.1; give a smaller tile"),
        (Tiling(edge_px=250), (2000, 2000), "250 px is no multiple of 32 px, which the network needs"),
        (Tiling(2, 2, overlap_px=128), (2000, 2000), "--tile-overlap: 128 px are more than half of a tile of 224×224"),
    ],
)
def test_tiles_that_make_no_sense_are_refused_with_what_to_give(
    tiling: Tiling, region_px: tuple[int, int], problem: str
):
    with pytest.raises(ConfigError) as error:
        tiling.tiles(224, region_px, 32)
    assert problem in str(error.value)


def test_an_overlap_of_half_a_patch_is_refused_when_the_patches_are_known():
    with pytest.raises(ConfigError, match="12 px are no whole number of patches, which are 8 px apart"):
        Tiles(2, 1, (32, 32), 12).join(np.zeros((2, 4, 4, 1), np.float32))


@pytest.mark.parametrize("own_banks", [False, True])
def test_tiles_can_be_asked_for_again(own_banks: bool):
    tiles = Tiling(3, 2, overlap_px=64).tiles(224, (900, 600), 32)
    if own_banks:
        tiles = apart(tiles, np.ones((1, 4, 4, 2), np.float32))
    again = tiling_of(tiles)
    assert again == Tiling(3, 2, overlap_px=64, own_banks=own_banks)
    assert tiling_of(None) is None
