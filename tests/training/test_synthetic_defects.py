from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from support.pictures import good_picture

from stream.training.synthetic_defects import CONTRAST, KINDS, Defect, defects_of, perlin, with_defect


def changed(picture: NDArray[np.uint8], defect: Defect, unjudged: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Where a defect changed the picture, (H, W)."""
    return (with_defect(picture, defect, unjudged) != picture).any(axis=2)


def extent(mask: NDArray[np.bool_]) -> int:
    """The longer side of the smallest box around it, in px."""
    rows, columns = np.nonzero(mask)
    return int(max(np.ptp(rows), np.ptp(columns))) + 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size_px", [1.0, 3.5, 9.0, 40.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_defect_changes_the_picture_within_its_size_alone(kind, size_px: float, seed: int):
    mask = changed(good_picture(seed), Defect(kind, size_px, seed))
    assert mask.any()
    assert extent(mask) <= size_px + 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_a_defect_keeps_out_of_what_is_not_judged(kind, seed: int):
    unjudged = np.ones((120, 160), np.bool_)
    unjudged[70:110, 20:60] = False
    area = changed(good_picture(seed), Defect(kind, 30.0, seed), unjudged)
    assert area.any()
    assert not (area & unjudged).any()


def test_a_defect_that_has_no_room_covers_as_little_as_can_be_of_what_is_not_judged():
    unjudged = np.zeros((120, 160), np.bool_)
    unjudged[:, 100:] = True
    assert not (changed(good_picture(1), Defect("spot", 90.0, 1), unjudged) & unjudged).any()
    area = changed(good_picture(1), Defect("spot", 110.0, 1), unjudged)
    assert np.nonzero(area)[1].min() <= 3


@pytest.mark.parametrize("seed", range(5))
def test_a_spot_differs_by_the_contrast_and_keeps_its_diameter(seed: int):
    gray = np.full((80, 120, 3), 128, np.uint8)
    drawn = with_defect(gray, Defect("spot", 10.0, seed)).astype(int)
    assert abs(drawn - 128).max() == CONTRAST
    area = (abs(drawn[..., 0] - 128) / CONTRAST).sum()
    assert area == pytest.approx(np.pi * 5**2, rel=0.05)


@pytest.mark.parametrize(("level", "brighter"), [(10, True), (245, False)])
def test_a_spot_on_black_is_bright_and_one_on_white_dark(level: int, brighter: bool):
    gray = np.full((60, 60, 3), level, np.uint8)
    for seed in range(8):
        drawn = with_defect(gray, Defect("spot", 8.0, seed))
        assert (drawn.max() > level, drawn.min() < level) == (brighter, not brighter)


def test_the_same_defect_is_drawn_again_and_another_seed_draws_elsewhere():
    picture = good_picture(3)
    first, again = (with_defect(picture, Defect("blob", 12.0, 7)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (with_defect(picture, Defect("blob", 12.0, 8)) != first).any()


def test_the_picture_itself_is_left_as_it_is():
    picture = good_picture(1)
    before = picture.copy()
    for kind in KINDS:
        with_defect(picture, Defect(kind, 9.0, 2))
    np.testing.assert_array_equal(picture, before)


def test_a_defect_larger_than_the_picture_is_cut_to_it():
    picture = np.full((9, 30, 3), 100, np.uint8)
    for kind in KINDS:
        assert with_defect(picture, Defect(kind, 50.0, 0)).shape == picture.shape


def test_every_kind_comes_in_every_size_equally_often_and_mixed():
    defects = defects_of([2.0, 4.0], repeats=3, seed=0)
    assert len(defects) == len({defect.seed for defect in defects}) == 18
    counts = {
        (kind, size): sum((d.kind, d.size_px) == (kind, size) for d in defects) for kind in KINDS for size in (2, 4)
    }
    assert set(counts.values()) == {3}
    assert len({defect.kind for defect in defects[:6]}) > 1
    assert defects == defects_of([2.0, 4.0], repeats=3, seed=0)


def test_perlin_noise_is_smooth_and_centred():
    noise = perlin(64, 4, np.random.default_rng(0))
    assert noise.shape == (64, 64)
    assert abs(noise.mean()) < 0.15
    assert np.abs(np.diff(noise, axis=0)).max() < 0.2
    assert noise.std() > 0.1
