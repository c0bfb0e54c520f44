from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import TypeAdapter

from stream.core.errors import DatasetError
from stream.core.verdict import Cause
from stream.devices.cameras import CameraOptions
from stream.devices.cameras.camera import Frame, Start
from stream.devices.cameras.folder import FolderCameraOptions
from stream.devices.cameras.ticks import tick_ns, wait_until


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for index in range(4):
        cv2.imwrite(str(tmp_path / f"part-{index}.png"), np.full((8, 12, 3), index * 10, np.uint8))
    return tmp_path


def play(options: FolderCameraOptions, *, done: int = 0) -> list[Frame]:
    start = Start(frames_done=done, origin_ns=time.monotonic_ns())
    return list(options.open().frames(start, threading.Event()))


def test_every_picture_is_a_part_named_after_its_file(pictures: Path) -> None:
    frames = play(FolderCameraOptions(kind="folder", path=pictures, rate_hz=1000))
    assert [frame.part_id for frame in frames] == [f"part-{index}.png" for index in range(4)]
    for index, frame in enumerate(frames):
        assert frame.image is not None
        np.testing.assert_array_equal(frame.image, np.full((8, 12, 3), index * 10, np.uint8))
        assert frame.fault is None


def test_a_corrupt_picture_is_a_part_that_cannot_be_judged(pictures: Path) -> None:
    (pictures / "part-1.png").write_bytes(b"")
    frames = play(FolderCameraOptions(kind="folder", path=pictures, rate_hz=1000))
    assert [frame.fault is None for frame in frames] == [True, False, True, True]
    bad = frames[1]
    assert bad.image is None
    assert bad.part_id == "part-1.png"
    assert bad.fault is not None
    assert bad.fault.cause is Cause.BAD_FRAME
    assert "part-1.png" in bad.fault.detail


def test_a_restarted_folder_goes_on_where_it_stood(pictures: Path) -> None:
    options = FolderCameraOptions(kind="folder", path=pictures, rate_hz=1000)
    assert [frame.part_id for frame in play(options, done=3)] == ["part-3.png"]
    assert play(options, done=4) == []


def test_a_loop_goes_round_and_a_restart_keeps_its_place_in_it(pictures: Path) -> None:
    source = FolderCameraOptions(kind="folder", path=pictures, rate_hz=1000, loop=True).open()
    frames = source.frames(Start(frames_done=7, origin_ns=0), threading.Event())
    assert [frame.part_id for frame in itertools.islice(frames, 3)] == [
        "part-3.png",
        "part-0.png",
        "part-1.png",
    ]


def test_a_seed_mixes_the_order_always_in_the_same_way(pictures: Path) -> None:
    mixed = FolderCameraOptions(kind="folder", path=pictures, rate_hz=1000, shuffle_seed=1)
    once = [frame.part_id for frame in play(mixed)]
    assert [frame.part_id for frame in play(mixed)] == once
    assert once != sorted(map(str, once))
    assert sorted(map(str, once)) == [f"part-{index}.png" for index in range(4)]


def test_pictures_come_no_faster_than_the_rate(pictures: Path) -> None:
    begin_ns = time.monotonic_ns()
    frames = play(FolderCameraOptions(kind="folder", path=pictures, rate_hz=50))
    for index, frame in enumerate(frames):
        assert frame.captured_ns - begin_ns >= index * 20_000_000


def test_the_time_a_frame_takes_downstream_is_not_added_to_the_pace(pictures: Path) -> None:
    waited_s: list[float] = []

    class Watched(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited_s.append(timeout or 0.0)
            return super().wait(timeout)

    source = FolderCameraOptions(kind="folder", path=pictures, rate_hz=10).open()
    for _ in source.frames(Start(0, 0), Watched()):
        time.sleep(0.06)  # the work of capture
    assert waited_s
    assert max(waited_s) <= 0.1 - 0.06


def test_stop_ends_a_folder_that_waits_for_its_next_picture(pictures: Path) -> None:
    stop = threading.Event()
    frames = FolderCameraOptions(kind="folder", path=pictures, rate_hz=0.001).open().frames(Start(0, 0), stop)
    assert next(frames).part_id == "part-0.png"
    threading.Timer(0.05, stop.set).start()
    assert list(frames) == []


def test_a_folder_without_pictures_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no picture"):
        FolderCameraOptions(kind="folder", path=tmp_path).open()


def test_ticks_are_counted_from_the_origin_so_that_rounding_does_not_add_up() -> None:
    assert [tick_ns(1_000, index, 3.0) for index in (0, 1, 2, 3)] == [
        1_000,
        333_334_333,
        666_667_667,
        1_000_001_000,
    ]
    assert tick_ns(0, 3_000_000, 3.0) == 1_000_000 * 1_000_000_000


def test_waiting_reports_whether_the_moment_came_or_the_line_stops() -> None:
    stop = threading.Event()
    due_ns = time.monotonic_ns() + 5_000_000
    assert wait_until(due_ns, stop)
    assert time.monotonic_ns() >= due_ns
    stop.set()
    assert not wait_until(due_ns, stop)
    assert not wait_until(time.monotonic_ns() + 10**18, stop)


@pytest.mark.parametrize(
    "section",
    [
        {"kind": "folder", "path": "a"},
        {"kind": "video", "path": "a.mp4"},
        {"kind": "conveyor", "path": "a", "belt_px": [320, 240]},
        {"kind": "v4l2", "device": 0},
        {"kind": "rtsp", "url": "rtsp://camera/stream"},
    ],
)
def test_the_kind_of_a_section_chooses_the_camera(section: dict[str, Any]) -> None:
    options = TypeAdapter(CameraOptions).validate_python(section)
    assert options.kind == section["kind"]
    assert type(options).__name__.lower() == f"{section['kind']}cameraoptions"
