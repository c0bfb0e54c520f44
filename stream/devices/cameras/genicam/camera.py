"""`kind: genicam`: industrial cameras (GigE Vision, USB3 Vision, …) through any maker's GenTL producer."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from stream.core.errors import FrameFault
from stream.core.options import ConfigPath, PositiveHz
from stream.core.verdict import Cause
from stream.devices.cameras.camera import Camera, Frame
from stream.devices.cameras.genicam import devices as genicam_devices
from stream.devices.cameras.genicam import nodes as genicam_nodes
from stream.devices.cameras.genicam.device_clock import DeviceClock
from stream.devices.cameras.genicam.frame_ids import gap, lost_frames
from stream.devices.cameras.genicam.nodes import Setting, if_there, needed
from stream.devices.cameras.genicam.pixel_formats import PixelFormat, pixels_of
from stream.devices.cameras.reconnecting import CameraLost, ReconnectingCamera, ReconnectingCameraOptions

log = logging.getLogger(__name__)

#: GenTL's own wait holds Python's interpreter lock, so that every other thread would stand still: ask instead.
_ASK_EVERY_S = 0.001
_ASK_FOR_S = 2e-5
#: Interval at which `stop` is checked.
_LONGEST_READ_S = 0.2

Pixels = Annotated[int, Field(ge=1)]
Offset = Annotated[int, Field(ge=0)]


class GenicamCameraOptions(ReconnectingCameraOptions):
    """An industrial camera behind a GenTL producer."""

    kind: Literal["genicam"]
    producer: ConfigPath | None = None  # the maker's .cti file; None: all in GENICAM_GENTL64_PATH
    serial: str | None = None  # which camera; None: the only one
    pixel_format: PixelFormat | None = None  # None: as set in the camera
    width: Pixels | None = None  # px of the sensor; None: as set in the camera
    height: Pixels | None = None
    offset_x: Offset | None = None
    offset_y: Offset | None = None
    exposure_us: Annotated[float, Field(gt=0)] | None = None
    gain_db: float | None = None
    fps: PositiveHz | None = None  # frames per second of a free-running camera
    trigger_mode: Literal["free", "software", "hardware"] = "free"
    trigger_line: str = "Line1"  # input of the hardware trigger
    trigger_edge: Literal["rising", "falling"] = "rising"
    buffers: Annotated[int, Field(ge=2, le=1000)] = 8  # frames that the producer keeps for us
    packet_bytes: Annotated[int, Field(ge=64)] | None = None  # of GigE Vision; None: as producer and camera agree
    packet_delay: Annotated[int, Field(ge=0)] | None = None  # ticks between packets of GigE Vision
    nodes: dict[str, bool | int | float | str] = Field(default_factory=dict)  # any other nodes, set first

    @model_validator(mode="after")
    def _who_triggers(self) -> Self:
        if self.trigger_mode == "software" and self.trigger is None:
            raise ValueError("trigger_mode: software exposes on the events of `trigger`; add one")
        if self.trigger_mode == "hardware" and self.trigger is not None:
            raise ValueError(
                "trigger_mode: hardware makes every frame a part; remove `trigger`, or use free or software"
            )
        return self

    def open(self) -> Camera:
        """Return the camera, open and set; raises CameraError."""
        name = "the GenICam camera" if self.serial is None else f"GenICam camera {self.serial}"
        if self.trigger_mode == "software":
            return SoftwareTriggered(name, self)
        camera = ReconnectingCamera(name, self, lambda: GenicamConnection(self))
        if self.trigger_mode == "hardware":
            camera.stall_ns = None
        return camera


class SoftwareTriggered(ReconnectingCamera):
    """A camera with a software trigger."""

    def __init__(self, name: str, options: GenicamCameraOptions) -> None:
        """Connect for the first time; raises CameraError."""
        super().__init__(name, options, lambda: GenicamConnection(options))
        self.stall_ns = None

    def trigger(self) -> None:
        """Expose one frame now; from any thread. Raises CameraLost when the camera cannot be reached."""
        connection = self._connection
        if not isinstance(connection, GenicamConnection):
            raise CameraLost(self.fault or f"{self._name}: not connected")
        connection.trigger()


class GenicamConnection:
    """One opened camera; a `Connection`."""

    def __init__(self, options: GenicamCameraOptions) -> None:
        """Open and set the camera; it delivers from the first `read` on. Raises CameraLost."""
        self._stall_s = options.stall_ms / 1e3
        self._waits_for_trigger = options.trigger_mode != "free"
        self._clock = DeviceClock()
        self._previous: tuple[int, int] | None = None  # frame id and moment of the newest frame
        self._incomplete = 0  # damaged frames since then
        self._answered_s: float | None = None  # monotonic clock: its start, or its newest answer
        self._lock = threading.Lock()  # between `trigger` and `close`
        self._acquirer: Any = None
        self._harvester: Any = genicam_devices.open_harvester(genicam_devices.producers(options.producer))
        self._damaged = _Counter()
        try:
            with _lost_if_it_fails("cannot be opened"):
                self._open(options)
        except BaseException:
            self.close()
            raise

    def _open(self, options: GenicamCameraOptions) -> None:
        from harvesters.core import ParameterKey, ParameterSet

        device = genicam_devices.find(self._harvester, options.serial)
        parameters = {
            ParameterKey.TIMEOUT_PERIOD_ON_UPDATE_EVENT_DATA_CALL: 0,
            ParameterKey.ENABLE_AUTO_CHUNK_DATA_UPDATE: False,
        }
        with genicam_devices.interrupt_untouched():
            self._acquirer = self._harvester.create(device.info, config=ParameterSet(parameters))
        self._acquirer.add_callback(self._acquirer.Events.INCOMPLETE_BUFFER, self._damaged.callback)
        node_map = self._acquirer.remote_device.node_map
        genicam_nodes.apply(node_map, camera_settings(options))
        stream = self._acquirer.data_streams[0].node_map
        if stream is not None:  # some producers give it its own nodes
            genicam_nodes.apply(stream, [if_there("StreamBufferHandlingMode", "OldestFirst")])
        if options.trigger_mode == "software" and not genicam_nodes.exists(node_map, "TriggerSoftware"):
            raise CameraLost("the camera has no command TriggerSoftware; use trigger_mode: hardware or free")
        self._acquirer.num_buffers = max(options.buffers, self._acquirer.min_num_buffers)
        log.info("%s through %s", device, device.producer)

    def read(self) -> list[Frame]:
        """Return the next frame and those lost before it, or nothing after a while; raises CameraLost."""
        with _lost_if_it_fails("was lost"):
            if self._answered_s is None:
                # Not earlier: frames that waited for their reader would look younger than they are.
                self._acquirer.start()
                self._answered_s = time.monotonic()
            until_s = time.monotonic() + min(_LONGEST_READ_S, self._stall_s)
            while (now_s := time.monotonic()) < until_s:
                buffer = self._acquirer.try_fetch(timeout=_ASK_FOR_S, is_raw=True)
                arrived_ns = time.monotonic_ns()
                if buffer is not None or self._damaged.count:
                    self._answered_s = now_s
                    return self._frames(buffer, arrived_ns)
                time.sleep(_ASK_EVERY_S)
            if time.monotonic() - self._answered_s >= self._stall_s:
                self._look_after_silence()
            return []

    def trigger(self) -> None:
        """Execute TriggerSoftware; raises CameraLost."""
        with self._lock, _lost_if_it_fails("was lost"):
            if self._acquirer is None or self._answered_s is None:
                raise CameraLost("the camera does not acquire yet")
            genicam_nodes.execute(self._acquirer.remote_device.node_map, "TriggerSoftware")

    def close(self) -> None:
        """Release camera, buffers and producers."""
        with self._lock:
            acquirer, self._acquirer = self._acquirer, None
            for release in (getattr(acquirer, "destroy", None), self._harvester.reset):
                if release is not None:
                    try:
                        release()
                    except Exception as error:  # noqa: BLE001 - a lost camera cannot be closed properly
                        log.debug("while closing: %s", error)

    def _look_after_silence(self) -> None:
        """Take a free-running camera without frames for lost; ask one that waits for triggers whether it is there."""
        if not self._waits_for_trigger:
            raise CameraLost(f"no frame for {self._stall_s * 1e3:.0f} ms")
        self._acquirer.remote_device.node_map.get_node("Width").get_value(ignore_cache=True)
        self._answered_s = time.monotonic()

    def _frames(self, buffer: Any | None, arrived_ns: int) -> list[Frame]:
        damaged = [
            Frame(None, arrived_ns, fault=FrameFault(Cause.BAD_FRAME, "a part of the frame's data did not arrive"))
            for _ in range(self._damaged.take())
        ]
        self._incomplete += len(damaged)
        if buffer is None:
            return damaged
        try:
            frame = self._frame(buffer, arrived_ns)
            number = _given(buffer, "frame_id")
        finally:
            buffer.parent.queue_buffer(buffer)
        lost: list[Frame] = []
        if number is not None:
            if self._previous is not None:
                previous, before_ns = self._previous
                found = gap(previous, number, self._incomplete)
                lost = [] if found is None else lost_frames(found, before_ns, frame.captured_ns)
            self._previous = number, frame.captured_ns
            self._incomplete = 0
        return [*damaged, *lost, frame]

    def _frame(self, buffer: Any, arrived_ns: int) -> Frame:
        device_ns = self._device_ns(buffer)
        captured_ns = arrived_ns if device_ns is None else self._clock.captured_ns(device_ns, arrived_ns)
        width_px, height_px, pixel_format = (_given(buffer, name) for name in ("width", "height", "pixel_format"))
        if width_px is None or height_px is None or pixel_format is None:
            fault = FrameFault(Cause.BAD_FRAME, "what the camera sent is no picture")
            return Frame(None, captured_ns, fault=fault)
        offset, padding = _given(buffer, "image_offset") or 0, _given(buffer, "padding_x") or 0
        filled = _given(buffer, "size_filled")
        data = np.frombuffer(buffer.raw_buffer, dtype=np.uint8)[offset : filled or None]
        try:
            return Frame(pixels_of(data, pixel_format, width_px, height_px, padding), captured_ns)
        except ValueError as error:
            return Frame(None, captured_ns, fault=FrameFault(Cause.BAD_FRAME, str(error)))

    def _device_ns(self, buffer: Any) -> int | None:
        """Return the camera's own time stamp in nanoseconds, if it gives one."""
        stamp_ns = _given(buffer, "timestamp_ns")
        if stamp_ns:
            return stamp_ns
        ticks, per_s = _given(buffer, "timestamp"), _given(buffer.parent.parent, "timestamp_frequency")
        return ticks * 1_000_000_000 // per_s if ticks and per_s else None


def camera_settings(options: GenicamCameraOptions) -> list[Setting]:
    """Return what is set in the camera, in this order: some nodes decide what others accept."""
    settings = [needed(node, value) for node, value in options.nodes.items()]
    settings.append(if_there("AcquisitionMode", "Continuous"))
    settings += [needed("PixelFormat", options.pixel_format)] if options.pixel_format is not None else []
    if options.width is not None or options.height is not None:
        # A region at an offset leaves no room for a larger one.
        settings += [if_there("OffsetX", 0), if_there("OffsetY", 0)]
    for node, size in (
        ("Width", options.width),
        ("Height", options.height),
        ("OffsetX", options.offset_x),
        ("OffsetY", options.offset_y),
    ):
        settings += [needed(node, size)] if size is not None else []
    if options.exposure_us is not None:
        settings += [if_there("ExposureMode", "Timed"), if_there("ExposureAuto", "Off")]
        settings.append(Setting(("ExposureTime", "ExposureTimeAbs"), options.exposure_us))
    if options.gain_db is not None:
        settings += [if_there("GainAuto", "Off"), needed("Gain", options.gain_db)]
    for node, number in (("GevSCPSPacketSize", options.packet_bytes), ("GevSCPD", options.packet_delay)):
        settings += [needed(node, number)] if number is not None else []
    return settings + _trigger_settings(options)


def _trigger_settings(options: GenicamCameraOptions) -> list[Setting]:
    selected = if_there("TriggerSelector", "FrameStart")
    if options.trigger_mode == "free":
        settings = [selected, if_there("TriggerMode", "Off")]
        if options.fps is not None:
            settings.append(if_there("AcquisitionFrameRateEnable", True))
            settings.append(Setting(("AcquisitionFrameRate", "AcquisitionFrameRateAbs"), options.fps))
        return settings
    if options.trigger_mode == "software":
        return [selected, needed("TriggerMode", "On"), needed("TriggerSource", "Software")]
    edge = {"rising": "RisingEdge", "falling": "FallingEdge"}[options.trigger_edge]
    return [
        selected,
        needed("TriggerMode", "On"),
        needed("TriggerSource", options.trigger_line),
        if_there("TriggerActivation", edge),
    ]


class _Counter:
    """Counts incomplete buffers, which Harvesters drops with no more than a log line."""

    def __init__(self) -> None:
        from harvesters.core import Callback

        counter = self

        class Count(Callback):  # type: ignore[misc]
            def emit(self, context: object = None) -> None:  # noqa: ARG002
                counter.count += 1

        self.count = 0
        self.callback = Count()

    def take(self) -> int:
        """Return how many there were since the last call."""
        count, self.count = self.count, 0
        return count


@contextlib.contextmanager
def _lost_if_it_fails(what: str) -> Iterator[None]:
    """Make the libraries' errors a CameraLost."""
    from genicam import genapi, gentl

    try:
        yield
    except (genapi.GenericException, gentl.GenericException, ValueError, RuntimeError) as error:
        raise CameraLost(f"the camera {what}: {genicam_nodes.message_of(error)}") from None


def _given(owner: Any, name: str) -> int | None:
    """Return a number that a producer may know or not."""
    from genicam import gentl

    try:
        return int(getattr(owner, name))
    except (gentl.GenericException, AttributeError):
        return None
