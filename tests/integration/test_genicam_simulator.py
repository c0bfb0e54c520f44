"""`kind: genicam` with the simulator that comes with the library: three cameras behind a GenTL producer."""

from __future__ import annotations

import contextlib
import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.running import Line, station

pytest.importorskip("genicam", reason="comes with the extra `genicam`")

import genicam

from stream.core.errors import CameraError
from stream.core.verdict import Cause, Verdict
from stream.devices.cameras.camera import Frame, Start
from stream.devices.cameras.genicam.camera import GenicamCameraOptions, GenicamConnection, SoftwareTriggered
from stream.devices.cameras.reconnecting import CameraLost, ReconnectingCamera

PRODUCER = Path(genicam.__file__).parent / "viky.cti"

MakeLine = Callable[..., Line]


def options(**given: Any) -> GenicamCameraOptions:
    return GenicamCameraOptions.model_validate({"kind": "genicam", "producer": PRODUCER, "serial": "1", **given})


def opened(**given: Any) -> ReconnectingCamera:
    source = options(**given).open()
    assert isinstance(source, ReconnectingCamera)
    return source


def read(source: ReconnectingCamera, count: int) -> list[Frame]:
    """Read frames and close the camera: the simulator lets itself be opened once in each process."""
    stop = threading.Event()
    frames = source.frames(Start(0, 0), stop)
    try:
        return list(itertools.islice(frames, count))
    finally:
        frames.close()  # type: ignore[attr-defined]


def refusal(**given: Any) -> str:
    with pytest.raises(CameraError) as refused:
        options(**given).open()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_line_judges_every_frame_of_the_camera(make_line: MakeLine, small_bundle: Path):
    camera = {"kind": "genicam", "producer": str(PRODUCER), "serial": "1", "pixel_format": "Mono8"}
    # Its picture stands still and shows none of the parts that the bundle learned.
    camera |= {"frozen_frames": None}
    checks = {"frame_checks": False}
    line = make_line(
        {
            "cameras": {"top": camera | {"width": 320, "height": 240, "fps": 20}},
            "stations": {"cap": station(small_bundle, reject=None, backlog=64, deadline_ms=5000, **checks)},
        }
    )
    process = line.start()
    line.wait_for(lambda: line.announced("cap") >= 40, "40 parts")
    process.send_signal(signal.SIGTERM)
    assert line.finish() == 0
    counts = line.ledger()["cap"]
    assert counts.pending == ()
    events = sorted(line.events("cap"), key=lambda event: event.part.seq)
    assert [event.part.seq for event in events] == list(range(counts.announced))
    judged = [event for event in events if event.part.verdict in (Verdict.GOOD, Verdict.DEFECT)]
    assert len(judged) >= 40
    assert all(event.part.score is not None for event in judged)


@pytest.mark.parametrize("pixel_format", ["Mono8", "RGBa8"])
def test_every_pixel_format_of_the_camera_becomes_bgr_or_stays_mono(pixel_format: str):
    frames = read(opened(pixel_format=pixel_format, width=200, height=120), 3)
    for frame in frames:
        assert frame.image is not None, frame.fault
        assert frame.image.shape == ((120, 200) if pixel_format == "Mono8" else (120, 200, 3))
        assert frame.image.max() > 0


def test_mono_has_one_channel_and_colour_different_ones():
    # The simulator's camera 0 is red: its picture has other values in red than in blue.
    (colour,) = read(opened(serial="0", pixel_format="RGBa8"), 1)
    (gray,) = read(opened(serial="0", pixel_format="Mono8"), 1)
    assert colour.image is not None
    assert gray.image is not None
    assert gray.image.shape == colour.image.shape[:2]
    assert (colour.image[:, :, 0] != colour.image[:, :, 2]).any()


def test_frames_that_the_producer_dropped_are_announced_as_lost():
    stop = threading.Event()
    source = opened(fps=100, buffers=4)
    frames = source.frames(Start(0, 0), stop)
    first = next(frames)
    assert first.image is not None
    # Nobody reads: the producer has four buffers and then drops.
    stop.wait(0.5)
    taken = list(itertools.islice(frames, 30))
    frames.close()  # type: ignore[attr-defined]
    lost = [frame for frame in taken if frame.fault is not None]
    assert len(lost) >= 10
    for frame in lost:
        assert frame.image is None
        assert frame.fault is not None
        assert frame.fault.cause is Cause.CAMERA_FAULT
        assert "the camera's frames" in frame.fault.detail
    times = [frame.captured_ns for frame in [first, *taken]]
    assert times == sorted(times)


def test_an_unknown_serial_number_is_answered_with_those_present():
    said = refusal(serial="40012345")
    assert "no camera with serial '40012345'" in said
    assert "present: 0 (Machine Vision Games Ltd. Viky), 1 (" in said


def test_several_cameras_and_no_serial_number_are_refused():
    assert "several cameras; set `serial` to one of them; present: 0 (" in refusal(serial=None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"width": 5000}, "Width: the camera refuses 5000; it accepts 100 to 800"),
        ({"pixel_format": "BayerRG8"}, "PixelFormat: the camera refuses 'BayerRG8'; it accepts RGBa8, Mono8"),
        ({"fps": 5000}, "AcquisitionFrameRate: the camera refuses 5000.0; it accepts 1 to 200"),
        ({"exposure_us": 100}, "ExposureTime or ExposureTimeAbs: the camera has no such node"),
        ({"nodes": {"BouncingBalSize": 3}}, "BouncingBalSize: the camera has no such node, so it cannot be set to 3; "
         "similar: BouncingBallSize"),
        # The simulator knows no triggers.
        (
            {"trigger_mode": "software", "trigger": {"kind": "rate", "rate_hz": 5}},
            "TriggerMode: the camera has no such node, so it cannot be set to 'On'",
        ),
    ],
)  # fmt: skip
def test_a_setting_that_the_camera_refuses_is_named_with_what_it_accepts(given: dict[str, Any], said: str):
    assert said in refusal(**given)


def test_a_refused_camera_is_free_for_the_next_attempt():
    refusal(width=5000)
    assert len(read(opened(width=400), 1)) == 1


def test_other_nodes_are_set_as_told():
    source = opened(nodes={"BouncingBallSize": 7, "ChunkModeActive": False})
    connection = source._connection
    assert isinstance(connection, GenicamConnection)
    node_map = connection._acquirer.remote_device.node_map
    assert node_map.BouncingBallSize.value == 7
    assert node_map.ChunkModeActive.value is False
    connection.close()


def test_producers_that_are_missing_or_none_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert f"{tmp_path / 'no.cti'}: no such GenTL producer" in refusal(producer=tmp_path / "no.cti")
    (tmp_path / "bad.cti").write_text("no library")
    assert "bad.cti cannot be loaded as a GenTL producer" in refusal(producer=tmp_path / "bad.cti")
    monkeypatch.delenv("GENICAM_GENTL64_PATH", raising=False)
    assert "there is no GenTL producer (a .cti file)" in refusal(producer=None)


def test_producers_are_found_by_the_variable_that_their_installers_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GENICAM_GENTL64_PATH", f"/nowhere:{PRODUCER.parent}")
    assert len(read(opened(producer=None), 1)) == 1


def test_a_free_running_camera_that_falls_silent_is_opened_again_and_given_up_at_the_limit():
    # One frame each second is silence for a camera that has 0.2 s.
    source = opened(fps=1, stall_ms=200, reconnect={"first_s": 0.01, "limit": 2})
    with pytest.raises(CameraError, match=r"given up after 2 attempts: no frame for 200 ms"):
        read(source, 1)
    assert source.reconnects == 2
    assert source.fault == "GenICam camera 1: no frame for 200 ms"


def test_ctrl_c_stays_with_the_process_that_opens_the_camera():
    before = signal.getsignal(signal.SIGINT)
    read(opened(), 1)
    assert signal.getsignal(signal.SIGINT) is before


def test_only_a_free_running_camera_has_to_deliver_in_time():
    source = opened()
    assert source.stall_ns == 1_000_000_000
    assert not hasattr(source, "trigger")
    read(source, 1)
    assert hasattr(SoftwareTriggered, "trigger")


@contextlib.contextmanager
def connected(**given: Any) -> Iterator[GenicamConnection]:
    connection = GenicamConnection(options(**given))
    try:
        yield connection
    finally:
        connection.close()


def read_on(connection: GenicamConnection) -> list[Frame]:
    """Read until something comes."""
    for _ in range(100):
        frames = connection.read()
        if frames:
            return frames
    raise AssertionError("the simulator delivers nothing")


def test_a_damaged_frame_is_a_bad_frame_and_not_a_lost_one_too():
    with connected(fps=50) as connection:
        assert [frame.fault for frame in read_on(connection)] == [None]
        # Harvesters throws an incomplete buffer away and calls this; the simulator never sends one.
        connection._damaged.callback.emit()
        assert connection._previous is not None
        number, before_ns = connection._previous
        connection._previous = number - 1, before_ns
        faults = [frame.fault for frame in [*read_on(connection), *read_on(connection)] if frame.fault is not None]
        assert [fault.cause for fault in faults] == [Cause.BAD_FRAME]


def test_silence_between_triggers_is_no_loss_while_the_camera_answers():
    with connected(fps=1, stall_ms=50) as connection:
        # The simulator knows no triggers: the silence between its frames stands for that between parts.
        connection._waits_for_trigger = True
        assert [connection.read() for _ in range(4)] == [[], [], [], []]
        connection._waits_for_trigger = False
        with pytest.raises(CameraLost, match="no frame for 50 ms"):
            _ = [connection.read() for _ in range(4)]


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """The simulator can be opened again after each test."""
    yield
    assert len(read(opened(serial="2"), 1)) == 1
