from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from support.pictures import good_picture

from stream.core.errors import ConfigError
from stream.model.patchcore.geometry import Geometry
from stream.model.patchcore.head import pooled
from stream.model.patchcore.inspector import nearest_patches, score_patches
from stream.model.patchcore.masks import FILL, Kind, Mask, Masks, polygons_of
from stream.model.patchcore.scoring import Scoring, position_statistics
from stream.model.patchcore.search import MemoryBank

REGION, INPUT, GRID = (160, 120), (96, 64), (8, 12)


def rectangle(name: str, kind: Kind, *xywh: float, factor: float = 1.0) -> Mask:
    return Mask(name, kind, rectangle=(xywh[0], xywh[1], xywh[2], xywh[3]), factor=factor)


def weights_of(*areas: Mask) -> NDArray[np.float32]:
    weights = Masks(REGION, areas).weights(INPUT, GRID)
    assert weights is not None
    return weights


def blot(seed: int, size_px: tuple[int, int]) -> NDArray[np.bool_]:
    noise = np.random.default_rng(seed).random(size_px[::-1]).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 0.6 + seed % 4)
    return np.asarray(smooth > np.median(smooth))


def test_a_rectangle_is_its_pixels():
    area = rectangle("a", "ignore", 3, 5, 4, 2).area((20, 10))
    assert area.sum() == 8
    assert area[5:7, 3:7].all()


def test_a_circle_is_the_pixels_whose_centres_it_holds():
    area = Mask("a", "ignore", circle=(10, 10, 5)).area((20, 20))
    assert area[10, 5]
    assert not area[10, 4]
    np.testing.assert_array_equal(area, area.T)


def test_a_polygon_within_another_is_a_hole_in_it():
    outer, inner = (
        ((2.0, 2.0), (17.0, 2.0), (17.0, 17.0), (2.0, 17.0)),
        ((6.0, 6.0), (13.0, 6.0), (13.0, 13.0), (6.0, 13.0)),
    )
    area = Mask("a", "ignore", (outer, inner)).area((20, 20))
    assert area[4, 10]
    assert not area[10, 10]


@pytest.mark.parametrize("seed", range(8))
def test_polygons_give_back_any_painted_area_to_the_pixel(seed: int):
    painted = blot(seed, (61, 47))
    np.testing.assert_array_equal(Mask("a", "ignore", polygons_of(painted)).area((61, 47)), painted)


@pytest.mark.parametrize("input_px", [(96, 64), (57, 40), (160, 120), (200, 130), (320, 96)])
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_that_is_drawn_under_a_mask_changes_one_bit_of_the_network_input(input_px: tuple[int, int], seed: int):
    mask = Mask("a", "ignore", polygons_of(blot(seed, REGION)))
    geometry = Geometry(None, REGION, input_px, Masks(REGION, (mask,)))
    part = good_picture(seed)
    changed = part.copy()
    area = mask.area(REGION)
    changed[area] = np.random.default_rng(seed).integers(0, 256, (area.sum(), 3))
    np.testing.assert_array_equal(geometry.network_input(changed), geometry.network_input(part))


def test_the_rest_of_the_network_input_stays_as_it_is():
    masks = Masks(REGION, (rectangle("a", "ignore", 0, 0, 80, 120),))
    whole = Geometry(None, REGION, INPUT).network_input(good_picture(1))
    masked = Geometry(None, REGION, INPUT, masks).network_input(good_picture(1))
    filled = masks.filled(INPUT)
    assert filled[:, :48].all()
    assert not filled[:, 50:].any()
    np.testing.assert_array_equal(masked[~filled], whole[~filled])
    assert (masked[filled] == FILL).all()


def test_a_patch_is_judged_if_the_pixel_at_its_centre_is_not_filled():
    weights = weights_of(rectangle("left", "ignore", 0, 0, 80, 120))
    assert not weights[:, :6].any()
    assert (weights[:, 6:] == 1).all()
    # Half a patch further the centres are still judged.
    assert (weights_of(rectangle("left", "ignore", 0, 0, 84, 120))[:, 6:] == 1).all()


def test_outside_of_every_area_to_judge_only_nothing_is_judged():
    weights = weights_of(rectangle("a", "judge_only", 0, 0, 40, 120), rectangle("b", "judge_only", 120, 0, 40, 120))
    assert weights[4].tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1]


def test_a_factor_divides_distances_and_the_later_of_two_counts():
    weights = weights_of(
        rectangle("wide", "zone", 0, 0, 160, 120, factor=2), rectangle("within", "zone", 80, 0, 80, 120, factor=0.5)
    )
    assert (weights[:, :6] == 0.5).all()
    assert (weights[:, 6:] == 2).all()


def test_zones_without_a_factor_leave_the_score_as_it_is():
    assert Masks(REGION, (rectangle("a", "zone", 0, 0, 80, 120),)).weights(INPUT, GRID) is None


@pytest.mark.parametrize(
    ("areas", "reason"),
    [
        ([rectangle("all", "ignore", 0, 0, 160, 120)], "masks 'all': nothing is left to judge"),
        (
            [rectangle("a", "judge_only", 0, 0, 80, 120), rectangle("b", "ignore", 0, 0, 90, 120)],
            "masks 'a', 'b': nothing is left to judge",
        ),
        ([rectangle("speck", "zone", 1, 1, 2, 2, factor=2)], "mask 'speck': no patch of 12×8 has its centre in it"),
        (
            [rectangle("rim", "zone", 0, 0, 40, 120), rectangle("b", "ignore", 0, 0, 60, 120)],
            "mask 'rim': .* or all that do are ignored",
        ),
    ],
)
def test_masks_that_leave_nothing_to_judge_or_judge_nothing_are_refused(areas: list[Mask], reason: str):
    with pytest.raises(ConfigError, match=reason):
        Masks(REGION, tuple(areas)).check(INPUT, GRID)


def test_zones_are_labels_of_the_pixels_of_the_region():
    masks = Masks(REGION, (rectangle("hole", "ignore", 0, 0, 9, 9), rectangle("right", "zone", 80, 0, 80, 120)))
    zones = masks.zones()
    assert zones.names == ("right",)
    assert zones.at(0.01, 0.01) == zones.at(0.49, 0.9) == ""
    assert zones.at(0.51, 0.1) == zones.at(0.99, 0.99) == "right"


def scored(scoring: Scoring, distances: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
    """Score patches that are so far from a bank of one."""
    features = np.zeros((*GRID, 2), np.float32)
    features[..., 0] = distances
    bank = MemoryBank(np.zeros((1, 2), np.float32))
    return score_patches(bank, features, nearest_patches(bank, features), scoring)


def distances_with(**peaks: float) -> NDArray[np.float32]:
    distances = np.ones(GRID, np.float32)
    distances[4, 1], distances[4, 10] = peaks.get("left", 1), peaks.get("right", 1)
    return distances


@pytest.mark.parametrize("position", [False, True])
def test_an_ignored_patch_counts_for_neither_score_nor_map_however_far_it_is(position: bool):
    weights = weights_of(rectangle("left", "ignore", 0, 0, 80, 120))
    good = np.random.default_rng(0).normal(1, 0.1, (30, *GRID)).astype(np.float32)
    scoring = Scoring(1, position_statistics(good, weights > 0) if position else None, weights=weights)
    plain, map_of = scored(scoring, distances_with(right=3))
    ignored, also = scored(scoring, distances_with(right=3, left=90))
    assert ignored == plain
    np.testing.assert_array_equal(also, map_of)
    assert not also[:, :6].any()


def test_a_distance_in_a_zone_of_factor_2_counts_half():
    scoring = Scoring(1, weights=weights_of(rectangle("left", "zone", 0, 0, 80, 120, factor=2)))
    assert scored(scoring, distances_with(left=10, right=4))[0] == 5
    score, map_of = scored(scoring, distances_with(left=10, right=6))
    assert score == 6
    assert map_of[4, 1] == 5


def test_a_deviation_by_place_in_a_zone_of_factor_2_counts_half():
    good = np.random.default_rng(0).normal(1, 0.1, (30, *GRID)).astype(np.float32)
    statistics = position_statistics(good)
    weights = weights_of(rectangle("everywhere", "zone", 0, 0, 160, 120, factor=2))
    plain = scored(Scoring(1, statistics), distances_with(left=10))[0]
    assert scored(Scoring(1, statistics, weights=weights), distances_with(left=10))[0] == pytest.approx(plain / 2)


def test_places_that_are_not_judged_teach_the_statistics_of_their_neighbours_nothing():
    judged = np.ones(GRID, np.bool_)
    judged[:, :6] = False
    good = np.random.default_rng(0).normal(1, 0.1, (30, *GRID)).astype(np.float32)
    wild = good.copy()
    wild[:, :, :6] *= 50
    for one, other in zip(position_statistics(good, judged), position_statistics(wild, judged), strict=True):
        np.testing.assert_array_equal(one[judged], other[judged])


def test_pooled_features_are_those_of_judged_patches_alone():
    features = np.random.default_rng(0).random((4, 4, 6)).astype(np.float32)
    judged = np.zeros((4, 4), np.bool_)
    judged[2:] = True
    np.testing.assert_allclose(pooled(features, (2, 4), judged), pooled(features[2:], (2, 4)))
