from __future__ import annotations

import numpy as np
import pytest

from stream.capture.policy.frozen import FrozenGate, identical

FIRST = np.zeros((48, 64, 3), np.uint8)
SECOND = np.full((48, 64, 3), 9, np.uint8)


def checked(gate: FrozenGate, images: list[np.ndarray]) -> list[bool]:
    return [gate.check(image.copy()) for image in images]


@pytest.mark.parametrize("after", [2, 3, 25])
def test_from_the_given_number_of_identical_images_on_the_camera_is_frozen(after: int):
    assert checked(FrozenGate(after), [FIRST] * (after + 3)) == [False] * (after - 1) + [True] * 4


def test_the_first_image_that_differs_is_inspected_again_and_resets_the_count():
    gate = FrozenGate(3)
    assert checked(gate, [FIRST, FIRST, FIRST, SECOND]) == [False, False, True, False]
    assert (gate.frozen, gate.text) == (False, "")
    assert checked(gate, [SECOND, SECOND, FIRST]) == [False, True, False]


def test_the_text_says_how_many_were_identical():
    gate = FrozenGate(2)
    checked(gate, [SECOND, FIRST, FIRST, FIRST])
    assert gate.text == "the picture is frozen: 3 in a row are identical"


def test_images_may_repeat_without_limit_when_the_check_is_off():
    gate = FrozenGate(None)
    assert not any(checked(gate, [FIRST] * 100))
    assert not gate.frozen


@pytest.mark.parametrize("place", [(0, 0, 0), (17, 30, 1), (47, 63, 2)])
def test_one_pixel_by_one_level_is_a_difference(place: tuple[int, int, int]):
    changed = FIRST.copy()
    changed[place] = 1
    assert identical(FIRST, FIRST.copy())
    assert not identical(FIRST, changed)


def test_another_size_is_a_difference():
    assert not identical(FIRST, FIRST[:24])


def test_an_exposure_that_two_triggers_took_counts_once():
    gate = FrozenGate(2)
    assert [gate.check(FIRST), gate.check(FIRST), gate.check(FIRST.copy())] == [False, False, True]
