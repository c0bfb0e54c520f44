"""Camera → announcements and frames: one process for each camera.

The camera is read in a thread of its own, so that a slow consumer never delays the exposure's time
stamp; the loop announces, cuts, encodes and hands frames to workers that have room.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import uuid
from collections import deque
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stream import metrics
from stream.bundle import BundleInfo, live_bundle
from stream.clock import local_clock, now_ns
from stream.config import LineConfig, Station
from stream.errors import FrameFault
from stream.journal import Journal
from stream.line.backlog import Backlog, Waiting
from stream.line.credit import Credit
from stream.messages import (
    Announcement,
    CameraStatus,
    Cause,
    EndOfStream,
    FrameHeader,
    FrameStamps,
    ReloadStatus,
    TapFrame,
)
from stream.patchcore.preprocess import Roi, crop, network_input
from stream.processes.lifecycle import RUN_VARIABLE, Role, start_role
from stream.sources.frame import Frame, Source, Start
from stream.switching import Switching
from stream.transport import ANNOUNCEMENTS_WAITING, FrameServer, SinkOutbox, Sockets, Tap

log = logging.getLogger(__name__)

STATUS_INTERVAL_NS = 250_000_000
#: Frames between the reading thread and the loop; beyond that pictures are dropped and announced as overrun.
READ_AHEAD = 64


class Cutter(NamedTuple):
    """How a station's part is cut from a frame."""

    name: str
    station: Station
    bundle: str
    roi: Roi | None
    size_px: int
    picture_px: tuple[int, int] | None

    def region(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut the station's region; raises FrameFault(WRONG_GEOMETRY)."""
        if self.roi is None and self.picture_px is not None:
            found = (image.shape[1], image.shape[0])
            if found != self.picture_px:
                raise FrameFault(
                    Cause.WRONG_GEOMETRY,
                    f"the picture is {found[0]}×{found[1]} px, the bundle learned "
                    f"{self.picture_px[0]}×{self.picture_px[1]}",
                )
        return crop(image, self.roi)


class Cut(NamedTuple):
    """A part on its way to a worker; encoded only when it is sent, so that skipped frames cost nothing."""

    cutter: Cutter
    seq: int
    frame: Frame
    region: NDArray[np.uint8]
    grabbed_ns: int
    siblings: int


class Reader(threading.Thread):
    """Reads the source and wakes the loop."""

    def __init__(self, source: Source, start: Start, stop: threading.Event) -> None:
        """Read from `start` until the source ends or `stop` is set."""
        super().__init__(name="reader", daemon=True)
        self._source = source
        self._begin = start
        self._stop_reading = stop
        self._frames: deque[tuple[Frame, int]] = deque()
        self.wake = os.eventfd(0, os.EFD_NONBLOCK)
        self.error: BaseException | None = None

    def run(self) -> None:
        """Put frames into the queue until the end."""
        try:
            for frame in self._source.frames(self._begin, self._stop_reading):
                taken = frame
                if len(self._frames) >= READ_AHEAD and frame.image is not None:
                    fault = FrameFault(Cause.OVERRUN, "capture could not keep up with the camera")
                    taken = frame._replace(image=None, fault=fault)
                self._frames.append((taken, now_ns()))
                os.eventfd_write(self.wake, 1)
        except BaseException as error:  # noqa: BLE001 - the loop raises it in the main thread
            self.error = error
        finally:
            os.eventfd_write(self.wake, 1)

    def take(self) -> list[tuple[Frame, int]]:
        """Return the frames read so far, each with the moment it was in hand."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.wake)
        return [self._frames.popleft() for _ in range(len(self._frames))]

    @property
    def waiting(self) -> int:
        """How many frames were read and not yet taken."""
        return len(self._frames)


class Capture:
    """The state of one camera's process."""

    def __init__(self, config: LineConfig, camera: str, role: Role) -> None:
        """Open the camera and the sockets; raises PatchLineError."""
        self.camera = camera
        self.role = role
        self.config = config
        self.cutters = [cutter(name, station) for name, station in config.stations_of(camera).items()]
        self.source = config.cameras[camera].open()
        self.journal = Journal(config.state, camera, os.environ.get(RUN_VARIABLE, uuid.uuid4().hex), now_ns())
        self.sockets = Sockets(config.transport.keys)
        self.sink = SinkOutbox(self.sockets, config.announcements_address(), ANNOUNCEMENTS_WAITING)
        self.server = FrameServer(self.sockets, config.frames_address(camera))
        self.tap = Tap(self.sockets, config.tap_address(camera))
        self.epoch = uuid.uuid4().hex
        self.credit = Credit(self.epoch)
        stations = config.stations_of(camera)
        self.backlog: Backlog[Cut] = Backlog(
            {name: station.backlog for name, station in stations.items()},
            {name: station.mode for name, station in stations.items()},
        )
        self.last_frame_ns: int | None = None
        self.last_picture: NDArray[np.uint8] | None = None
        self.workers: dict[str, bytes] = {}
        self._next_status_ns = 0
        self.switching: Switching[Cutter] = Switching(
            config,
            camera,
            present={cutter.name: cutter.bundle for cutter in self.cutters},
            asked=role.reload,
            load=self._load,
        )

    def run(self) -> None:
        """Read until the source ends or the process is told to stop; then empty the backlog and say goodbye."""
        start = Start(self.journal.frames_done, self.journal.origin_ns)
        reader = Reader(self.source, start, self.role.stop)
        self.server.wake_on(reader.wake)
        metrics.CAMERA_UP.labels(self.camera).set(1)
        self._report_status()
        reader.start()
        self.role.ready()
        while reader.is_alive() or reader.waiting or self.backlog:
            self.server.wait(timeout_ms=20 if self.backlog else 200)
            for identity, ready in self.server.credit():
                self.credit.update(identity, ready)
                self.switching.hear(ready)
                self.workers[ready.worker] = identity
            self._switch()
            frames = reader.take()
            for frame, grabbed_ns in frames:
                self._announce(frame, grabbed_ns)
            self.backlog.expire(now_ns())
            self._hand_out()
            if self.tap.listeners:
                self._show([frame for frame, _ in frames])
            if not reader.is_alive():
                for waiting in self.backlog.take_newest():
                    self._skip(waiting.payload)
            self._report_status()
        if reader.error is not None:
            raise reader.error
        if not self.role.stop.is_set():
            self.role.finished()
        self.role.stopping()
        self.sink.send(EndOfStream(self.camera, self.journal.next_seq))
        log.info("camera %s ended after %d frames", self.camera, self.journal.frames_done)

    def close(self) -> None:
        """Close the sockets."""
        self.sockets.close()

    def _announce(self, frame: Frame, grabbed_ns: int) -> None:
        """Number a frame and announce its parts, before anything that takes time."""
        seq = self.journal.take()
        self.last_frame_ns = grabbed_ns
        self.last_picture = frame.image if frame.image is not None else self.last_picture
        metrics.FRAMES.labels(self.camera).inc()
        cuts: list[Cut] = []
        for cutter in self.cutters:
            try:
                if frame.image is None:
                    raise frame.fault or FrameFault(Cause.CAMERA_FAULT, "the camera gave no picture")
                if cutter.station.mode == "triggered" and self.backlog.full(cutter.name):
                    raise FrameFault(Cause.OVERRUN, f"{cutter.station.backlog} parts were waiting already")
                region = cutter.region(frame.image)
            except FrameFault as fault:
                older = self.backlog.take_station(cutter.name)
                if older is not None:  # numbers are announced in order
                    self._skip(older.payload)
                self._tell_sink(cutter, seq, frame, fault)
                continue
            if cutter.station.mode == "triggered":
                self._tell_sink(cutter, seq, frame, None)
            cuts.append(Cut(cutter, seq, frame, region, grabbed_ns, 0))
        for cut in cuts:
            waiting = Waiting(cut.cutter.name, deadline_ns(frame, cut.cutter.station), cut._replace(siblings=len(cuts)))
            displaced = self.backlog.add(waiting)
            if displaced is not None:
                self._skip(displaced.payload)

    def _hand_out(self) -> None:
        """Send what waits to workers that have room: parts in order, free-running frames to an idle worker."""
        while (waiting := self.backlog.next_triggered()) is not None:
            worker = self.credit.best((waiting.station, waiting.payload.cutter.bundle))
            if worker is None:
                return
            if self._send(worker, waiting.payload):
                self.backlog.sent()
        newest = self.backlog.newest()
        worker = self.credit.hungry(*((waiting.station, waiting.payload.cutter.bundle) for waiting in newest))
        if worker is None:
            return
        for waiting in self.backlog.take_newest():
            # A free-running frame is announced when its fate is known: on its way, or passed over.
            cut = waiting.payload
            self._tell_sink(cut.cutter, cut.seq, cut.frame, None)
            self._send(worker, cut)

    def _send(self, worker: bytes, cut: Cut) -> bool:
        station = cut.cutter.station
        granted_ns = now_ns()
        pixels = network_input(cut.region, cut.cutter.size_px)
        view = encode_view(cut.region, self.config.store.view_max_px, self.config.store.view_jpeg_quality)
        header = FrameHeader(
            station=cut.cutter.name,
            seq=cut.seq,
            captured_ns=cut.frame.captured_ns,
            deadline_ns=deadline_ns(cut.frame, station),
            mode=station.mode,
            bundle=cut.cutter.bundle,
            height_px=pixels.shape[0],
            width_px=pixels.shape[1],
            siblings=cut.siblings,
            epoch=self.epoch,
            stamps=FrameStamps(grabbed_ns=cut.grabbed_ns, granted_ns=granted_ns, encoded_ns=now_ns()),
            clock=local_clock(),
            part_id=cut.frame.part_id,
        )
        if not self.server.send(worker, header, pixels.tobytes(), view):
            log.warning("worker %s is gone", worker.hex())
            self.credit.gone(worker)
            return False
        self.credit.sent(worker)
        return True

    def _load(self, name: str) -> tuple[str, Cutter]:
        """Read a station's bundle; runs in the renewal's thread."""
        new = cutter(name, self.config.stations[name])
        return new.bundle, new

    def _switch(self) -> None:
        """Go over to bundles that all workers hold; what is cut already stays as it is."""
        for outcome in self.switching.step(self._obstacle):
            if outcome.loaded is not None:
                self.cutters = [outcome.loaded if old.name == outcome.station else old for old in self.cutters]
            why = None if outcome.why is None else f"bundle {outcome.old[:12]} is kept: {outcome.why}"
            self.sink.send(ReloadStatus(outcome.station, outcome.old, outcome.new, why))

    def _obstacle(self, new: Cutter) -> str | None:
        """Say why the camera's pictures cannot be cut so; None: they can, or none has come yet."""
        if self.last_picture is None:
            return None
        try:
            new.region(self.last_picture)
        except FrameFault as fault:
            return f"{new.station.bundle}: {fault.detail}; fit it for this camera or change stations.{new.name}.roi"
        return None

    def _show(self, frames: list[Frame]) -> None:
        """Show whole pictures to listeners, after everything that has a deadline."""
        for seq, frame in enumerate(frames, start=self.journal.next_seq - len(frames)):
            if frame.image is None:
                continue
            height_px, width_px = frame.image.shape[:2]
            shown = TapFrame(self.camera, seq, frame.captured_ns, height_px, width_px, frame.part_id)
            if not self.tap.send(shown, frame.image.tobytes()):
                metrics.DROPPED.labels("tap").inc()

    def _tell_sink(self, cutter: Cutter, seq: int, frame: Frame, fault: FrameFault | None) -> None:
        announcement = Announcement(
            station=cutter.name,
            seq=seq,
            captured_ns=frame.captured_ns,
            deadline_ns=deadline_ns(frame, cutter.station),
            clock=local_clock(),
            part_id=frame.part_id,
            cause=fault.cause if fault else None,
            detail=fault.detail if fault else "",
        )
        if not self.sink.send(announcement):
            # The sink sees the gap in the numbers and books the part as missing.
            metrics.DROPPED.labels("announcement").inc()

    def _skip(self, cut: Cut) -> None:
        self._tell_sink(cut.cutter, cut.seq, cut.frame, FrameFault(Cause.SKIPPED, "a newer frame came"))

    def _report_status(self) -> None:
        now = now_ns()
        if now < self._next_status_ns:
            return
        self._next_status_ns = now + STATUS_INTERVAL_NS
        self.tap.look()
        cut_for = self.switching.cut_for()
        for identity in self.workers.values():
            self.server.tell(identity, cut_for)
        metrics.QUEUE_DEPTH.labels("backlog").set(len(self.backlog))
        if self.last_frame_ns is not None:
            metrics.LAST_FRAME_AGE_SECONDS.labels(self.camera).set((now - self.last_frame_ns) / 1e9)
        fault = self.source.fault
        metrics.CAMERA_UP.labels(self.camera).set(0 if fault else 1)
        self.sink.send(
            CameraStatus(
                camera=self.camera,
                pid=os.getpid(),
                first_seq=self.journal.first_seq,
                up=fault is None,
                last_frame_ns=self.last_frame_ns,
                clock=local_clock(),
                detail=fault or "",
            )
        )


def cutter(name: str, station: Station) -> Cutter:
    """Read from the station's bundle how its parts are cut; raises BundleError."""
    bundle = live_bundle(station.bundle)
    info: BundleInfo = bundle.info
    roi = station.roi or info.roi
    if info.roi is not None and roi is not None and roi[2:] != info.roi[2:]:
        log.warning(
            "stations.%s.roi: %d×%d px, but the bundle learned %d×%d: the part's scale differs",
            name, *roi[2:], *info.roi[2:],
        )  # fmt: skip
    return Cutter(name, station, bundle.sha256, roi, info.spec.size_px, info.picture_px)


def deadline_ns(frame: Frame, station: Station) -> int:
    """Return when the verdict of a part is due."""
    return frame.captured_ns + int(station.deadline_ms * 1e6)


def encode_view(region: NDArray[np.uint8], max_px: int, quality: int) -> bytes:
    """Encode the region for people: JPEG, shrunk when its longer side exceeds `max_px`."""
    longer = max(region.shape[:2])
    if longer > max_px:
        factor = max_px / longer
        width_px, height_px = (max(1, round(size * factor)) for size in (region.shape[1], region.shape[0]))
        shrunk = cv2.resize(region, (width_px, height_px), interpolation=cv2.INTER_AREA)
        region = np.asarray(shrunk, dtype=np.uint8)
    _, data = cv2.imencode(".jpg", region, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def main(config: LineConfig, camera: str) -> None:
    """Run the capture process of one camera until its source ends or a signal stops it."""
    role = start_role(f"capture-{camera}", config)
    cv2.setNumThreads(1)  # the cores belong to inference
    capture = Capture(config, camera, role)
    try:
        capture.run()
    finally:
        capture.close()
