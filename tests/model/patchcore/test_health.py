from __future__ import annotations

from collections.abc import Callable

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from support.pictures import defective_picture, good_picture

from stream.model.patchcore.health import (
    MAX_VALUES,
    Measures,
    Reference,
    brightness_limits,
    check,
    focus_limit,
    measure,
    reference_of,
    refreshed,
)
from stream.model.patchcore.preprocess import network_input

SIZE_PX = 224
Image = NDArray[np.uint8]


def seen(picture: Image) -> Measures:
    return measure(network_input(picture, (SIZE_PX, SIZE_PX)))


def large(seed: int) -> Image:
    return good_picture(seed, width_px=320, height_px=240)


def gray(picture: Image) -> Image:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)


def blurred(picture: Image, sigma_px: float, seed: int = 0) -> Image:
    """Out of focus, as a sensor with a little noise sees it."""
    soft = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigma_px)
    noise = np.random.default_rng(seed).normal(0, 1, picture.shape[:2])[:, :, None]
    return np.clip(np.rint(soft + noise), 0, 255).astype(np.uint8)


def lit(picture: Image, factor: float) -> Image:
    return np.clip(np.rint(picture * np.float64(factor)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def reference() -> Reference:
    """What 30 good pictures look like."""
    return reference_of([seen(large(seed)) for seed in range(30)])


def test_a_picture_of_known_light_is_measured_as_it_is():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :16] = 255
    image[:, 16:32] = (90, 60, 30)
    found = measure(image)
    assert (found.black, found.saturated) == (0.5, 0.25)
    assert found.brightness == pytest.approx((255 + 65) / 4, abs=0.5)
    assert found.chroma == pytest.approx(30 / 4)


@pytest.mark.parametrize("size_px", [32, 96, 97, 224, 320])
def test_every_size_of_input_is_measured_in_finite_numbers(size_px: int):
    for image in (np.zeros((size_px, size_px, 3), np.uint8), network_input(good_picture(1), (size_px, size_px))):
        assert np.isfinite(measure(image)).all()


def test_what_came_over_the_wire_and_cannot_be_written_to_is_measured_too():
    image = network_input(good_picture(1), (96, 96))
    assert measure(np.frombuffer(image.tobytes(), np.uint8).reshape(96, 96, 3)) == measure(image)


def test_focus_falls_with_every_step_of_blur_and_not_with_contrast():
    sharp = large(1)
    focus = [seen(sharp).focus, *(seen(blurred(sharp, sigma)).focus for sigma in (1, 2, 3, 4))]
    assert focus == sorted(focus, reverse=True)
    assert seen(lit(sharp, 0.6)).focus == pytest.approx(focus[0], abs=0.1)


def test_good_pictures_never_seen_before_pass(reference: Reference):
    assert [check(seen(large(seed)), reference) for seed in range(1000, 1100)] == [None] * 100


def test_no_picture_that_made_the_reference_is_refused_however_odd():
    odd = [seen(large(seed)) for seed in range(5)]
    odd += [seen(lit(large(6), 0.2)), seen(blurred(large(7), 8)), seen(np.full((50, 50, 3), 255, np.uint8))]
    reference = reference_of(odd)
    assert [check(one, reference) for one in odd] == [None] * len(odd)


def test_defects_are_no_bad_frames(reference: Reference):
    pictures = [defective_picture(seed, width_px=320, height_px=240) for seed in range(1000, 1050)]
    assert [check(seen(picture), reference) for picture in pictures] == [None] * 50


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (np.zeros_like, "black: 100%"),
        (lambda picture: np.full_like(picture, 255), "over-exposed: 100%"),
        (lambda picture: lit(picture, 4), "over-exposed"),
        (lambda picture: lit(picture, 0.5), "too dark: mean brightness 5"),
        (lambda picture: lit(picture, 1.4), "too bright: mean brightness 15"),
        (gray, "gray, but the bundle learned coloured pictures"),
        (lambda picture: blurred(picture, 5), "out of focus"),
        (lambda picture: blurred(picture, 12), "blurred or covered"),
        (lambda picture: np.full_like(picture, picture.mean((0, 1))), "blurred or covered"),
        (lambda picture: blurred(np.full_like(picture, picture.mean((0, 1))), 1), "blurred or covered"),
    ],
)
def test_a_picture_in_which_a_defect_may_not_show_is_refused_with_the_reason(
    reference: Reference, spoil: Callable[[Image], Image], reason: str
):
    for seed in range(1000, 1020):
        assert (check(seen(spoil(large(seed))), reference) or "").startswith(reason)


@pytest.mark.parametrize("sigma_px", [5, 8, 12, 16, 20, 30, 60])
def test_no_degree_of_blur_is_so_strong_that_it_passes_again(reference: Reference, sigma_px: float):
    for seed in range(1000, 1010):
        assert check(seen(blurred(large(seed), sigma_px, seed)), reference)


def test_a_gray_bundle_refuses_coloured_pictures_and_takes_gray_ones():
    reference = reference_of([seen(gray(large(seed))) for seed in range(10)])
    assert reference.is_gray
    assert check(seen(gray(large(50))), reference) is None
    assert "learned gray pictures" in (check(seen(large(50)), reference) or "")


def test_few_good_pictures_give_wider_limits_than_many_alike():
    measured = [seen(large(seed)) for seed in range(3)]
    few, many = reference_of(measured), reference_of(measured * 50)
    few, many = (
        msgspec.structs.replace(one, focus=msgspec.structs.replace(one.focus, deviation=0.2)) for one in (few, many)
    )
    assert focus_limit(few) < focus_limit(many)


def test_a_reference_in_full_light_still_refuses_a_picture_of_nothing_else():
    backlit = np.full((240, 320, 3), 255, np.uint8)
    backlit[80:160, 100:220] = large(1)[80:160, 100:220]
    reference = reference_of([seen(backlit)] * 5)
    assert check(seen(backlit), reference) is None
    assert "over-exposed" in (check(seen(np.full_like(backlit, 255)), reference) or "")


def test_the_values_kept_for_drift_are_bounded_and_spread_over_all_pictures():
    measured = [Measures(float(level), 0, 0, -0.5, 3, 0) for level in range(2000)]
    reference = reference_of(measured)
    assert (reference.pictures, len(reference.brightness_values), len(reference.focus_values)) == (
        2000,
        MAX_VALUES,
        MAX_VALUES,
    )
    assert np.mean(reference.brightness_values) == pytest.approx(999.5, abs=5)
    assert (reference.brightness.low, reference.brightness.high) == (0, 1999)


def test_a_calibration_follows_the_light_of_today_and_refuses_nothing_that_was_good(reference: Reference):
    dimmed = reference_of([seen(lit(large(seed), 0.7)) for seed in range(200, 210)])
    after = refreshed(reference, dimmed)
    assert after.brightness.median == dimmed.brightness.median
    assert after.brightness_values == dimmed.brightness_values
    for factor in (0.55, 0.7, 0.85, 1.0):
        assert check(seen(lit(large(300), factor)), after) is None
    assert brightness_limits(after)[1] >= reference.brightness.high


def test_a_reference_survives_its_way_through_the_bundle(reference: Reference):
    assert msgspec.json.decode(msgspec.json.encode(reference), type=Reference) == reference
