"""What becomes of a camera's frames while it waits for the rest of its line."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.pictures import good_picture, write_picture

from stream.capture.parts_start import PartsStart, before_ready
from stream.capture.reader import Reader
from stream.capture.sequence import FrameSequence
from stream.capture.triggered_camera import TriggeredCamera, open_camera
from stream.devices.cameras.reconnecting import Connection, ReconnectingCamera, ReconnectingCameraOptions
from stream.devices.triggers.rate import RateTriggerOptions
from stream.line.config import LineConfig
from stream.transport.messages import CreditGrant

GENEROUS_S = 20.0
IN_USE = {"cap": "aa"}
GRANT = CreditGrant("worker0", "", received=0, free=1, idle=True, accepts={"cap": ("aa",)})


class Unplugged:
    """A connection without frames."""

    def read(self) -> list[Any]:
        return []

    def close(self) -> None:
        pass


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    for name in ("a", "b"):
        write_picture(tmp_path / "parts" / f"{name}.png", good_picture(1, width_px=32, height_px=32))
    return tmp_path / "parts"


def line(parts: Path, camera: dict[str, Any], *modes: str, ready_s: float = 600) -> LineConfig:
    stations = {
        f"s{number}": {"camera": "top", "bundle": "cap.safetensors", "mode": mode}
        for number, mode in enumerate(modes or ("triggered",))
    }
    data = {"line": "a", "cameras": {"top": camera}, "stations": stations, "restarts": {"ready_s": ready_s}}
    return LineConfig.model_validate(data)


def folder(parts: Path) -> dict[str, Any]:
    return {"kind": "folder", "path": str(parts), "rate_hz": 500}


def belt(parts: Path, trigger: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"kind": "conveyor", "path": str(parts), "belt_px": [64, 48], "fps": 10, "trigger": trigger}


def live(connection: Connection) -> ReconnectingCamera:
    return ReconnectingCamera("top", ReconnectingCameraOptions(), lambda: connection)


def started(parts: Path, config: LineConfig, state: Path) -> tuple[PartsStart, Reader, FrameSequence]:
    opened = open_camera(config, "top")
    reader, sequence = Reader(opened, threading.Event()), FrameSequence(state, "top", "monday", time.monotonic_ns())
    return PartsStart(config, "top", opened, sequence, reader), reader, sequence


def test_a_camera_that_waits_for_its_first_frame_is_read_from_the_beginning_once_the_line_is_ready(
    parts: Path, tmp_path: Path
):
    start, reader, sequence = started(parts, line(parts, folder(parts)), tmp_path / "state")
    opened_ns = sequence.origin_ns
    start.open()
    assert (start.state, start.lacks, reader.begun) == ("waiting", ("worker0",), False)
    assert start.on_credit(GRANT, IN_USE)
    assert not start.on_credit(GRANT, IN_USE), "nothing new"
    assert start.lacks == ()
    assert not start.step(line_ready=False)
    assert start.step(line_ready=True)
    reader.join(GENEROUS_S)
    assert [frame.part_id for frame, _ in reader.take()] == ["a.png", "b.png"]
    assert sequence.origin_ns > opened_ns, "a belt begins with its parts"


def test_a_process_that_replaces_a_dead_one_waits_only_if_no_part_has_come_before(parts: Path, tmp_path: Path):
    config = line(parts, folder(parts))
    start, reader, _ = started(parts, config, tmp_path / "state")
    start, reader, _ = started(parts, config, tmp_path / "state")
    start.open()
    assert (start.state, reader.begun) == ("waiting", False)
    start.on_credit(GRANT, IN_USE)
    start.step(line_ready=True)
    start, reader, _ = started(parts, config, tmp_path / "state")
    start.open()
    assert (start.state, start.lacks, reader.begun) == ("begun", (), True)
    reader.join(GENEROUS_S)


def test_parts_begin_without_the_line_after_the_longest_wait(
    parts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    start, reader, _ = started(parts, line(parts, folder(parts), ready_s=1e-6), tmp_path / "state")
    start.open()
    assert start.step(line_ready=False)
    assert start.state == "alone"
    assert "no credit of worker0" in caplog.text
    reader.join(GENEROUS_S)
    assert len(reader.take()) == 2


def test_triggers_from_outside_are_received_while_the_line_is_not_ready(parts: Path, tmp_path: Path):
    trigger = {"kind": "mqtt", "host": "192.0.2.1", "topic": "part"}
    config = line(parts, belt(parts, trigger))
    opened = open_camera(config, "top")
    assert isinstance(opened, TriggeredCamera)
    assert before_ready(config, "top", opened) == "counted"


@pytest.mark.parametrize("mode", ["triggered", "freerun"])
def test_what_this_process_triggers_itself_waits(parts: Path, mode: str):
    config = line(parts, belt(parts, {"kind": "rate", "rate_hz": 5}), mode)
    assert before_ready(config, "top", open_camera(config, "top")) == "held"
    beat = RateTriggerOptions(kind="rate", rate_hz=5)
    opened = TriggeredCamera(live(Unplugged()), beat.open(), 1, 0, of_parts=beat.of_parts)
    assert before_ready(config, "top", opened) == "dropped"


def test_frames_of_a_free_running_camera_are_parts_only_where_a_station_says_so(parts: Path):
    camera = live(Unplugged())
    assert before_ready(line(parts, folder(parts), "freerun", "freerun"), "top", camera) == "dropped"
    assert before_ready(line(parts, folder(parts), "freerun", "triggered"), "top", camera) == "counted"


def test_sources_that_can_wait_do(parts: Path):
    for camera in (folder(parts), belt(parts)):
        config = line(parts, camera)
        assert before_ready(config, "top", open_camera(config, "top")) == "held"
