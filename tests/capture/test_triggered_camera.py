"""A simulated free-running camera with a trigger, as the capture loop sees them."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pictures import good_picture, write_picture

from stream.capture.triggered_camera import TriggeredCamera, open_camera
from stream.core.verdict import Cause
from stream.devices.cameras.camera import Camera, Frame, Start
from stream.devices.cameras.conveyor.camera import ConveyorCameraOptions
from stream.devices.triggers.trigger import TriggerEvent, TriggerSource
from stream.line.config import LineConfig

WAIT_NS = 500_000_000


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    write_picture(tmp_path / "a.png", good_picture(1, width_px=32, height_px=32))
    return tmp_path


def belt(parts: Path, fps: float, count: int) -> Camera:
    """A belt on which a part passes every tenth of a second."""
    return ConveyorCameraOptions(kind="conveyor", path=parts, rate_hz=10, belt_px=(64, 48), fps=fps, parts=count).open()


class ManualTrigger:
    """A trigger whose events come from the test."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[TriggerEvent | Exception] = queue.SimpleQueue()
        self.fault: str | None = None

    def fire(self, event: TriggerEvent | Exception) -> None:
        self._queue.put(event)

    def events(self, stop: threading.Event) -> Iterator[TriggerEvent]:
        while not stop.is_set():
            try:
                event = self._queue.get(timeout=0.02)
            except queue.Empty:
                continue
            if isinstance(event, Exception):
                raise event
            yield event


def triggered(camera: Camera, trigger: TriggerSource, *, debounce_ns: int = 0) -> TriggeredCamera:
    return TriggeredCamera(camera, trigger, WAIT_NS, debounce_ns)


def now() -> Start:
    return Start(0, time.monotonic_ns())


def test_each_trigger_becomes_one_frame_exposed_after_it_with_its_name(parts: Path):
    trigger, start = ManualTrigger(), now()
    frames = triggered(belt(parts, 50, 1000), trigger).frames(start, threading.Event())
    for name in ("A", "B", "C"):
        before_ns = time.monotonic_ns()
        trigger.fire(TriggerEvent(before_ns, name))
        frame = next(frames)
        assert frame.part_id == name
        assert frame.image is not None
        assert before_ns <= frame.captured_ns <= before_ns + WAIT_NS
        # The belt's camera exposes at its own beat, 20 ms apart.
        assert (frame.captured_ns - start.origin_ns) % 20_000_000 == 0
    frames.close()


def test_a_trigger_for_which_the_camera_has_no_frame_is_a_part_without_picture(parts: Path):
    trigger = ManualTrigger()
    camera = triggered(belt(parts, 0.01, 10_000), trigger)
    frames = camera.frames(now(), threading.Event())
    trigger.fire(TriggerEvent(at_ns := time.monotonic_ns() + 1_000_000, "A"))
    frame = next(frames)
    assert (frame.image, frame.part_id, frame.captured_ns) == (None, "A", at_ns)
    assert frame.fault is not None
    assert frame.fault.cause is Cause.CAMERA_FAULT
    assert time.monotonic_ns() - at_ns >= WAIT_NS
    frames.close()


def test_a_trigger_still_waiting_when_the_camera_ends_is_a_part(parts: Path):
    trigger = ManualTrigger()
    trigger.fire(TriggerEvent(time.monotonic_ns() + 60_000_000_000, "never"))
    (frame,) = triggered(belt(parts, 50, 1), trigger).frames(now(), threading.Event())
    assert (frame.image, frame.part_id) == (None, "never")


def test_stop_ends_camera_and_trigger(parts: Path):
    stop, threads = threading.Event(), threading.active_count()
    frames = triggered(belt(parts, 50, 100_000), ManualTrigger()).frames(now(), stop)
    threading.Timer(0.1, stop.set).start()
    assert list(frames) == []
    by_s = time.monotonic() + 5
    while threading.active_count() > threads:
        assert time.monotonic() < by_s
        time.sleep(0.01)


def test_repetitions_are_dropped(parts: Path):
    trigger = ManualTrigger()
    camera = triggered(belt(parts, 50, 100_000), trigger, debounce_ns=30_000_000)
    frames = camera.frames(now(), threading.Event())
    at_ns = time.monotonic_ns()
    for offset_ms, name in ((0, None), (10, None), (20, None), (31, None), (32, "A")):
        trigger.fire(TriggerEvent(at_ns + offset_ms * 1_000_000, name))
    exposed = list(itertools.islice(frames, 3))
    assert [frame.part_id for frame in exposed][-1] == "A"
    assert exposed[0].captured_ns <= exposed[1].captured_ns
    frames.close()


def test_the_fault_of_the_trigger_is_that_of_the_camera(parts: Path):
    trigger = ManualTrigger()
    camera = triggered(belt(parts, 50, 10), trigger)
    assert camera.fault is None
    trigger.fault = "MQTT 10.0.0.1: connection lost"
    assert camera.fault == "trigger: MQTT 10.0.0.1: connection lost"


def test_a_trigger_that_breaks_ends_the_camera_with_its_error(parts: Path):
    trigger = ManualTrigger()
    trigger.fire(RuntimeError("broken"))
    with pytest.raises(RuntimeError, match="broken"):
        list(triggered(belt(parts, 50, 100_000), trigger).frames(now(), threading.Event()))


class OnDemand:
    """A camera that exposes on command, or fails to."""

    stall_ns = 1
    reconnects = 0
    fault = None

    def __init__(self) -> None:
        self.exposures: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self.broken = False

    def trigger(self) -> None:
        if self.broken:
            raise OSError("no such command")
        self.exposures.put(Frame(None, time.monotonic_ns()))

    def frames(self, start: Start, stop: threading.Event) -> Iterator[Frame]:  # noqa: ARG002
        while not stop.is_set():
            try:
                yield self.exposures.get(timeout=0.02)
            except queue.Empty:
                continue


def test_a_camera_with_a_software_trigger_exposes_at_the_event():
    trigger, on_demand = ManualTrigger(), OnDemand()
    camera = triggered(on_demand, trigger)
    frames = camera.frames(now(), threading.Event())
    for name in ("A", "B"):
        at_ns = time.monotonic_ns()
        trigger.fire(TriggerEvent(at_ns, name))
        frame = next(frames)
        assert (frame.part_id, frame.fault) == (name, None)
        assert frame.captured_ns >= at_ns
    assert camera.fault is None, "a camera without a trigger event may be silent"
    on_demand.broken = True
    trigger.fire(TriggerEvent(time.monotonic_ns(), "C"))
    frame = next(frames)
    assert frame.part_id == "C"
    assert "no such command" in str(frame.fault)
    frames.close()


def line(parts: Path, camera: dict[str, object]) -> LineConfig:
    station = {"camera": "top", "bundle": "cap.safetensors", "deadline_ms": 80}
    belt = {"kind": "conveyor", "path": str(parts), "belt_px": [64, 48]}
    return LineConfig.model_validate({"line": "a", "cameras": {"top": belt | camera}, "stations": {"cap": station}})


def test_a_camera_without_a_trigger_is_opened_as_it_is(parts: Path):
    assert not isinstance(open_camera(line(parts, {}), "top"), TriggeredCamera)


def test_a_trigger_waits_no_longer_than_the_first_verdict_is_due(parts: Path):
    trigger = {"kind": "rate", "rate_hz": 20, "wait_ms": 5000}
    frames = open_camera(line(parts, {"fps": 0.01, "parts": 10_000, "trigger": trigger}), "top").frames(
        now(), threading.Event()
    )
    frame = next(frames)
    assert "within 80 ms" in str(frame.fault)


def test_a_belt_with_its_own_sensor_takes_no_trigger(parts: Path):
    with pytest.raises(ValueError, match="set fps"):
        line(parts, {"trigger": {"kind": "rate", "rate_hz": 20}})
