from __future__ import annotations

import math
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from support.pictures import good_picture, part_picture

from stream.core.errors import ConfigError, FrameFault
from stream.core.parts import Placement
from stream.core.verdict import Cause
from stream.model.patchcore.alignment import AT_FIT, Alignment, taught
from stream.model.patchcore.fixtures import Box
from stream.model.patchcore.geometry import Geometry

#: The whole plate, its middle being that of the picture; and two of its corners, likewise about the middle.
PLATE: list[Box] = [(52, 42, 136, 116)]
CORNERS: list[Box] = [(52, 42, 44, 40), (144, 118, 44, 40)]
ROI = (40, 30, 160, 140)


def alignment(boxes: list[Box], **options: Any) -> Alignment:
    return taught(part_picture(0), boxes, reference="first.png", **options)


def placed(found: Placement) -> tuple[float, float, float]:
    return found.dx_px, found.dy_px, found.angle_deg


MOVES = [(0.0, 0.0, 0.0), (20.0, -20.0, 5.0), (-13.3, 7.6, -4.2), (0.4, -0.3, 0.2), (-31.5, 3.25, 8.0)]


@pytest.mark.parametrize("boxes", [PLATE, CORNERS], ids=["one", "two"])
@pytest.mark.parametrize("move", MOVES, ids=str)
def test_a_part_is_found_within_a_third_of_a_pixel_and_a_tenth_of_a_degree(
    boxes: list[Box], move: tuple[float, float, float]
):
    x_px, y_px, angle_deg = move
    found = alignment(boxes).placement(part_picture(7, x_px=x_px, y_px=y_px, angle_deg=angle_deg))
    assert placed(found)[:2] == pytest.approx((x_px, y_px), abs=0.3)
    assert found.angle_deg == pytest.approx(angle_deg, abs=0.1)
    assert found.match > 0.7


@pytest.mark.parametrize("by", ["brightness", "features"])
@pytest.mark.parametrize("move", MOVES[1:3], ids=str)
def test_brightness_and_features_find_it_too(by: Any, move: tuple[float, float, float]):
    x_px, y_px, angle_deg = move
    # A plate has few keypoints, a weave has many.
    picture = part_picture(0) if by == "brightness" else good_picture(3, width_px=240, height_px=200)
    turn = cv2.getRotationMatrix2D((119.5, 99.5), -angle_deg, 1.0)
    turn[:, 2] += (x_px, y_px)
    moved = np.asarray(cv2.warpAffine(picture, turn, (240, 200), flags=cv2.INTER_CUBIC), np.uint8)
    found = taught(picture, PLATE, reference="first.png", by=by).placement(moved)
    assert placed(found)[:2] == pytest.approx((x_px, y_px), abs=0.3)
    assert found.angle_deg == pytest.approx(angle_deg, abs=0.15)


def test_features_too_are_not_found_beyond_the_limits():
    picture = good_picture(3, width_px=240, height_px=200)
    by_features = taught(picture, PLATE, reference="first.png", by="features", limit_px=15.0, limit_deg=4.0)

    def moved(x_px: float, angle_deg: float) -> NDArray[np.uint8]:
        turn = cv2.getRotationMatrix2D((119.5, 99.5), -angle_deg, 1.0)
        turn[:, 2] += (x_px, 0)
        return np.asarray(cv2.warpAffine(picture, turn, (240, 200), flags=cv2.INTER_CUBIC), np.uint8)

    assert by_features.placement(moved(13.0, 3.0)).dx_px == pytest.approx(13.0, abs=0.3)
    with pytest.raises(FrameFault, match=r"the part is 1[78]\.\d px from its place, the limit is 15 px") as far:
        by_features.placement(moved(17.6, 0.0))
    with pytest.raises(FrameFault, match=r"the part is turned by -?6\.\d°, the limit is 4°") as turned:
        by_features.placement(moved(0.0, 6.3))
    assert {far.value.cause, turned.value.cause} == {Cause.NOT_FOUND}


def test_light_that_changes_over_the_part_does_not_move_it():
    picture = part_picture(5, x_px=6.0, y_px=-4.0, angle_deg=2.0)
    shade = np.linspace(0.5, 1.0, picture.shape[1])[np.newaxis, :, np.newaxis]
    found = alignment(PLATE).placement((picture * shade).astype(np.uint8))
    assert placed(found) == pytest.approx((6.0, -4.0, 2.0), abs=0.3)


def test_without_rotation_no_angle_is_searched():
    found = alignment(PLATE, rotates=False).placement(part_picture(3, x_px=11.2, y_px=-5.7))
    assert placed(found) == pytest.approx((11.2, -5.7, 0.0), abs=0.3)
    assert found.angle_deg == 0


@pytest.mark.parametrize("boxes", [PLATE, CORNERS], ids=["one", "two"])
def test_the_reference_itself_has_not_moved(boxes: list[Box]):
    assert alignment(boxes).placement(part_picture(0)) == AT_FIT


@pytest.mark.parametrize(
    "picture",
    [part_picture(9, part=False), np.full((200, 240, 3), 90, np.uint8), good_picture(1, width_px=240, height_px=200)],
    ids=["empty belt", "one colour", "another part"],
)
@pytest.mark.parametrize("boxes", [PLATE, CORNERS], ids=["one", "two"])
def test_what_is_no_such_part_is_not_found(picture: NDArray[np.uint8], boxes: list[Box]):
    with pytest.raises(FrameFault, match=r"not found: the best match is -?0\.\d\d, the least 0\.4\d") as fault:
        alignment(boxes).placement(picture)
    assert fault.value.cause is Cause.NOT_FOUND


@pytest.mark.parametrize(
    ("move", "said"),
    [
        ({"x_px": 10.0, "y_px": 2.0}, r"10\.\d px from its place, the limit is 8 px"),
        ({"angle_deg": 3.5}, r"turned by 3\.[45]°, the limit is 3°"),
    ],
)
def test_a_part_beyond_the_limits_is_not_found_and_its_place_is_named(move: dict[str, float], said: str):
    with pytest.raises(FrameFault, match=said) as fault:
        alignment(PLATE, limit_px=8.0, limit_deg=3.0).placement(part_picture(2, **move))
    assert fault.value.cause is Cause.NOT_FOUND


def test_a_frame_of_another_size_than_the_reference_is_a_wrong_geometry():
    with pytest.raises(FrameFault, match=r"100×80 px, the fixtures were marked in one of 240×200") as fault:
        alignment(PLATE).placement(np.zeros((80, 100, 3), np.uint8))
    assert fault.value.cause is Cause.WRONG_GEOMETRY


def test_the_same_frame_gives_the_same_placement_to_the_last_bit():
    frame = part_picture(4, x_px=7.7, y_px=3.1, angle_deg=-2.0)
    stored = msgspec.json.decode(msgspec.json.encode(alignment(CORNERS)), type=Alignment)
    assert stored.placement(frame) == alignment(CORNERS).placement(frame)


def test_a_region_shows_the_part_where_it_was_at_fit():
    geometry = Geometry(ROI, None, (96, 96), alignment=alignment(PLATE))
    plain = geometry._replace(alignment=None)
    still = plain.region(part_picture(1)).astype(float)
    moved = part_picture(1, x_px=12.4, y_px=-9.1, angle_deg=4.0)
    aligned = geometry.region(moved)
    assert aligned.shape == still.shape == (140, 160, 3)
    # The clouds of light stay in the frame.
    assert 2 * np.abs(aligned - still).mean() < np.abs(plain.region(moved) - still).mean()


def test_a_grey_frame_is_aligned_as_one_with_three_equal_channels():
    grey = np.ascontiguousarray(part_picture(1, x_px=11.3, y_px=-6.7, angle_deg=3.1)[:, :, 1])
    colours = np.dstack([grey] * 3)
    geometry = Geometry(ROI, None, (96, 96), alignment=alignment(CORNERS))
    assert geometry.placement(grey) == geometry.placement(colours)
    region = geometry.region(grey)
    assert region.ndim == 2
    np.testing.assert_array_equal(np.dstack([region] * 3), geometry.region(colours))


def test_a_part_that_has_not_moved_keeps_its_pixels_and_none_are_copied():
    frame = part_picture(0)
    region = Geometry(ROI, None, (96, 96), alignment=alignment(PLATE)).region(frame)
    assert np.shares_memory(region, frame)
    np.testing.assert_array_equal(region, frame[30:170, 40:200])


def test_marks_move_with_their_part_and_stay_black_and_white():
    marks = np.zeros((200, 240), np.uint8)
    marks[100:110, 120:140] = 255
    geometry = Geometry(ROI, None, (96, 96), alignment=alignment(PLATE))
    place = Placement(dx_px=10.0, dy_px=-6.0, angle_deg=0.0, match=1.0)
    region = geometry.region(marks, place, labels=True)
    assert set(np.unique(region)) == {0, 255}
    rows, columns = np.nonzero(region)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (76, 85, 70, 89)


def test_the_least_match_follows_the_good_parts_but_not_below_what_is_no_part():
    assert alignment(PLATE).learned([0.9, 0.8, 0.95]).least_match == pytest.approx(0.56)
    assert alignment(PLATE).learned([0.9, 0.35]).least_match == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("boxes", "options", "said"),
    [
        ([], {}, "--fixture: 0 of them; mark one or two"),
        (PLATE * 3, {}, "--fixture: 3 of them; mark one or two"),
        ([(200, 10, 60, 60)], {}, "--fixture 200,10,60,60: not within the reference first.png, which is 240×200 px"),
        ([(-1, 10, 60, 60)], {}, "--fixture -1,10,60,60: not within"),
        ([(50, 50, 8, 60)], {}, "--fixture 50,50,8,60: mark at least 16×16 px"),
        (CORNERS[:1] * 2, {}, "given twice; mark two different places"),
        ([(74, 57, 17, 17)], {}, "--fixture 74,57,17,17: too small or too plain: even noise matches by 0."),
        (PLATE, {"limit_px": 0.0}, "--align-limit-px: 0 px; give how far"),
        (PLATE, {"limit_px": math.nan}, "--align-limit-px: nan px; give how far"),
        (PLATE, {"limit_deg": -1.0}, "--align-limit-deg: -1°; give how far"),
        (PLATE, {"limit_deg": 90.0}, "--align-limit-deg: 90°; give how far"),
        (CORNERS[:1], {"by": "features"}, "keypoints in first.png, at least 16 are needed"),
    ],
)
def test_fixtures_and_limits_that_cannot_be_used_are_refused_in_one_line(
    boxes: list[Box], options: dict[str, Any], said: str
):
    with pytest.raises(ConfigError) as error:
        alignment(boxes, **options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def drawn(shape: str) -> NDArray[np.uint8]:
    picture = np.full((200, 240, 3), 70, np.uint8)
    if shape == "bar":
        cv2.rectangle(picture, (0, 80), (239, 120), (180, 180, 180), -1)
    elif shape == "disc":
        cv2.circle(picture, (120, 100), 40, (180, 180, 180), -1, cv2.LINE_AA)
    return picture


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ("nothing", "shows nothing by which"),
        ("bar", "edges run in one direction only"),
        ("disc", "alike from all sides"),
    ],
)
def test_a_fixture_that_does_not_fix_the_part_is_refused(shape: str, said: str):
    with pytest.raises(ConfigError, match=said):
        taught(drawn(shape), [(60, 40, 120, 120)], reference="first.png")


def test_a_disc_can_be_found_if_it_need_not_be_turned():
    found = taught(drawn("disc"), [(60, 40, 120, 120)], reference="first.png", rotates=False)
    assert found.placement(np.roll(drawn("disc"), (3, 5), axis=(0, 1))).dx_px == pytest.approx(5, abs=0.1)
