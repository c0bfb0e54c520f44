from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import numpy as np
import pytest

from stream.core.errors import CameraError
from stream.devices.cameras.camera import Frame, Start
from stream.devices.cameras.reconnecting import CameraLost, Reconnect, ReconnectingCamera, ReconnectingCameraOptions

PICTURE = np.zeros((4, 6, 3), np.uint8)


class Camera:
    """A camera that is away and breaks as its script says: one entry for each attempt to connect."""

    def __init__(self, *script: int | None) -> None:
        """Give so many frames and break; None: do not open. The last entry repeats."""
        self._script = [*script[:-1], *itertools.repeat(script[-1], 1000)]
        self.opened = self.closed = 0

    def connect(self) -> _Connection:
        frames = self._script.pop(0)
        if frames is None:
            raise CameraLost("does not open")
        self.opened += 1
        return _Connection(self, frames)


class _Connection:
    def __init__(self, camera: Camera, frames: int) -> None:
        self._camera, self._left = camera, frames

    def read(self) -> list[Frame]:
        if self._left == 0:
            raise CameraLost("the connection broke")
        self._left -= 1
        return [Frame(PICTURE, 0)]

    def close(self) -> None:
        self._camera.closed += 1


class Pauses(threading.Event):
    """A stop signal that takes no time to wait for, and notes for how long it was waited."""

    def __init__(self, then: Callable[[int], object] | None = None) -> None:
        super().__init__()
        self.lengths_s: list[float | None] = []
        self._then = then

    def wait(self, timeout: float | None = None) -> bool:
        self.lengths_s.append(timeout)
        if self._then is not None:
            self._then(len(self.lengths_s))
        return self.is_set()


def options(**reconnect: float) -> ReconnectingCameraOptions:
    return ReconnectingCameraOptions(reconnect=Reconnect(**reconnect))


def test_a_camera_that_breaks_is_opened_again_and_counted():
    camera = Camera(2, 3)
    source = ReconnectingCamera("front", options(), camera.connect)
    assert source.reconnects == 0
    stop = Pauses()
    frames = list(itertools.islice(source.frames(Start(0, 0), stop), 6))
    assert len(frames) == 6
    assert source.fault is None
    assert (source.reconnects, camera.opened, camera.closed) == (2, 3, 3)
    assert stop.lengths_s == [0.2, 0.2]


def test_pauses_grow_up_to_the_longest_while_the_camera_is_away():
    camera = Camera(1, None, None, None, None, 5)
    source = ReconnectingCamera("front", options(first_s=0.1, longest_s=0.5), camera.connect)
    told: list[str | None] = []
    stop = Pauses(lambda _: told.append(source.fault))
    assert len(list(itertools.islice(source.frames(Start(0, 0), stop), 2))) == 2
    assert stop.lengths_s == [0.1, 0.2, 0.4, 0.5, 0.5]
    assert told == ["front: the connection broke", *["front: does not open"] * 4]
    assert (source.reconnects, source.fault) == (1, None)


def test_a_camera_that_opens_but_delivers_nothing_stays_faulty_and_is_tried_less_and_less_often():
    camera = Camera(1, 0)
    source = ReconnectingCamera("front", options(first_s=0.1, longest_s=10), camera.connect)
    stop = Pauses(lambda pauses: stop.set() if pauses == 5 else None)
    assert len(list(source.frames(Start(0, 0), stop))) == 1
    assert stop.lengths_s == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert source.fault == "front: the connection broke"


def test_a_camera_is_given_up_after_the_limit_of_attempts():
    camera = Camera(1, None)
    source = ReconnectingCamera("front", options(limit=3), camera.connect)
    stop = Pauses()
    with pytest.raises(CameraError, match=r"front: given up after 3 attempts: does not open \(reconnect\.limit\)"):
        list(source.frames(Start(0, 0), stop))
    assert len(stop.lengths_s) == 3


def test_stop_ends_the_source_and_gives_the_camera_back():
    camera = Camera(1000)
    source = ReconnectingCamera("front", options(), camera.connect)
    stop = threading.Event()
    frames = source.frames(Start(0, 0), stop)
    next(frames)
    stop.set()
    assert list(frames) == []
    assert (camera.opened, camera.closed) == (1, 1)


def test_a_camera_that_does_not_open_at_first_is_refused_by_name():
    with pytest.raises(CameraError, match=r"^front: does not open$"):
        ReconnectingCamera("front", options(), Camera(None).connect)


def test_options_tell_when_the_camera_has_stalled_or_is_frozen():
    source = ReconnectingCamera("front", ReconnectingCameraOptions(stall_ms=1.5, frozen_frames=7), Camera(1).connect)
    assert (source.stall_ns, source.frozen_frames) == (1_500_000, 7)
