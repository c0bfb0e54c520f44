from __future__ import annotations

import pytest

from stream.model.patchcore.visibility import SPOT_PATCHES, visibility_of


def test_a_picture_that_is_not_shrunk_shows_what_the_patches_show():
    seen = visibility_of((224, 224), (224, 224), (28, 28))
    assert seen.shrinking == 1
    assert seen.spot_px == pytest.approx(8 * SPOT_PATCHES)


def test_shrinking_hides_as_much_more():
    small, large = (visibility_of((2240, 2240), (edge, edge), (edge // 8,) * 2) for edge in (224, 448))
    assert (small.shrinking, large.shrinking) == (10, 5)
    assert small.spot_px == pytest.approx(2 * large.spot_px)


def test_the_side_that_is_shrunk_most_decides():
    assert visibility_of((1280, 320), (320, 320), (40, 40)).shrinking == 4
    assert visibility_of((320, 1280), (320, 320), (40, 40)).shrinking == 4


def test_finer_patches_show_smaller_spots():
    coarse, fine = (visibility_of((960, 720), (320, 240), (240 // stride, 320 // stride)) for stride in (8, 4))
    assert fine.spot_px == pytest.approx(coarse.spot_px / 2)


def test_nothing_smaller_than_a_pixel_is_promised():
    assert visibility_of((64, 64), (1024, 1024), (128, 128)).spot_px == 1
