"""A free-running camera with a trigger. To the capture loop it is a camera whose every frame is a part."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from stream.capture.policy.pairing import Paired, Pairing, TriggerDebounce
from stream.core.errors import FrameFault
from stream.devices.cameras.camera import BeforeReady, Camera, Frame, Start
from stream.devices.triggers.trigger import TriggerEvent, TriggerSource
from stream.line.config import LineConfig

log = logging.getLogger(__name__)

#: Longest wait of a trigger event for its frame, where the camera has no stall_ms.
_DEFAULT_WAIT_MS = 1000.0
#: Events and frames that may wait for the pairing; the threads of camera and trigger block when the queue is full.
_QUEUE_SIZE = 64
#: Pause between two checks of the stop event.
_STOP_POLL_S = 0.1
#: Longest wait for the trigger to end after the camera.
_TRIGGER_END_S = 3.0


@runtime_checkable
class SoftwareTriggered(Protocol):
    """A camera that exposes on command."""

    def trigger(self) -> None:
        """Expose one frame now."""
        ...


def open_camera(config: LineConfig, camera: str) -> Camera:
    """Return the opened camera, paired with its trigger if it has one; raises PatchLineError."""
    options = config.cameras[camera]
    opened = options.open()
    trigger = getattr(options, "trigger", None)
    if trigger is None:
        return opened
    # Not longer than the shortest deadline: a part that waits longer has missed it anyway.
    deadlines_ms = [station.deadline_ms for station in config.stations_of(camera).values()]
    wait_ms = min(trigger.wait_ms or getattr(options, "stall_ms", _DEFAULT_WAIT_MS), *deadlines_ms)
    return TriggeredCamera(
        opened, trigger.open(), int(wait_ms * 1e6), int(trigger.debounce_ms * 1e6), of_parts=trigger.of_parts
    )


class _Ended(NamedTuple):
    """The thread of camera or trigger has ended, with the error that ended it, if any."""

    thread: str
    error: BaseException | None


class TriggeredCamera:
    """Yields one frame for every trigger event and drops all others. A `Camera`."""

    stall_ns: int | None = None  # the next part may take any time

    def __init__(
        self, camera: Camera, trigger: TriggerSource, wait_ns: int, debounce_ns: int, *, of_parts: bool = True
    ) -> None:
        """Pair an open camera with an open trigger.

        An event waits `wait_ns` for its frame; `of_parts` says whether a part has come with each event.
        """
        self.before_ready: BeforeReady = "counted"
        if not of_parts:
            self.before_ready = "held" if camera.before_ready == "held" else "dropped"
        self._camera = camera
        self._trigger = trigger
        self._expose = camera.trigger if isinstance(camera, SoftwareTriggered) else None
        self._pairing: Pairing[Frame] = Pairing(wait_ns, software_trigger=self._expose is not None)
        self._debounce = TriggerDebounce(debounce_ns)
        self._queue: queue.Queue[TriggerEvent | Frame | _Ended] = queue.Queue(_QUEUE_SIZE)
        self._last_frame_ns: int | None = None

    @property
    def fault(self) -> str | None:
        """The fault of camera or trigger; None while both work."""
        if self._camera.fault is not None:
            return self._camera.fault
        stall_ns, last_ns = self._camera.stall_ns, self._last_frame_ns
        if self._expose is None and stall_ns is not None and last_ns is not None:
            age_ns = time.monotonic_ns() - last_ns
            if age_ns > stall_ns:
                return f"no frame for {age_ns / 1e9:.1f} s"
        return None if self._trigger.fault is None else f"trigger: {self._trigger.fault}"

    @property
    def frozen_frames(self) -> int | None:
        """Number of identical images from which on the camera is frozen; None: it never is."""
        return self._camera.frozen_frames

    @property
    def reconnects(self) -> int:
        """Number of times that the camera was opened again."""
        return self._camera.reconnects

    def frames(self, start: Start, stop: threading.Event) -> Iterator[Frame]:
        """Yield one frame for every trigger event, with its `part_id`; with a fault if no image came in time."""
        done = threading.Event()
        self._last_frame_ns = time.monotonic_ns()
        for name, stream in (("camera", self._camera.frames(start, done)), ("trigger", self._trigger.events(done))):
            threading.Thread(target=self._read, args=(name, stream), name=name, daemon=True).start()
        try:
            yield from self._parts(stop, done)
        finally:
            done.set()

    def _parts(self, stop: threading.Event, done: threading.Event) -> Iterator[Frame]:
        """Pair frames and events until the camera has ended; then take the trigger's last events."""
        running = {"camera", "trigger"}
        end_by_s: float | None = None
        while running and (end_by_s is None or time.monotonic() < end_by_s):
            if end_by_s is None and (stop.is_set() or "camera" not in running):
                done.set()
                end_by_s = time.monotonic() + _TRIGGER_END_S
            match self._next():
                case _Ended(thread, error):
                    if error is not None:
                        raise error
                    running.discard(thread)
                case Frame() as frame:
                    self._last_frame_ns = time.monotonic_ns()
                    yield from map(_part, self._pairing.frame(frame.captured_ns, frame))
                case TriggerEvent() as event:
                    yield from map(_part, self._on_trigger(event))
            if self._queue.empty():  # else the frame of a waiting event may be among them
                yield from map(_part, self._pairing.expire(time.monotonic_ns()))
        yield from map(_part, self._pairing.end())

    def _next(self) -> TriggerEvent | Frame | _Ended | None:
        """Return the next item of the queue; None when the stop event or a waiting trigger event must be checked."""
        timeout_s, expiry_ns = _STOP_POLL_S, self._pairing.next_expiry_ns
        if expiry_ns is not None:
            timeout_s = min(timeout_s, max(0.0, (expiry_ns - time.monotonic_ns()) / 1e9))
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _on_trigger(self, event: TriggerEvent) -> list[Paired[Frame]]:
        if not self._debounce.is_new(event):
            log.info("trigger: a repetition of the last event is dropped (debounce_ms)")
            return []
        parts = self._pairing.trigger(event)
        if parts or self._expose is None:
            return parts
        try:
            self._expose()
        except Exception as error:  # noqa: BLE001 - cameras' libraries raise many kinds; the part has no frame
            log.warning("trigger: the camera does not expose: %s", error)
            return self._pairing.give_up(event, f"the camera does not expose: {error}")
        return []

    def _read(self, name: str, stream: Iterator[TriggerEvent] | Iterator[Frame]) -> None:
        """Queue what camera or trigger yields; runs in the thread `camera` or `trigger`."""
        error: BaseException | None = None
        try:
            for item in stream:
                self._queue.put(item)
        except BaseException as raised:  # noqa: BLE001 - raised again in the thread that reads the parts
            error = raised
        self._queue.put(_Ended(name, error))


def _part(part: Paired[Frame]) -> Frame:
    """Return a part as the frame that capture numbers and announces."""
    event = part.trigger
    if part.frame is None:
        return Frame(None, event.at_ns, event.part_id, FrameFault(part.cause, part.reason))
    return part.frame if event.part_id is None else part.frame._replace(part_id=event.part_id)
