from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from stream.cli.snapshot.picture import Region, draw_regions, take_picture
from stream.core.errors import CameraError, FrameFault
from stream.core.verdict import Cause
from stream.devices.cameras.camera import Frame, Start
from stream.devices.cameras.reconnecting import CameraLost

GRAY = np.full((300, 400, 3), 128, np.uint8)
FAULTY = Frame(None, 0, fault=FrameFault(Cause.BAD_FRAME, "cut short"))


class Camera:
    """A source that yields what it is given, then waits until it is stopped."""

    fault: str | None = None
    reconnects = 0

    def __init__(self, *frames: Frame, stall_ns: int | None = 10**9, ends: bool = False) -> None:
        self.given = frames
        self.stall_ns = stall_ns
        self.ends = ends
        self.closed = False

    def frames(self, start: Start, stop: threading.Event) -> Iterator[Frame]:  # noqa: ARG002
        try:
            yield from self.given
            if not self.ends:
                stop.wait(60)
        finally:
            self.closed = True


class Triggered(Camera):
    """A source that yields a frame for a trigger, and cannot be told at first."""

    def __init__(self, refuse: int) -> None:
        super().__init__(stall_ns=None)
        self.refuse = refuse
        self.told = threading.Event()

    def trigger(self) -> None:
        if self.refuse > 0:
            self.refuse -= 1
            raise CameraLost("the camera does not acquire yet")
        self.told.set()

    def frames(self, start: Start, stop: threading.Event) -> Iterator[Frame]:  # noqa: ARG002
        assert self.told.wait(60)
        yield Frame(GRAY, 0)


def test_the_first_picture_that_is_well_is_taken_and_the_camera_given_back():
    camera = Camera(FAULTY, Frame(GRAY, 1))
    assert take_picture(camera, 10) is GRAY
    assert camera.closed


def test_a_camera_that_gives_only_faulty_frames_says_what_is_wrong_with_them():
    with pytest.raises(CameraError, match=r"no picture within 0\.2 s: the last frame was faulty: cut short"):
        take_picture(Camera(FAULTY, FAULTY), 0.2)


def test_a_camera_without_frames_is_given_up_in_time():
    with pytest.raises(CameraError, match=r"no picture within 0\.2 s: no frame came$"):
        take_picture(Camera(), 0.2)
    with pytest.raises(CameraError, match="if it waits for a trigger, let a part pass"):
        take_picture(Camera(stall_ns=None), 0.2)


def test_a_camera_that_is_lost_says_why():
    camera = Camera()
    camera.fault = "camera 1: the cable is out"
    with pytest.raises(CameraError, match="the cable is out"):
        take_picture(camera, 0.2)


def test_a_source_that_ends_without_a_picture_is_not_waited_for():
    with pytest.raises(CameraError, match="ended without a good picture: the last frame was faulty: cut short"):
        take_picture(Camera(FAULTY, ends=True), 60)


def test_a_camera_with_software_triggers_is_triggered_until_it_exposes():
    camera = Triggered(refuse=2)
    assert take_picture(camera, 30) is GRAY
    assert camera.refuse == 0


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_region_stands_out_on_any_ground(level: int):
    ground = np.full((300, 400, 3), level, np.uint8)
    drawn = draw_regions(ground, [Region("cap", (100, 80, 120, 90))])
    edge = drawn[120, 95:106].astype(int)
    assert edge.max() - edge.min() > 150, "light and dark stand side by side"
    assert (ground == level).all(), "the picture given is left as it is"


def test_a_region_is_drawn_in_colour_on_a_grey_picture():
    regions = [Region("cap", (100, 80, 120, 90))]
    np.testing.assert_array_equal(draw_regions(GRAY[:, :, 0], regions), draw_regions(GRAY, regions))


def test_the_inside_of_a_region_and_what_is_far_from_it_stay_as_seen():
    drawn = draw_regions(GRAY, [Region("cap", (100, 80, 120, 90))])
    assert (drawn[90:160, 110:210] == 128).all()
    assert (drawn[200:, 240:] == 128).all()


def test_two_stations_with_the_same_region_have_two_labels():
    one = draw_regions(GRAY, [Region("cap", (100, 80, 120, 90))])
    two = draw_regions(GRAY, [Region("cap", (100, 80, 120, 90)), Region("lid", (100, 80, 120, 90))])
    dark_one, dark_two = ((picture == 20).all(axis=2).sum() for picture in (one, two))
    assert dark_two > 1.3 * dark_one


@pytest.mark.parametrize(
    "roi", [(0, 0, 400, 300), (390, 290, 10, 10), (0, 0, 1, 1), (350, 250, 200, 200), (5000, 5000, 10, 10), None]
)
def test_regions_at_and_beyond_the_edges_are_labelled_within_the_picture(roi: tuple[int, int, int, int] | None):
    drawn = draw_regions(GRAY, [Region("a-rather-long-name-of-a-station", roi)])
    assert drawn.shape == GRAY.shape
    dark = (drawn == 20).all(axis=2)
    assert dark.sum() > 1000, "the label's ground"


def test_a_region_that_the_picture_does_not_hold_is_known():
    assert Region("cap", (0, 0, 400, 300)).within(GRAY)
    assert Region("cap", None).within(GRAY)
    assert not Region("cap", (1, 0, 400, 300)).within(GRAY)
