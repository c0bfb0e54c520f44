from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.ndimage
from numpy.typing import NDArray

from stream.model.patchcore.pro import aupro, pro_curve

Float = NDArray[np.floating]
Bool = NDArray[np.bool_]


def brute_force(maps: list[Float], masks: list[Bool], limit: float) -> float:
    """The definition, threshold by threshold and region by region, then the area in small exact steps."""
    regions = []
    for index, ground_truth in enumerate(masks):
        labels, count = scipy.ndimage.label(ground_truth, structure=np.ones((3, 3)))
        regions += [maps[index][labels == number] for number in range(1, count + 1)]
    normal = np.concatenate([m[~g] for m, g in zip(maps, masks, strict=True)])
    curve = [(0.0, 0.0)]
    for threshold in np.unique(np.concatenate([m.ravel() for m in maps]))[::-1]:
        overlaps = [np.mean(region >= threshold, dtype=np.float64) for region in regions]
        curve.append((float(np.mean(normal >= threshold, dtype=np.float64)), float(np.mean(overlaps))))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if x0 >= limit:
            break
        end = min(x1, limit)
        height = y1 if end == x1 else y0 + (y1 - y0) * (end - x0) / (x1 - x0)
        area += (end - x0) * (y0 + height) / 2
    return area / limit


def blobs(seed: int, shape: tuple[int, int] = (24, 30)) -> Bool:
    smooth = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return np.asarray(smooth > 0.2)


@pytest.mark.parametrize("levels", [2, 5, 40, None])
@pytest.mark.parametrize("limit", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_agrees_with_the_definition_computed_threshold_by_threshold(
    levels: int | None, limit: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    masks = [blobs(seed), blobs(seed + 100), np.zeros((24, 30), dtype=bool)]
    maps = [(random.normal(size=mask.shape) + 0.8 * mask).astype(np.float32) for mask in masks]
    if levels is not None:
        maps = [np.round(m * levels / 4) for m in maps]
    assert aupro(maps, masks, limit) == pytest.approx(brute_force(maps, masks, limit), abs=1e-12)


def test_a_small_case_computed_by_hand() -> None:
    # Regions {9, 6}, which touch at a corner only, and {2}. Normal pixels 8 7 5 4 3 1 0.
    # Curve: (0, 1/4) (1/7, 1/4) (2/7, 1/4) (2/7, 1/2) (3/7, 1/2) …
    maps = [np.array([[9, 8, 3, 2, 1], [7, 6, 5, 4, 0]], dtype=np.float32)]
    masks = [np.array([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0]], dtype=bool)]
    assert aupro(maps, masks) == pytest.approx((2 / 7 * 0.25 + (0.3 - 2 / 7) * 0.5) / 0.3)


def test_the_height_at_the_limit_is_interpolated() -> None:
    # Both defect pixels share their value with 2 of 4 normal ones: (0, 0) (1/2, 1) (1, 1).
    maps, masks = [np.array([[2.0, 2, 2, 2, 1, 1]])], [np.array([[1, 1, 0, 0, 0, 0]], dtype=bool)]
    assert aupro(maps, masks, 0.3) == pytest.approx(0.3 * 0.6 / 2 / 0.3)
    assert aupro(maps, masks, 1.0) == pytest.approx(0.75)


def test_a_limit_that_is_a_point_of_the_curve_takes_nothing_from_beyond_it() -> None:
    # At the limit 1/2 the curve jumps from 0 to 1; the jump has no area before it.
    maps, masks = [np.array([[4.0, 3, 2, 1, 0]])], [np.array([[0, 0, 1, 0, 0]], dtype=bool)]
    assert aupro(maps, masks, 0.5) == 0.0


def test_a_perfect_map_scores_1_and_an_inverted_one_0() -> None:
    mask = blobs(3)
    assert aupro([mask.astype(np.float32)], [mask]) == pytest.approx(1.0, abs=1e-12)
    assert aupro([-mask.astype(np.float32)], [mask]) == 0.0


def test_a_constant_map_scores_half_the_limit() -> None:
    assert aupro([np.ones((24, 30))], [blobs(4)], 0.3) == pytest.approx(0.15)


def test_a_missed_small_region_weighs_as_much_as_a_missed_large_one() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[0:10, 0:10] = True
    mask[15, 15] = True
    small_missed, large_missed = mask.astype(float), mask.astype(float)
    small_missed[15, 15] = large_missed[0:10, 0:10] = -1
    assert aupro([small_missed], [mask]) == pytest.approx(0.5)
    assert aupro([large_missed], [mask]) == pytest.approx(0.5)


def test_good_pictures_count_in_the_false_positive_rate_and_maps_may_differ_in_size() -> None:
    mask = np.array([[True, False]])
    defective, noisy_good = np.array([[1.0, 0.0]]), np.full((5, 3), 2.0)
    assert aupro([defective], [mask]) == 1.0
    assert aupro([defective, noisy_good], [mask, np.zeros((5, 3), dtype=bool)]) == 0.0


def test_the_order_of_the_pictures_and_of_equal_values_does_not_matter() -> None:
    masks = [blobs(seed) for seed in range(4)]
    maps = [np.round(np.random.default_rng(9).normal(size=m.shape) + m, 1).astype(np.float32) for m in masks]
    assert aupro(maps, masks) == pytest.approx(aupro(maps[::-1], masks[::-1]), abs=1e-12)
    flipped = aupro([m[::-1, ::-1] for m in maps], [m[::-1, ::-1] for m in masks])
    assert aupro(maps, masks) == pytest.approx(flipped, abs=1e-12)


def test_the_curve_rises_from_0_0_to_1_1_with_one_point_a_value() -> None:
    mask = blobs(5)
    values = np.round(np.random.default_rng(5).normal(size=mask.shape), 1)
    rate, overlap = pro_curve([values], [mask])
    assert len(rate) == len(overlap) == len(np.unique(values)) + 1
    assert (rate[0], overlap[0], rate[-1]) == (0, 0, 1)
    assert overlap[-1] == pytest.approx(1, abs=1e-12)
    assert (np.diff(rate) >= 0).all()
    assert (np.diff(overlap) >= 0).all()


@pytest.mark.parametrize(
    ("values", "marked", "limit", "reason"),
    [
        ([[1.0, 2.0]], [[False, False]], 0.3, "region"),
        ([[1.0, 2.0]], [[True, True]], 0.3, "normal pixel"),
        ([[1.0, np.nan]], [[True, False]], 0.3, "NaN"),
        ([[1.0, 2.0]], [[True], [False]], 0.3, "shape"),
        ([[1.0, 2.0]], [[True, False]], 0.0, "limit"),
        ([[1.0, 2.0]], [[True, False]], 1.5, "limit"),
    ],
)
def test_what_has_no_answer_is_refused(
    values: list[list[float]], marked: list[list[bool]], limit: float, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        aupro([np.array(values)], [np.array(marked)], limit)


def test_pixels_that_are_not_judged_count_neither_as_defect_nor_as_normal() -> None:
    random = np.random.default_rng(4)
    truths, judged = [blobs(7), blobs(8)], np.ones((24, 30), dtype=bool)
    judged[:, 18:] = False
    maps = [(random.normal(size=truth.shape) + truth).astype(np.float32) for truth in truths]
    expected = aupro([m[:, :18] for m in maps], [t[:, :18] for t in truths])
    assert aupro(maps, truths, judged=judged) == pytest.approx(expected, abs=1e-12)
    changed = [np.where(judged, m, 99.0) for m in maps]
    assert aupro(changed, truths, judged=judged) == aupro(maps, truths, judged=judged)
    assert aupro(changed, truths) != pytest.approx(expected, abs=0.01)


def test_a_map_without_ground_truth_is_refused() -> None:
    with pytest.raises(ValueError, match="every map needs ground truth"):
        aupro([np.zeros((2, 2)), np.ones((2, 2))], [np.eye(2, dtype=bool)])
