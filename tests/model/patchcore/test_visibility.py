from __future__ import annotations

import pytest

from stream.model.patchcore.visibility import SPOT_INPUT_PX, visibility_of


def test_a_picture_that_is_not_shrunk_shows_what_the_network_shows():
    assert visibility_of((224, 224), (224, 224)) == (1, SPOT_INPUT_PX)


def test_shrinking_hides_as_much_more():
    small, large = (visibility_of((2240, 2240), (edge, edge)) for edge in (224, 448))
    assert (small.shrinking, large.shrinking) == (10, 5)
    assert small.spot_px == pytest.approx(2 * large.spot_px)


def test_the_side_that_is_shrunk_most_decides():
    assert visibility_of((1280, 320), (320, 320)).shrinking == 4
    assert visibility_of((320, 1280), (320, 320)).shrinking == 4


def test_nothing_smaller_than_a_pixel_is_promised():
    assert visibility_of((64, 64), (2048, 2048)).spot_px == 1
