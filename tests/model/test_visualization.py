from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.core.verdict import Cause, Verdict
from stream.model.visualization import draw

SIZES_PX = [(224, 224), (300, 300), (480, 640), (720, 1280)]
PIXEL_THRESHOLD = 12.0


def view_of(height_px: int, width_px: int, grey: int | None = None) -> NDArray[np.uint8]:
    if grey is not None:
        return np.full((height_px, width_px, 3), grey, np.uint8)
    return np.random.default_rng(5).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


def map_of(distance: float, good_distance: float = 6.0) -> NDArray[np.float16]:
    """Return a 28 x 28 map of good patches with one anomalous block in its upper left quarter."""
    grid = np.full((28, 28), good_distance, np.float16)
    grid[6:11, 6:11] = distance
    return grid


def drawn(view: NDArray[np.uint8], anomaly_map: NDArray[np.floating] | None = None, **changes: object):
    options = {
        "verdict": Verdict.DEFECT,
        "score": 31.27,
        "threshold": 12.5,
        "pixel_threshold": PIXEL_THRESHOLD,
        "title": "cap #1234",
        "cause": None,
    }
    return draw(view, anomaly_map, **options | changes)


def band_of(view: NDArray[np.uint8], **changes: object) -> NDArray[np.uint8]:
    return drawn(view, **changes)[: -len(view)]


def written(band: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where something other than the background stands."""
    return np.abs(band.astype(int) - band[0, 0].astype(int)).max(axis=2) > 0


@pytest.mark.parametrize(("height_px", "width_px"), SIZES_PX)
def test_the_header_stands_above_the_view_and_never_on_it(height_px, width_px):
    view = view_of(height_px, width_px)
    picture = drawn(view)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (width_px, 3)
    assert height_px * 0.05 < len(picture) - height_px < height_px * 0.25
    np.testing.assert_array_equal(picture[-height_px:], view)


@pytest.mark.parametrize(("height_px", "width_px"), SIZES_PX)
def test_a_good_part_is_left_untouched_below_the_header(height_px, width_px):
    view = view_of(height_px, width_px)
    picture = drawn(view, map_of(8.0), verdict=Verdict.GOOD, score=8.1)
    np.testing.assert_array_equal(picture[-height_px:], view)


def test_what_is_not_judged_is_hatched_and_nothing_else():
    filled = np.zeros((28, 28), np.bool_)
    filled[:, :14] = True
    view = view_of(300, 300, grey=128)
    picture = drawn(view, None, verdict=Verdict.GOOD, filled=filled)[-300:]
    changed = (picture != view).any(axis=2)
    assert 0.15 < changed[:, :150].mean() < 0.25, "light lines beside dark ones"
    assert not changed[:, 150:].any()


def test_the_view_that_was_given_is_not_drawn_on():
    view = view_of(300, 300)
    before = view.copy()
    drawn(view, map_of(30.0))
    np.testing.assert_array_equal(view, before)


@pytest.mark.parametrize(("height_px", "width_px"), SIZES_PX)
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_heat_lies_on_the_defect_and_nowhere_else(height_px, width_px, kind):
    view = view_of(height_px, width_px, grey=128)
    picture = drawn(view, map_of(30.0).astype(kind))[-height_px:]
    changed = (picture != view).any(axis=2)
    rows, columns = (
        slice(height_px * 7 // 28, height_px * 10 // 28),
        slice(width_px * 7 // 28, width_px * 10 // 28),
    )
    assert changed[rows, columns].all()
    assert not changed[height_px // 2 :].any()
    assert not changed[:, width_px // 2 :].any()


def test_the_further_beyond_the_threshold_the_stronger_the_heat():
    view = view_of(300, 300, grey=128)
    centre = (300 * 8 // 28, 300 * 8 // 28)
    strength = [
        np.abs(drawn(view, map_of(distance))[-300:][centre].astype(int) - 128).max()
        for distance in (9.0, 11.5, 12.5, 13.5, 15.0)
    ]
    assert strength[0] == 0
    assert strength == sorted(set(strength))


def test_the_part_remains_visible_under_the_strongest_heat():
    centre = (300 * 8 // 28, 300 * 8 // 28)
    dark, light = (drawn(view_of(300, 300, grey), map_of(500.0))[-300:][centre] for grey in (0, 255))
    assert (light.astype(int) - dark >= 64).all()


@pytest.mark.parametrize("grey", [0, 60, 128, 200, 255])
@pytest.mark.parametrize(("height_px", "width_px"), SIZES_PX)
def test_the_outline_of_the_anomalous_area_stands_out_on_any_grey(grey, height_px, width_px):
    picture = drawn(view_of(height_px, width_px, grey), map_of(30.0))[-height_px:]
    row = picture[height_px * 8 // 28].astype(int)
    ring = row[(row == row[:, :1]).all(axis=1), 0]
    assert max(abs(ring - grey)) >= 120, "neither black nor white differs from the part"


def black_and_white(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where the outline's rings are on a grey part."""
    return np.asarray((picture == 0).all(axis=2) | (picture == 255).all(axis=2))


@pytest.mark.parametrize("distance", [8.0, 11.0, 12.05, 30.0])
@pytest.mark.parametrize(("height_px", "width_px"), SIZES_PX)
def test_a_defect_always_has_an_outline_around_its_strongest_spot(distance, height_px, width_px):
    picture = drawn(view_of(height_px, width_px, grey=128), map_of(distance))[-height_px:]
    ring = black_and_white(picture)
    rows, columns = np.flatnonzero(ring.any(axis=1)), np.flatnonzero(ring.any(axis=0))
    assert rows[0] < height_px * 8.5 / 28 < rows[-1]
    assert columns[0] < width_px * 8.5 / 28 < columns[-1]


def test_a_spot_at_the_edge_has_a_closed_outline():
    grid = np.full((28, 28), 6.0, np.float16)
    grid[20:, 22:] = 30.0
    ring = black_and_white(drawn(view_of(280, 280, grey=128), grid)[-280:])
    assert ring[-1, 240:-5].all()
    assert ring[220:-5, -1].all()


def test_a_defect_that_is_strange_all_over_has_a_frame():
    ring = black_and_white(drawn(view_of(280, 280, grey=128), np.full((28, 28), 11.0, np.float16))[-280:])
    assert all(edge[5:-5].all() for edge in (ring[0], ring[-1], ring[:, 0], ring[:, -1]))


@pytest.mark.parametrize("verdict", [Verdict.GOOD, Verdict.UNINSPECTED])
def test_only_a_defect_is_outlined_below_the_pixel_threshold(verdict):
    picture = drawn(view_of(300, 300, grey=128), map_of(11.5), verdict=verdict)[-300:]
    assert not black_and_white(picture).any()


def test_the_header_of_a_defect_names_the_place():
    view, grid = view_of(640, 640, grey=128), map_of(30.0)
    elsewhere = np.rot90(grid, 2).copy()
    headers = [drawn(view, patches)[:-640] for patches in (grid, elsewhere)]
    assert headers[0].shape != headers[1].shape or (headers[0] != headers[1]).any()
    good = [drawn(view, patches, verdict=Verdict.GOOD)[:-640] for patches in (grid, elsewhere)]
    np.testing.assert_array_equal(*good)


def test_a_weak_spot_is_violet_and_a_strong_one_yellow_which_also_differ_in_brightness():
    centre = (300 * 8 // 28, 300 * 8 // 28)
    weak, strong = (drawn(view_of(300, 300, 128), map_of(d))[-300:][centre].astype(int) for d in (11.6, 30.0))
    assert weak[0] > weak[1], "blue above green"
    assert strong[0] < strong[1] - 60, "green above blue"
    assert strong.sum() > weak.sum() + 60


def test_the_outline_leaves_the_inside_of_a_small_defect_free():
    grid = np.full((28, 28), 6.0, np.float16)
    grid[8, 8] = 40.0
    picture = drawn(view_of(224, 224, grey=255), grid)[-224:]
    centre = picture[8 * 8 + 4, 8 * 8 + 4].astype(int)
    assert centre.max() - centre.min() > 50, "the centre has the colour of heat, not of the outline"


@pytest.mark.parametrize("verdict", list(Verdict))
def test_each_verdict_has_its_colour(verdict):
    text = band_of(view_of(300, 300), verdict=verdict, title="", score=None)
    blue, green, red = (int(text[..., channel].max()) for channel in range(3))
    expected = {
        Verdict.GOOD: green > red + 60 and green > blue + 60,
        Verdict.DEFECT: red > green + 60 and red > blue + 60,
        Verdict.UNINSPECTED: red > green + 40 and green > blue + 60,
    }
    assert expected[verdict]


@pytest.mark.parametrize("width_px", [224, 300, 640, 1280])
@pytest.mark.parametrize("cause", [None, Cause.WRONG_GEOMETRY])
@pytest.mark.parametrize(
    "title", ["c #1", "station-with-a-name-of-sixty-four-characters-as-long-as-allowed-0 #123456789"]
)
def test_text_is_never_cut(width_px, cause, title):
    view = view_of(200, width_px)
    band = band_of(view, title=title, cause=cause, verdict=Verdict.UNINSPECTED, score=123.4, threshold=99.99)
    text = written(band)
    assert text.any()
    for edge in (text[:, :3], text[:, -3:], text[:1], text[-1:]):
        assert not edge.any()


@pytest.mark.parametrize(("width_px", "least_px"), [(224, 9), (300, 11), (640, 20), (1280, 22)])
def test_the_verdict_is_tall_enough_to_read(width_px, least_px):
    text = band_of(view_of(200, width_px), title="", score=None)
    rows = np.flatnonzero(written(text).any(axis=1))
    assert rows[-1] - rows[0] + 1 >= least_px


def test_long_texts_stand_below_one_another():
    view = view_of(224, 224)
    short = band_of(view, title="cap #1")
    long = band_of(view, title="cap-lane-number-12 #1234567")
    assert len(long) > len(short)


@pytest.mark.parametrize(
    "changes",
    [
        {"cause": Cause.TIMEOUT},
        {"title": "cap #1235"},
        {"score": 31.28},
        {"threshold": 12.6},
        {"threshold": None},
        {"score": None},
    ],
)
def test_the_header_tells_what_it_was_given(changes):
    view = view_of(300, 300)
    plain, changed = band_of(view), band_of(view, **changes)
    assert plain.shape != changed.shape or (plain != changed).any()


def test_what_cannot_be_written_appears_as_a_question_mark():
    view = view_of(300, 300)
    np.testing.assert_array_equal(band_of(view, title="caf\u00e9\n#1"), band_of(view, title="caf??#1"))


@pytest.mark.parametrize("anomaly_map", [None, np.empty((0, 0), np.float16)])
def test_without_a_map_the_view_stays_as_it_is(anomaly_map):
    view = view_of(300, 300)
    np.testing.assert_array_equal(drawn(view, anomaly_map)[-300:], view)


def test_without_a_pixel_threshold_no_heat_is_invented():
    view = view_of(300, 300)
    np.testing.assert_array_equal(drawn(view, map_of(30.0), pixel_threshold=None)[-300:], view)


def test_a_distance_beyond_float16_is_drawn_as_the_hottest_there_is():
    view = view_of(300, 300, grey=128)
    grid = map_of(30.0)
    grid[6:11, 6:11] = np.inf
    hottest = map_of(60_000.0)
    centre = (300 * 8 // 28, 300 * 8 // 28)
    np.testing.assert_array_equal(drawn(view, grid)[-300:][centre], drawn(view, hottest)[-300:][centre])
    np.testing.assert_array_equal(drawn(view, grid)[-100:], np.full((100, 300, 3), 128))


@pytest.mark.parametrize(("height_px", "width_px"), [(1, 1), (5, 40), (40, 5), (64, 64)])
def test_a_tiny_view_is_drawn_too(height_px, width_px):
    picture = drawn(view_of(height_px, width_px), map_of(30.0))
    assert picture.shape[1] == width_px
    assert len(picture) > height_px
