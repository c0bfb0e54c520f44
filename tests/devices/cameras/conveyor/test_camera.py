from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.core.errors import CameraError, DatasetError
from stream.core.images import read_image
from stream.core.verdict import Cause
from stream.devices.cameras.camera import Frame, Start
from stream.devices.cameras.conveyor.camera import ConveyorCameraOptions

BELT_PX = (64, 48)
SIZES = {"a.png": (20, 16), "b.png": (31, 17), "c.png": (64, 48)}  # (width, height)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    generator = np.random.default_rng(5)
    for name, (width, height) in SIZES.items():
        cv2.imwrite(str(tmp_path / name), generator.integers(150, 256, (height, width, 3), dtype=np.uint8))
    return tmp_path


def in_s(seconds: float) -> int:
    return time.monotonic_ns() + round(seconds * 1e9)


def centre_of(image: np.ndarray, width: int, height: int) -> np.ndarray:
    left, top = (BELT_PX[0] - width) // 2, (BELT_PX[1] - height) // 2
    return image[top : top + height, left : left + width]


def passing(options: ConveyorCameraOptions, start: Start) -> list[Frame]:
    return list(options.open().frames(start, threading.Event()))


def test_a_triggered_part_keeps_the_pixels_of_its_file(parts: Path) -> None:
    options = ConveyorCameraOptions(kind="conveyor", path=parts, rate_hz=100, belt_px=BELT_PX)
    frames = passing(options, Start(0, in_s(0.25)))
    assert [frame.part_id for frame in frames] == list(SIZES)
    for frame, (name, size) in zip(frames, SIZES.items(), strict=True):
        assert frame.image is not None
        assert frame.image.shape == (48, 64, 3)
        np.testing.assert_array_equal(centre_of(frame.image, *size), read_image(parts / name))


def test_around_a_triggered_part_there_is_only_dark_belt(parts: Path) -> None:
    options = ConveyorCameraOptions(kind="conveyor", path=parts, rate_hz=100, belt_px=BELT_PX)
    frame = passing(options, Start(0, in_s(0.25)))[0]
    assert frame.image is not None
    belt = frame.image.copy()
    centre_of(belt, *SIZES["a.png"])[:] = 0
    assert belt.max() < 150
    assert frame.image[0].std() > 0  # rubber, not a flat colour


def test_a_part_is_captured_at_its_trigger_and_never_shown_before(parts: Path) -> None:
    origin_ns = in_s(0.25)
    source = ConveyorCameraOptions(kind="conveyor", path=parts, rate_hz=80, belt_px=BELT_PX).open()
    captured_ns = []
    for frame in source.frames(Start(0, origin_ns), threading.Event()):
        assert time.monotonic_ns() >= frame.captured_ns
        captured_ns.append(frame.captured_ns)
    assert captured_ns == [origin_ns + 12_500_000, origin_ns + 25_000_000, origin_ns + 37_500_000]


def test_parts_that_passed_while_the_camera_was_down_are_announced_as_lost(parts: Path) -> None:
    origin_ns = in_s(-1.7)  # at two parts per second the triggers of parts 0 to 2 are over
    options = ConveyorCameraOptions(kind="conveyor", path=parts, rate_hz=2, belt_px=BELT_PX, parts=4)
    begin_ns = time.monotonic_ns()
    frames = options.open().frames(Start(1, origin_ns), threading.Event())
    lost = [next(frames), next(frames)]
    assert [frame.part_id for frame in lost] == ["b.png", "c.png"]
    assert [frame.captured_ns for frame in lost] == [origin_ns + 1_000_000_000, origin_ns + 1_500_000_000]
    for frame in lost:
        assert frame.captured_ns < begin_ns
        assert frame.image is None
        assert frame.fault is not None
        assert frame.fault.cause is Cause.CAMERA_FAULT
        assert frame.fault.detail == "passed while the camera was down"
    (after,) = frames
    assert after.part_id == "a.png"
    assert after.image is not None
    assert after.captured_ns == origin_ns + 2_000_000_000


def test_a_process_that_is_late_still_has_the_pictures_of_its_parts(parts: Path) -> None:
    origin_ns = in_s(0.25)
    source = ConveyorCameraOptions(kind="conveyor", path=parts, rate_hz=100, belt_px=BELT_PX).open()
    frames = source.frames(Start(0, origin_ns), threading.Event())
    while time.monotonic_ns() < origin_ns + 50_000_000:  # until all three triggers are over
        time.sleep(0.01)
    late = list(frames)
    assert [frame.fault for frame in late] == [None, None, None]
    assert [frame.captured_ns - origin_ns for frame in late] == [10_000_000, 20_000_000, 30_000_000]


def test_a_corrupt_picture_is_a_bad_frame_at_its_trigger(parts: Path) -> None:
    (parts / "b.png").write_bytes((parts / "b.png").read_bytes()[:-200])
    origin_ns = in_s(0.25)
    options = ConveyorCameraOptions(kind="conveyor", path=parts, rate_hz=100, belt_px=BELT_PX)
    bad = passing(options, Start(0, origin_ns))[1]
    assert bad.image is None
    assert bad.part_id == "b.png"
    assert bad.captured_ns == origin_ns + 20_000_000
    assert bad.fault is not None
    assert bad.fault.cause is Cause.BAD_FRAME
    assert "b.png" in bad.fault.detail


def test_a_part_that_grew_beyond_the_belt_after_opening_is_a_bad_frame(parts: Path) -> None:
    source = ConveyorCameraOptions(kind="conveyor", path=parts, rate_hz=100, belt_px=BELT_PX).open()
    cv2.imwrite(str(parts / "a.png"), np.zeros((49, 64, 3), np.uint8))
    frame = next(source.frames(Start(0, in_s(0.25)), threading.Event()))
    assert frame.image is None
    assert frame.fault is not None
    assert frame.fault.cause is Cause.BAD_FRAME


def test_more_parts_than_pictures_go_round(parts: Path) -> None:
    options = ConveyorCameraOptions(kind="conveyor", path=parts, rate_hz=1000, belt_px=BELT_PX, parts=5)
    names = [frame.part_id for frame in passing(options, Start(0, in_s(0.25)))]
    assert names == ["a.png", "b.png", "c.png", "a.png", "b.png"]


def test_a_seed_mixes_the_order_and_a_restart_finds_it_again(parts: Path) -> None:
    options = ConveyorCameraOptions(
        kind="conveyor", path=parts, rate_hz=1000, belt_px=BELT_PX, parts=30, shuffle_seed=2
    )
    order = [frame.part_id for frame in passing(options, Start(0, in_s(0.25)))]
    assert set(order) == set(SIZES)
    assert order[:3] != list(SIZES)
    assert [frame.part_id for frame in passing(options, Start(11, in_s(0.25)))] == order[11:]


def test_a_part_larger_than_the_belt_is_refused_by_name(parts: Path) -> None:
    options = ConveyorCameraOptions(kind="conveyor", path=parts, belt_px=(64, 47))
    with pytest.raises(CameraError, match=r"c\.png: 64x48 px .*at least \[64, 48\]"):
        options.open()


def test_a_folder_without_pictures_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no picture"):
        ConveyorCameraOptions(kind="conveyor", path=tmp_path).open()


@pytest.mark.parametrize("fps", [None, 0.001])
def test_stop_ends_a_belt_that_waits_for_its_next_part(parts: Path, fps: float | None) -> None:
    stop = threading.Event()
    source = ConveyorCameraOptions(kind="conveyor", path=parts, rate_hz=0.001, belt_px=BELT_PX, fps=fps).open()
    frames = source.frames(Start(0, in_s(60)), stop)
    threading.Timer(0.05, stop.set).start()
    assert list(frames) == []


# A free-running camera: 8 frames per part, so the belt moves 8 px from frame to frame.


def free_running(parts: Path, origin_ns: int, count: int | None = 2) -> list[Frame]:
    options = ConveyorCameraOptions(kind="conveyor", path=parts, rate_hz=25, belt_px=BELT_PX, fps=200, parts=count)
    return passing(options, Start(0, origin_ns))


def test_a_free_running_camera_names_a_part_while_all_of_it_is_in_view(parts: Path) -> None:
    origin_ns = in_s(0.25)
    frames = free_running(parts, origin_ns)
    assert [frame.captured_ns for frame in frames] == [origin_ns + index * 5_000_000 for index in range(len(frames))]
    seen = [(name, len(list(run))) for name, run in itertools.groupby(frame.part_id for frame in frames)]
    # a.png is 20 px wide: left edge 22 px at frame 8, in view from -2 to 2 frames around it.
    assert seen == [(None, 6), ("a.png", 5), (None, 3), ("b.png", 5), (None, 3)]


def test_a_free_running_picture_of_a_centred_part_keeps_the_pixels_of_its_file(parts: Path) -> None:
    frames = free_running(parts, in_s(0.25))
    for index, name in ((8, "a.png"), (16, "b.png")):
        image = frames[index].image
        assert image is not None
        np.testing.assert_array_equal(centre_of(image, *SIZES[name]), read_image(parts / name))


def test_parts_and_rubber_move_together_from_left_to_right(parts: Path) -> None:
    images = [frame.image for frame in free_running(parts, in_s(0.25))]
    assert len(images) > 20
    for before, after in itertools.pairwise(images):
        assert before is not None
        assert after is not None
        np.testing.assert_array_equal(after[:, 8:], before[:, :-8])


def test_a_free_running_camera_that_was_down_goes_on_with_the_frame_due(parts: Path) -> None:
    origin_ns = in_s(-0.06)
    called_ns = time.monotonic_ns()
    options = ConveyorCameraOptions(kind="conveyor", path=parts, rate_hz=2, belt_px=BELT_PX, fps=10, parts=1)
    frames = options.open().frames(Start(50, origin_ns), threading.Event())
    first = next(frames)
    assert first.captured_ns > called_ns
    assert (first.captured_ns - origin_ns) % 100_000_000 == 0
    assert first.fault is None


def test_a_free_running_camera_comes_too_late_for_a_belt_that_has_passed(parts: Path) -> None:
    assert free_running(parts, in_s(-60)) == []


def test_a_corrupt_part_before_a_free_running_camera_is_a_bad_frame_while_it_passes(parts: Path) -> None:
    (parts / "a.png").write_bytes(b"")
    frames = free_running(parts, in_s(0.25), count=1)
    bad = [frame for frame in frames if frame.fault is not None]
    assert bad
    assert frames[8] in bad
    for frame in bad:
        assert frame.fault is not None
        assert frame.fault.cause is Cause.BAD_FRAME
        assert frame.part_id == "a.png"
        assert frame.image is None
