"""Camera → announcements and frames: one process for each camera.

The camera is read in a thread of its own, so that a slow consumer never delays the exposure's time
stamp; the loop announces, cuts, encodes and hands frames to workers that have room.
"""

from __future__ import annotations

import logging
import os
import uuid

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.capture.bundle_switch import BundleSwitch
from stream.capture.cropper import CroppedPart, PartCropper, cutter_of, deadline_ns
from stream.capture.policy.backlog import Backlog, Waiting
from stream.capture.policy.credit import Credit
from stream.capture.policy.frozen import FrozenGate
from stream.capture.policy.stall import Stall
from stream.capture.reader import Reader
from stream.capture.recording import RecordingThread
from stream.capture.sequence import FrameSequence, has_begun
from stream.capture.triggered_camera import open_camera
from stream.core import metrics
from stream.core.clock import local_clock, now_ns
from stream.core.errors import CameraError, FrameFault
from stream.core.images import jpeg_within
from stream.core.verdict import Cause
from stream.devices.cameras.camera import Camera, Frame, Start
from stream.line.config import LineConfig
from stream.line.lifecycle import RUN_VARIABLE, Role, start_role
from stream.model.patchcore.preprocess import network_input
from stream.transport.broadcast import Tap
from stream.transport.messages import (
    Announcement,
    CameraStatus,
    EndOfStream,
    FrameHeader,
    FrameStamps,
    ReloadStatus,
    TapFrame,
)
from stream.transport.pipeline import ANNOUNCEMENTS_WAITING, FrameServer, SinkOutbox
from stream.transport.sockets import Sockets

log = logging.getLogger(__name__)

STATUS_INTERVAL_NS = 250_000_000
#: A source that waits for its camera may hear of a stop late; then it is not waited for.
STOP_READING_NS = 2_000_000_000
#: Pause before a camera that was away when its process started again is tried again.
REOPEN_S = 1.0


class CaptureProcess:
    """The state of one camera's process."""

    def __init__(self, config: LineConfig, camera: str, role: Role) -> None:
        """Open the camera and the sockets; raises PatchLineError."""
        self.camera = camera
        self.role = role
        self.config = config
        self.cutters = [cutter_of(name, station) for name, station in config.stations_of(camera).items()]
        run = os.environ.get(RUN_VARIABLE, uuid.uuid4().hex)
        self.source = opened(config, camera, self.role, begun=has_begun(config.state, camera, run))
        self.journal = FrameSequence(config.state, camera, run, now_ns())
        self.sockets = Sockets(config.transport.keys)
        self.sink = SinkOutbox(self.sockets, config.announcements_address(), ANNOUNCEMENTS_WAITING)
        self.server = FrameServer(self.sockets, config.frames_address(camera))
        self.tap = Tap(self.sockets, config.tap_address(camera))
        self.epoch = uuid.uuid4().hex
        self.credit = Credit(self.epoch)
        stations = config.stations_of(camera)
        self.backlog: Backlog[CroppedPart] = Backlog(
            {name: station.backlog for name, station in stations.items()},
            {name: station.mode for name, station in stations.items()},
        )
        record = config.cameras[camera].record
        self.recording = None if record is None else RecordingThread(record)
        self.last_frame_ns: int | None = None
        self.stall = Stall(self.source.stall_ns, now_ns())
        self.gate = FrozenGate(self.source.frozen_frames)
        self._reconnects = 0
        self._stopped_ns: int | None = None
        self.last_picture: NDArray[np.uint8] | None = None
        self.workers: dict[str, bytes] = {}
        self._next_status_ns = 0
        self.bundle_switch: BundleSwitch[PartCropper] = BundleSwitch(
            config,
            camera,
            present={cutter.name: cutter.bundle_sha256 for cutter in self.cutters},
            asked=role.reload,
            load=self._load,
        )

    def run(self) -> None:
        """Read until the source ends or the process is told to stop; then empty the backlog and say goodbye."""
        start = Start(self.journal.frames_done, self.journal.origin_ns)
        reader = Reader(self.source, start, self.role.stop)
        self.server.wake_on(reader.wake)
        metrics.CAMERA_UP.labels(self.camera).set(1)
        metrics.CAMERA_RECONNECTS.labels(self.camera)
        self._report_status()
        if self.recording is not None:
            self.recording.start()
        reader.start()
        self.role.ready()
        while self._reads(reader) or reader.waiting or self.backlog:
            self.server.wait(timeout_ms=20 if self.backlog else 200)
            for identity, ready in self.server.credit():
                self.credit.update(identity, ready)
                self.bundle_switch.on_credit(ready)
                self.workers[ready.worker] = identity
            self._switch()
            frames = reader.take()
            for frame, grabbed_ns in frames:
                self._take(frame, grabbed_ns)
            if self._reads(reader) and not self.role.stop.is_set() and self.stall.begins(now_ns()):
                self._lose_part()
            self.backlog.expire(now_ns())
            self._hand_out()
            if self.tap.listeners:
                self._show([frame for frame, _ in frames])
            if not self._reads(reader):
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

    def _reads(self, reader: Reader) -> bool:
        """Tell whether frames may still come."""
        if self.role.stop.is_set() and self._stopped_ns is None:
            self._stopped_ns = now_ns()
        waited_ns = 0 if self._stopped_ns is None else now_ns() - self._stopped_ns
        return reader.is_alive() and waited_ns < STOP_READING_NS

    def close(self) -> None:
        """Close the sockets and the recording."""
        self.sockets.close()
        if self.recording is not None:
            self.recording.end(timeout_s=5.0)

    def _take(self, frame: Frame, grabbed_ns: int) -> None:
        """Take a frame of the camera; one that shows a frozen picture is not to be judged."""
        self.last_frame_ns = grabbed_ns
        self.stall.heard(grabbed_ns)
        metrics.FRAMES.labels(self.camera).inc()
        self.last_picture = frame.image if frame.image is not None else self.last_picture
        if frame.image is not None and self.gate.frozen(frame.image):
            frame = frame._replace(image=None, fault=FrameFault(Cause.BAD_FRAME, self.gate.text))
        self._announce(frame, grabbed_ns)

    def _lose_part(self) -> None:
        """Announce one part of every station as lost: whatever passes a stalled camera is not seen."""
        why = "; ".join(filter(None, (self.stall.text, self.source.fault)))
        log.warning("camera %s: %s", self.camera, why)
        now = now_ns()
        self._announce(Frame(None, now, fault=FrameFault(Cause.CAMERA_FAULT, why)), now)
        self._next_status_ns = now  # the alarm does not wait

    def _announce(self, frame: Frame, grabbed_ns: int) -> None:
        """Number a frame and announce its parts, before anything that takes time."""
        seq = self.journal.take()
        if self.recording is not None:
            self.recording.add(seq, frame)
        cuts: list[CroppedPart] = []
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
            cuts.append(CroppedPart(cutter, seq, frame, region, grabbed_ns, 0))
        for cut in cuts:
            waiting = Waiting(cut.cutter.name, deadline_ns(frame, cut.cutter.station), cut._replace(siblings=len(cuts)))
            displaced = self.backlog.add(waiting)
            if displaced is not None:
                self._skip(displaced.payload)

    def _hand_out(self) -> None:
        """Send what waits to workers that have room: parts in order, free-running frames to an idle worker."""
        while (waiting := self.backlog.next_triggered()) is not None:
            worker = self.credit.best((waiting.station, waiting.payload.cutter.bundle_sha256))
            if worker is None:
                return
            if self._send(worker, waiting.payload):
                self.backlog.sent()
        newest = self.backlog.newest()
        worker = self.credit.idle_worker(
            *((waiting.station, waiting.payload.cutter.bundle_sha256) for waiting in newest)
        )
        if worker is None:
            return
        for waiting in self.backlog.take_newest():
            # A free-running frame is announced when its fate is known: on its way, or passed over.
            cut = waiting.payload
            self._tell_sink(cut.cutter, cut.seq, cut.frame, None)
            self._send(worker, cut)

    def _send(self, worker: bytes, cut: CroppedPart) -> bool:
        station = cut.cutter.station
        granted_ns = now_ns()
        pixels = network_input(cut.region, cut.cutter.size_px)
        preview_jpeg = jpeg_within(cut.region, self.config.store.preview_max_px, self.config.store.preview_jpeg_quality)
        header = FrameHeader(
            station=cut.cutter.name,
            seq=cut.seq,
            captured_ns=cut.frame.captured_ns,
            deadline_ns=deadline_ns(cut.frame, station),
            mode=station.mode,
            bundle_sha256=cut.cutter.bundle_sha256,
            height_px=pixels.shape[0],
            width_px=pixels.shape[1],
            siblings=cut.siblings,
            epoch=self.epoch,
            stamps=FrameStamps(grabbed_ns=cut.grabbed_ns, granted_ns=granted_ns, encoded_ns=now_ns()),
            clock=local_clock(),
            part_id=cut.frame.part_id,
        )
        if not self.server.send(worker, header, pixels.tobytes(), preview_jpeg):
            log.warning("worker %s is gone", worker.hex())
            self.credit.gone(worker)
            return False
        self.credit.sent(worker)
        return True

    def _load(self, name: str) -> tuple[str, PartCropper]:
        """Read a station's bundle; runs in the renewal's thread."""
        new = cutter_of(name, self.config.stations[name])
        return new.bundle_sha256, new

    def _switch(self) -> None:
        """Go over to bundles that all workers hold; what is cut already stays as it is."""
        for outcome in self.bundle_switch.step(self._obstacle):
            if outcome.loaded is not None:
                self.cutters = [outcome.loaded if old.name == outcome.station else old for old in self.cutters]
            why = None if outcome.why is None else f"bundle {outcome.old_sha256[:12]} is kept: {outcome.why}"
            self.sink.send(ReloadStatus(outcome.station, outcome.old_sha256, outcome.new_sha256, why))

    def _obstacle(self, new: PartCropper) -> str | None:
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

    def _tell_sink(self, cutter: PartCropper, seq: int, frame: Frame, fault: FrameFault | None) -> None:
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

    def _skip(self, cut: CroppedPart) -> None:
        self._tell_sink(cut.cutter, cut.seq, cut.frame, FrameFault(Cause.SKIPPED, "a newer frame came"))

    def _report_status(self) -> None:
        now = now_ns()
        if now < self._next_status_ns:
            return
        self._next_status_ns = now + STATUS_INTERVAL_NS
        self.tap.look()
        wanted_bundles = self.bundle_switch.wanted_bundles()
        for identity in self.workers.values():
            self.server.send_wanted(identity, wanted_bundles)
        metrics.QUEUE_DEPTH.labels("backlog").set(len(self.backlog))
        if self.last_frame_ns is not None:
            metrics.LAST_FRAME_AGE_SECONDS.labels(self.camera).set((now - self.last_frame_ns) / 1e9)
        reconnects = self.source.reconnects
        metrics.CAMERA_RECONNECTS.labels(self.camera).inc(reconnects - self._reconnects)
        self._reconnects = reconnects
        fault = "; ".join(filter(None, (self.stall.text, self.source.fault, self.gate.text)))
        metrics.CAMERA_UP.labels(self.camera).set(0 if fault else 1)
        self.sink.send(
            CameraStatus(
                camera=self.camera,
                pid=os.getpid(),
                first_seq=self.journal.first_seq,
                up=not fault,
                last_frame_ns=self.last_frame_ns,
                clock=local_clock(),
                detail=fault,
            )
        )


def opened(config: LineConfig, camera: str, role: Role, *, begun: bool) -> Camera:
    """Open the camera; raises PatchLineError.

    A run does not begin without its cameras. In one that has begun, this process is the successor of one
    that died: it waits for a camera that is away, because the line is to go on for the others.
    """
    while True:
        try:
            return open_camera(config, camera)
        except CameraError as error:
            if not begun or role.stop.wait(REOPEN_S):
                raise
            log.warning("camera %s does not open in a run that has begun, trying again: %s", camera, error)


def main(config: LineConfig, camera: str) -> None:
    """Run the capture process of one camera until its source ends or a signal stops it."""
    role = start_role(f"capture-{camera}", config)
    cv2.setNumThreads(1)  # the cores belong to inference
    capture = CaptureProcess(config, camera, role)
    try:
        capture.run()
    finally:
        capture.close()
