from __future__ import annotations

import pytest

from stream.core.good_parts import hour_of, is_sampled


def test_one_in_so_many_parts_is_a_sample():
    assert abs(sum(is_sampled(seq, 500) for seq in range(500_000)) - 1000) < 100
    assert all(is_sampled(seq, 1) for seq in range(100))
    assert not any(is_sampled(seq, 0) for seq in range(100))


@pytest.mark.parametrize("places", [2, 5, 16, 500])
def test_the_sample_has_parts_of_every_place_of_a_tray(places: int):
    of_place = [sum(is_sampled(seq, 20) for seq in range(place, 200 * 20 * places, places)) for place in range(places)]
    assert min(of_place) > 120
    assert max(of_place) < 280


def test_an_hour_begins_with_the_clocks():
    assert hour_of(3600 * 10**9 - 1) == 0
    assert hour_of(3600 * 10**9) == 1
