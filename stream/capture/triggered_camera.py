"""A free-running camera with a trigger: to capture a source like any other, each of whose frames is a part."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from stream.capture.policy.pairing import Paired, Pairing, TriggerDebounce
from stream.core.errors import FrameFault
from stream.devices.cameras.camera import Camera, Frame, Start
from stream.devices.triggers.trigger import TriggerEvent, TriggerSource
from stream.line.config import LineConfig

log = logging.getLogger(__name__)

#: A trigger's wait for its frame where the camera has no stall_ms.
_WAIT_MS = 1000.0
#: Events and frames between their threads and the pairing; the threads wait when it is full.
_WAITING = 64
#: How often the stop signal is looked at.
_LOOK_S = 0.1
#: How long a trigger may take to end.
_END_S = 3.0


@runtime_checkable
class SoftwareTriggered(Protocol):
    """A source whose camera exposes when it is told to."""

    def trigger(self) -> None:
        """Have the camera expose one frame now."""
        ...


def open_camera(config: LineConfig, camera: str) -> Camera:
    """Return the opened camera, paired with its trigger if it has one; raises PatchLineError."""
    options = config.cameras[camera]
    source = options.open()
    trigger = getattr(options, "trigger", None)
    if trigger is None:
        return source
    # No longer than the first verdict is due: a part that waits beyond has missed it anyway.
    deadlines_ms = [station.deadline_ms for station in config.stations_of(camera).values()]
    wait_ms = min(trigger.wait_ms or getattr(options, "stall_ms", _WAIT_MS), *deadlines_ms)
    return TriggeredCamera(source, trigger.open(), int(wait_ms * 1e6), int(trigger.debounce_ms * 1e6))


class _End(NamedTuple):
    """Said by the thread of camera or trigger when it has ended, with the error if one ended it."""

    of: str
    error: BaseException | None


class TriggeredCamera:
    """Yields a frame for every trigger and passes over all others. A `Camera`."""

    stall_ns: int | None = None  # a trigger may take as long as it likes

    def __init__(self, source: Camera, signal: TriggerSource, wait_ns: int, debounce_ns: int) -> None:
        """Take over an open camera and an open trigger."""
        self._source = source
        self._signal = signal
        self._expose = source.trigger if isinstance(source, SoftwareTriggered) else None
        self._pairing: Pairing[Frame] = Pairing(wait_ns, one_each=self._expose is not None)
        self._debounce = TriggerDebounce(debounce_ns)
        self._news: queue.Queue[TriggerEvent | Frame | _End] = queue.Queue(_WAITING)
        self._last_frame_ns: int | None = None

    @property
    def fault(self) -> str | None:
        """What is wrong with camera or trigger, or None while both are well."""
        if self._source.fault is not None:
            return self._source.fault
        stall_ns, last_ns = self._source.stall_ns, self._last_frame_ns
        if self._expose is None and stall_ns is not None and last_ns is not None:
            age_ns = time.monotonic_ns() - last_ns
            if age_ns > stall_ns:
                return f"no frame for {age_ns / 1e9:.1f} s"
        return None if self._signal.fault is None else f"trigger: {self._signal.fault}"

    @property
    def frozen_frames(self) -> int | None:
        """How many identical pictures mean that the camera is frozen."""
        return self._source.frozen_frames

    @property
    def reconnects(self) -> int:
        """How often the camera was opened again."""
        return self._source.reconnects

    def frames(self, start: Start, stop: threading.Event) -> Iterator[Frame]:
        """Yield one frame for every trigger, with the part's name; without a picture if none came in time."""
        done = threading.Event()
        self._last_frame_ns = time.monotonic_ns()
        for name, stream in (("camera", self._source.frames(start, done)), ("trigger", self._signal.events(done))):
            threading.Thread(target=self._read, args=(name, stream), name=name, daemon=True).start()
        try:
            yield from self._parts(stop, done)
        finally:
            done.set()

    def _parts(self, stop: threading.Event, done: threading.Event) -> Iterator[Frame]:
        """Pair until the camera has ended; then hear out the trigger."""
        running = {"camera", "trigger"}
        end_by_s: float | None = None
        while running and (end_by_s is None or time.monotonic() < end_by_s):
            if end_by_s is None and (stop.is_set() or "camera" not in running):
                done.set()
                end_by_s = time.monotonic() + _END_S
            match self._next():
                case _End(of, error):
                    if error is not None:
                        raise error
                    running.discard(of)
                case Frame() as frame:
                    self._last_frame_ns = time.monotonic_ns()
                    yield from map(_part, self._pairing.frame(frame.captured_ns, frame))
                case TriggerEvent() as trigger:
                    yield from map(_part, self._triggered(trigger))
            if self._news.empty():  # what has come may hold the frame that a trigger waits for
                yield from map(_part, self._pairing.expire(time.monotonic_ns()))
        yield from map(_part, self._pairing.end())

    def _next(self) -> TriggerEvent | Frame | _End | None:
        """Return the next news, or None when something is to be looked after."""
        due_ns = self._pairing.next_ns
        patience_s = _LOOK_S if due_ns is None else min(_LOOK_S, max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
        try:
            return self._news.get(timeout=patience_s)
        except queue.Empty:
            return None

    def _triggered(self, trigger: TriggerEvent) -> list[Paired[Frame]]:
        if not self._debounce.is_new(trigger):
            log.info("trigger: an echo of the last event is left out (debounce_ms)")
            return []
        parts = self._pairing.trigger(trigger)
        if parts or self._expose is None:
            return parts
        try:
            self._expose()
        except Exception as error:  # noqa: BLE001 - whatever a camera's library raises, the part has no frame
            log.warning("trigger: the camera does not expose: %s", error)
            return self._pairing.lose(trigger, f"the camera does not expose: {error}")
        return []

    def _read(self, name: str, stream: Iterator[TriggerEvent] | Iterator[Frame]) -> None:
        """Pass on what camera or trigger yields, in a thread of its own."""
        error: BaseException | None = None
        try:
            for news in stream:
                self._news.put(news)
        except BaseException as problem:  # noqa: BLE001 - raised in the thread that reads the parts
            error = problem
        self._news.put(_End(name, error))


def _part(part: Paired[Frame]) -> Frame:
    """Return the frame that capture numbers and announces."""
    trigger = part.trigger
    if part.frame is None:
        return Frame(None, trigger.at_ns, trigger.part_id, FrameFault(part.cause, part.why))
    return part.frame if trigger.part_id is None else part.frame._replace(part_id=trigger.part_id)
