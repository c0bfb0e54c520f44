from __future__ import annotations

import itertools
import struct
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.capture.triggered_camera import TriggeredCamera, open_camera
from stream.core.errors import CameraError
from stream.devices.cameras.camera import Frame, Start
from stream.devices.cameras.video import VideoCameraOptions
from stream.line.config import LineConfig

LEVELS = [20, 60, 100, 140, 180, 220]


def film(path: Path, *, fps: float = 20.0, codec: str = "MJPG") -> Path:
    """Write one frame per level, each of a single gray."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (64, 48))
    assert writer.isOpened()
    for level in LEVELS:
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return path


def levels(frames: list[Frame]) -> list[int]:
    """Name each frame by the nearest of the levels that were written."""
    found = []
    for frame in frames:
        assert frame.image is not None
        assert frame.image.shape == (48, 64, 3)
        assert frame.image.dtype == np.uint8
        found.append(min(LEVELS, key=lambda level: abs(level - float(frame.image.mean()))))
    return found


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "MJPG"), ("a.mp4", "mp4v")])
def test_a_video_that_ends_is_a_normal_end(tmp_path: Path, name: str, codec: str) -> None:
    source = VideoCameraOptions(kind="video", path=film(tmp_path / name, codec=codec), rate_hz=1000).open()
    assert levels(list(source.frames(Start(0, 0), threading.Event()))) == LEVELS
    assert source.fault is None


def test_frames_stay_unchanged_after_the_next_one_came(tmp_path: Path) -> None:
    source = VideoCameraOptions(kind="video", path=film(tmp_path / "a.avi"), rate_hz=1000).open()
    frames = source.frames(Start(0, 0), threading.Event())
    first = next(frames)
    assert first.image is not None
    before = first.image.copy()
    assert len(list(frames)) == len(LEVELS) - 1
    np.testing.assert_array_equal(first.image, before)


@pytest.mark.parametrize("done", [0, 2, 5, 6, 9])
def test_a_restarted_video_goes_on_where_it_stood(tmp_path: Path, done: int) -> None:
    source = VideoCameraOptions(kind="video", path=film(tmp_path / "a.avi"), rate_hz=1000).open()
    assert levels(list(source.frames(Start(done, 0), threading.Event()))) == LEVELS[done:]


@pytest.mark.parametrize("done", [0, 4, 6, 12, 6_000_001])
def test_a_loop_goes_round_and_a_restart_keeps_its_place_in_it(tmp_path: Path, done: int) -> None:
    source = VideoCameraOptions(kind="video", path=film(tmp_path / "a.avi"), rate_hz=1000, loop=True).open()
    frames = list(itertools.islice(source.frames(Start(done, 0), threading.Event()), 8))
    assert levels(frames) == [LEVELS[(done + index) % 6] for index in range(8)]


def test_without_a_rate_the_file_sets_the_pace(tmp_path: Path) -> None:
    waited_s: list[float] = []

    class Watched(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited_s.append(timeout or 0.0)
            return True  # stopped while waiting

    source = VideoCameraOptions(kind="video", path=film(tmp_path / "a.avi", fps=2.0)).open()
    assert levels(list(source.frames(Start(0, 0), Watched()))) == LEVELS[:1]
    assert len(waited_s) == 1
    assert 0.3 < waited_s[0] <= 0.5


def test_a_missing_video_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match=r"none\.mp4: no such video file"):
        VideoCameraOptions(kind="video", path=tmp_path / "none.mp4").open()


@pytest.mark.parametrize("content", [b"", b"not a video" * 100])
def test_a_file_that_is_no_video_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(CameraError, match=r"a\.mp4") as refusal:
        VideoCameraOptions(kind="video", path=path).open()
    assert "\n" not in str(refusal.value)


def test_a_video_whose_end_was_never_written_is_refused_by_name(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", codec="mp4v")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CameraError, match=r"a\.mp4"):
        VideoCameraOptions(kind="video", path=path).open()


def test_a_video_held_upright_is_played_upright(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 20.0, (64, 48))
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = 255  # the corner at the top left
    for _ in range(3):
        writer.write(picture)
    writer.release()
    # The matrix of the track's header, as a telephone that was turned clockwise writes it.
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 48 << 16, 0, 0x40000000)
    path.write_bytes(content)
    source = VideoCameraOptions(kind="video", path=path, rate_hz=1000).open()
    frame = next(source.frames(Start(0, 0), threading.Event()))
    assert frame.image is not None
    assert frame.image.shape == (64, 48, 3)
    bright = frame.image[:, :, 0] > 128
    assert bright[:30, 26:].all(), "the corner has moved to the top right"
    assert not bright[34:].any()


def test_a_recorded_video_takes_a_trigger_like_every_free_running_camera(tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi")
    camera = {"kind": "video", "path": path, "loop": True, "trigger": {"kind": "rate", "rate_hz": 5}}
    station = {"camera": "top", "bundle": "cap.safetensors", "deadline_ms": 1000, "mode": "triggered"}
    config = LineConfig.model_validate({"line": "one", "cameras": {"top": camera}, "stations": {"cap": station}})
    stop = threading.Event()
    opened = open_camera(config, "top")
    assert isinstance(opened, TriggeredCamera)
    parts = list(itertools.islice(opened.frames(Start(0, time.monotonic_ns()), stop), 3))
    stop.set()
    assert all(part.image is not None for part in parts)
