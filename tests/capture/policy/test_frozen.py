from __future__ import annotations

import numpy as np
import pytest

from stream.capture.policy.frozen import FrozenGate, identical

ONE = np.zeros((48, 64, 3), np.uint8)
OTHER = np.full((48, 64, 3), 9, np.uint8)


def judged(gate: FrozenGate, pictures: list[np.ndarray]) -> list[bool]:
    return [gate.frozen(picture.copy()) for picture in pictures]


@pytest.mark.parametrize("after", [2, 3, 25])
def test_from_the_given_number_of_identical_pictures_on_each_is_one_of_a_frozen_camera(after: int):
    assert judged(FrozenGate(after), [ONE] * (after + 3)) == [False] * (after - 1) + [True] * 4


def test_the_first_picture_that_differs_is_judged_again_and_the_count_begins_anew():
    gate = FrozenGate(3)
    assert judged(gate, [ONE, ONE, ONE, OTHER]) == [False, False, True, False]
    assert (gate.on, gate.text) == (False, "")
    assert judged(gate, [OTHER, OTHER, ONE]) == [False, True, False]


def test_the_text_says_how_many_there_were():
    gate = FrozenGate(2)
    judged(gate, [OTHER, ONE, ONE, ONE])
    assert gate.text == "the picture is frozen: 3 in a row are identical"


def test_pictures_may_repeat_for_ever_when_the_check_is_off():
    gate = FrozenGate(None)
    assert not any(judged(gate, [ONE] * 100))
    assert not gate.on


@pytest.mark.parametrize("place", [(0, 0, 0), (17, 30, 1), (47, 63, 2)])
def test_one_pixel_by_one_level_is_a_difference(place: tuple[int, int, int]):
    changed = ONE.copy()
    changed[place] = 1
    assert identical(ONE, ONE.copy())
    assert not identical(ONE, changed)


def test_another_size_is_a_difference():
    assert not identical(ONE, ONE[:24])


def test_an_exposure_that_two_triggers_took_is_no_frozen_picture():
    gate = FrozenGate(2)
    assert [gate.frozen(ONE), gate.frozen(ONE), gate.frozen(ONE.copy())] == [False, False, True]
