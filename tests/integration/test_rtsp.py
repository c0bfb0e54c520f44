"""A network camera on a bad day: a real RTSP server is killed or frozen while the line runs."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import pytest
from support.programs import SYSTEM_PYTHON, needs_gi
from support.running import Line, belt, free_ports, station

from stream.core.verdict import Cause, Verdict
from stream.devices.cameras.camera import Start
from stream.devices.cameras.reconnecting import Reconnect
from stream.devices.cameras.rtsp import RtspCameraOptions
from stream.store.records import Event

pytestmark = needs_gi("Gst", "GstRtspServer")

MakeLine = Callable[..., Line]
SERVER = Path(__file__).parents[1] / "support" / "rtsp_server.py"
FPS = 30
STALL_MS = 1000
S = 1_000_000_000


class Camera:
    """An RTSP server that can be killed and frozen; its pictures are as large as those of the small bundle."""

    def __init__(self) -> None:
        self._port = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"rtsp://127.0.0.1:{self._port}/live"

    def start(self, scene: str = "moving") -> None:
        """Start it and wait until it listens."""
        self.launch(scene)
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"READY\n"

    def launch(self, scene: str = "moving") -> None:
        """Start it; connections are refused until it listens."""
        command = [SYSTEM_PYTHON, str(SERVER), str(self._port), "160", "120", str(FPS), scene]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def freeze(self) -> None:
        """Say nothing more, and keep all connections."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on as if nothing had been."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def options(self, **others: Any) -> dict[str, Any]:
        return {"kind": "rtsp", "url": self.url, "stall_ms": STALL_MS} | others


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera()
    camera.start()
    yield camera
    camera.kill()


#: The picture is noise, which the bundle has not learned.
NOISE = {"frame_checks": False}


def lost(line: Line) -> list[Event]:
    return [event for event in line.events() if event.part.cause is Cause.CAMERA_FAULT]


def judged_since(line: Line, since_ns: int) -> Event | None:
    """Return the first verdict on a picture taken after a moment."""
    for event in line.events():
        if event.captured_realtime_ns > since_ns and event.part.verdict is not Verdict.UNINSPECTED:
            return event
    return None


@pytest.mark.parametrize(("hurt", "heal"), [(Camera.kill, Camera.start), (Camera.freeze, Camera.thaw)])
def test_a_camera_that_goes_away_is_one_lost_part_and_an_alarm_and_is_used_again_when_it_is_back(
    make_line: MakeLine,
    camera: Camera,
    small_bundle: Path,
    hurt: Callable[[Camera], None],
    heal: Callable[[Camera], None],
):
    line = make_line(
        {
            "cameras": {"top": camera.options()},
            # Triggered, so that every picture is a part. The noise is nothing that the bundle knows: all are defects.
            "stations": {"cap": station(small_bundle, roi=None, reject=None, **NOISE, deadline_ms=5000, backlog=100)},
        }
    )
    process = line.start()
    line.wait_for(lambda: line.announced("cap") >= 300, "300 frames")
    events = line.events()
    assert [event.part.seq for event in events] == list(range(len(events)))
    assert not [event for event in events if event.part.cause is not None]

    hurt_ns = time.time_ns()
    hurt(camera)
    (fault,) = line.wait_for(lambda: lost(line), "a camera_fault part", 10)
    assert fault.captured_realtime_ns - hurt_ns < STALL_MS * 1_000_000 + S // 2
    assert fault.part.detail.startswith("no frame for 1000 ms")
    line.wait_for(lambda: [a for a in line.alarms() if a.kind == "camera_down"], "a camera_down alarm", 10)
    assert line.metric("sink", "patchline_camera_up", camera="top") == 0
    (alarm,) = (alarm for alarm in line.alarms() if alarm.kind == "camera_down")
    assert alarm.text.startswith("camera top is down: ")
    line.wait_for(lambda: line.output().count("(attempt ") >= 3, "a third attempt to open it")
    assert len(lost(line)) == 1, "a stall costs one part, however long it is"

    heal(camera)
    healed_ns = time.time_ns()
    event = line.wait_for(lambda: judged_since(line, healed_ns), "a verdict", 10)
    assert event.total_ms is not None
    assert event.captured_realtime_ns + event.total_ms * 1e6 - healed_ns < 3 * S
    line.wait_for(lambda: line.metric("sink", "patchline_camera_up", camera="top") == 1, "camera_up 1", 10)
    assert (line.metric("capture-top", "patchline_camera_reconnects_total", camera="top") or 0) >= 1

    process.send_signal(signal.SIGTERM)
    assert line.finish(40) == 0, line.output()
    counts, events = line.ledger()["cap"], line.events()
    assert counts.closed
    assert counts.uninspected.get(Cause.CAMERA_FAULT) == 1
    assert [event.part.seq for event in events] == list(range(len(events)))
    assert all(event.part.score is not None for event in events if event.part.verdict is Verdict.GOOD)


def test_a_frozen_picture_is_a_bad_frame_and_an_alarm_until_it_moves_again(
    make_line: MakeLine, camera: Camera, small_bundle: Path
):
    camera.kill()
    camera.start("still")
    line = make_line(
        {
            "cameras": {"top": camera.options(frozen_frames=10, stall_ms=20_000)},
            "stations": {"cap": station(small_bundle, roi=None, reject=None, **NOISE, deadline_ms=5000, backlog=100)},
        }
    )
    process = line.start()
    line.wait_for(lambda: [a for a in line.alarms() if a.kind == "camera_down"], "a camera_down alarm")
    line.wait_for(lambda: line.announced("cap") >= 60, "60 frames")
    (alarm,) = (alarm for alarm in line.alarms() if alarm.kind == "camera_down")
    assert "the picture is frozen" in alarm.text
    events = line.events()
    frozen = [event for event in events if event.part.cause is Cause.BAD_FRAME]
    assert [event.part.seq for event in frozen] == list(range(frozen[0].part.seq, events[-1].part.seq + 1))
    assert "in a row are identical" in frozen[0].part.detail
    camera.kill()
    camera.start()
    healed_ns = time.time_ns()
    line.wait_for(lambda: judged_since(line, healed_ns), "a verdict", 10)
    line.wait_for(lambda: line.metric("sink", "patchline_camera_up", camera="top") == 1, "camera_up 1", 10)

    camera.freeze()  # capture is stopped while its source waits for the camera, for 20 s
    process.send_signal(signal.SIGTERM)
    assert line.finish(40) == 0, line.output()
    assert "did not end within" not in line.output()
    assert line.ledger()["cap"].closed


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_pictures_come_with_the_cameras_own_time(camera: Camera, transport: Literal["tcp", "udp"]):
    source = RtspCameraOptions(kind="rtsp", url=camera.url, transport=transport).open()
    frames = source.frames(Start(0, 0), threading.Event())
    ages_ms = []
    # The camera tells its clock within the first seconds; until then the moment of arrival counts.
    for frame in itertools.islice(frames, 5 * FPS):
        ages_ms.append((time.monotonic_ns() - frame.captured_ns) / 1e6)
        assert frame.image is not None
        assert frame.image.shape == (120, 160, 3)
    frames.close()
    assert source.reconnects == 0
    # FFmpeg hands a picture out when the next one begins: it is one interval old at least.
    assert min(ages_ms[-FPS:]) > 0.9 * 1000 / FPS


def test_opening_a_camera_again_and_again_leaks_nothing(camera: Camera, caplog: pytest.LogCaptureFixture):
    options = RtspCameraOptions(
        kind="rtsp", url=camera.url, stall_ms=500, reconnect=Reconnect(first_s=0.05, longest_s=0.2)
    )
    source = options.open()
    frames = source.frames(Start(0, 0), threading.Event())
    process = psutil.Process()
    used: list[tuple[int, int]] = []
    for number in range(21):
        while source.reconnects < number:
            next(frames)
        for frame in itertools.islice(frames, 3):
            assert frame.image is not None
        used.append((process.num_threads(), process.num_fds()))
        camera.kill()
        camera.launch()
    frames.close()
    assert source.reconnects == 20
    assert "Connection refused" in caplog.text, "attempts that fail are tested, too"
    assert used[-1] == used[1], "threads and files after 1 and after 20 times"


def test_a_capture_process_that_dies_while_its_camera_is_away_waits_for_it_and_the_line_goes_on(
    make_line: MakeLine, camera: Camera, small_bundle: Path
):
    line = make_line(
        {
            "cameras": {"top": camera.options()},
            "stations": {"cap": station(small_bundle, roi=None, reject=None, **NOISE)},
            "restarts": {"limit": 1},
        }
    )
    process = line.start()
    line.wait_for(lambda: line.announced("cap") >= 10, "10 frames")
    camera.kill()
    line.kill("capture-top")
    line.wait_for(lambda: line.output().count("in a run that has begun") >= 3, "three attempts")
    camera.start()
    healed_ns = time.time_ns()
    line.wait_for(lambda: judged_since(line, healed_ns), "a verdict", 20)
    process.send_signal(signal.SIGTERM)
    assert line.finish(40) == 0, line.output()
    assert line.ledger()["cap"].closed


def test_when_one_of_three_cameras_fails_the_others_get_every_verdict(
    make_line: MakeLine,
    camera: Camera,
    parts_folder: Path,
    small_bundle: Path,
    record_property: Callable[[str, object], None],
):
    parts = 160
    line = make_line(
        {
            "cameras": {
                "left": belt(parts_folder, parts=parts),
                "right": belt(parts_folder, parts=parts),
                "net": camera.options(),
            },
            "stations": {
                "left": station(small_bundle, camera="left", deadline_ms=5000, reject=None),
                "right": station(small_bundle, camera="right", deadline_ms=5000, reject=None),
                "net": station(
                    small_bundle, camera="net", roi=None, deadline_ms=5000, reject=None, mode="freerun", **NOISE
                ),
            },
        }
    )
    process = line.start()
    line.wait_for(lambda: min(map(line.announced, ("left", "right"))) >= 30 and line.announced("net"), "30 parts")
    camera.kill()
    line.wait_for(lambda: lost(line), "a camera_fault part", 10)
    assert line.announced("left") < parts, "the camera failed while the belts ran"
    for name in ("left", "right"):
        line.wait_for(lambda name=name: line.announced(name) == parts, f"all parts of {name}")
        line.wait_for(lambda name=name: not line.ledger()[name].pending, f"all verdicts of {name}")
    process.send_signal(signal.SIGTERM)
    assert line.finish(40) == 0, line.output()
    for name in ("left", "right"):
        counts, events = line.ledger()[name], line.events(name)
        assert counts.closed
        assert (counts.announced, counts.uninspected) == (parts, {})
        assert [event.part.seq for event in events] == list(range(parts))
        p99_ms = float(np.percentile([event.total_ms for event in events], 99))
        record_property(f"{name}_p99_ms", p99_ms)
        print(f"{name}: exposure to decision, p99 of {parts} parts: {p99_ms:.0f} ms")
    assert line.ledger()["net"].uninspected.get(Cause.CAMERA_FAULT) == 1
