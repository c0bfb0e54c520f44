"""The process of one camera.

A thread reads the camera (`reader.py`). The loop numbers each frame, crops its parts (`cropper.py`) and announces them
to the sink, the first one not before the whole line is ready (`parts_start.py`); sends waiting parts to workers whose
credit covers them (`policy/backlog.py`, `policy/credit.py`); switches bundles (`bundle_switch.py`); and reports the
state of the camera (`camera_monitor.py`).
"""

from __future__ import annotations

import logging
import os
import uuid
from functools import partial

import cv2

from stream.capture.bundle_switch import BundleSwitch
from stream.capture.camera_monitor import CameraMonitor
from stream.capture.cropper import CroppedPart, PartCropper, deadline_ns, load_cropper
from stream.capture.parts_start import PartsStart
from stream.capture.policy.backlog import Backlog, WaitingPart
from stream.capture.policy.connections import WorkerConnections
from stream.capture.policy.credit import Credit
from stream.capture.policy.watched import WatchedParts
from stream.capture.reader import Reader
from stream.capture.recording import RecordingThread
from stream.capture.sequence import FrameSequence, run_has_begun
from stream.capture.triggered_camera import open_camera
from stream.capture.view import goes_raw, view_of
from stream.core import metrics
from stream.core.backoff import LogPace
from stream.core.clock import local_clock, now_ns
from stream.core.errors import CameraError, FrameFault
from stream.core.halvings import Halvings
from stream.core.images import bgr_copy
from stream.core.verdict import Cause
from stream.devices.cameras.camera import Camera, Frame
from stream.line.config import LineConfig
from stream.line.lifecycle import RUN_VARIABLE, Role, start_role
from stream.line.locks import lock_owner
from stream.model.patchcore.alignment import AT_FIT
from stream.transport.broadcast import Tap
from stream.transport.messages import (
    Announcement,
    EndOfStream,
    FrameHeader,
    FrameStamps,
    ReloadStatus,
    TapFrame,
)
from stream.transport.pipeline import ANNOUNCEMENTS_WAITING, FrameServer, SinkOutbox
from stream.transport.sockets import Sockets, warn_if_unreached

log = logging.getLogger(__name__)

#: Pause between two status messages to the sink.
STATUS_INTERVAL_NS = 250_000_000
#: Longest wait for the reader after a stop; a camera that is being connected may notice the stop later.
STOP_READING_NS = 2_000_000_000
#: Pause before a camera is opened again that was away when its process was restarted.
REOPEN_S = 1.0


class CaptureProcess:
    """The state of one camera's process."""

    def __init__(self, config: LineConfig, camera: str, role: Role) -> None:
        """Open the camera and the sockets; raises PatchLineError."""
        self.camera_name = camera
        self.role = role
        self.config = config
        stations = config.stations_of(camera)
        croppers = [load_cropper(name, station) for name, station in stations.items()]
        run = os.environ.get(RUN_VARIABLE, uuid.uuid4().hex)
        self.camera = open_or_wait(config, camera, role, begun=run_has_begun(config.state, camera, run))
        self.sequence = FrameSequence(config.state, camera, run, now_ns())
        self.reader = Reader(self.camera, role.stop)
        self.parts_start = PartsStart(config, camera, self.camera, self.sequence, self.reader)
        self.sockets = Sockets(config.transport.keys)
        self.sink = SinkOutbox(self.sockets, config.announcements_address(), ANNOUNCEMENTS_WAITING)
        warn_if_unreached(config.announcements_address(), partial(lock_owner, "sink", config.state))
        self.frame_server = FrameServer(self.sockets, config.frames_address(camera))
        self.watched = WatchedParts(stations)
        self._raw_views = goes_raw(config, camera)
        self.tap = Tap(self.sockets, config.tap_address(camera))
        self.epoch = uuid.uuid4().hex
        self.credit = Credit(self.epoch)
        self.backlog: Backlog[CroppedPart] = Backlog(
            {name: station.backlog for name, station in stations.items()},
            {name: station.mode for name, station in stations.items()},
        )
        record = config.cameras[camera].record
        self.recording = None if record is None else RecordingThread(record)
        self.monitor = CameraMonitor(camera, self.camera, now_ns())
        #: Socket identities of the workers, by name.
        self.workers: dict[str, bytes] = {}
        #: By station, the number below which every part has been announced.
        self.announced = dict.fromkeys(stations, self.sequence.next_seq)
        self.connections = WorkerConnections(config.worker_names)
        self._strangers = LogPace()
        self._stopped_ns: int | None = None
        self._next_status_ns = 0
        self.bundle_switch = BundleSwitch(config, camera, croppers, role.reload)

    def run(self) -> None:
        """Read until the camera ends or the process is stopped; then send the backlog and announce the end."""
        reader = self.reader
        self.frame_server.wake_on(reader.wake)
        self._report_status()
        if self.recording is not None:
            self.recording.start()
        self.parts_start.open()
        self.role.ready()
        while self._is_reading(reader) or reader.waiting or self.backlog:
            self.frame_server.wait(timeout_ms=20 if self.backlog else 200)
            self._receive_credit()
            if self.parts_start.step(line_ready=self.frame_server.line_ready):
                self._next_status_ns = 0
            self._switch_bundles()
            frames = [(self.monitor.check_frame(frame, grabbed_ns), grabbed_ns) for frame, grabbed_ns in reader.take()]
            if self.parts_start.drops:
                frames.clear()
            for frame, grabbed_ns in frames:
                self._announce(frame, grabbed_ns)
            if self._is_reading(reader) and not (self.role.stop.is_set() or self.parts_start.drops):
                self._announce_stall()
            self.backlog.expire(now_ns())
            self._send_triggered()
            self._send_newest()
            if self.tap.has_listeners:  # after everything that has a deadline
                self._tap([frame for frame, _ in frames])
            if not self._is_reading(reader):
                for waiting in self.backlog.take_newest():
                    self._skip(waiting.payload)
            self._report_status()
        if reader.error is not None:
            raise reader.error
        if not self.role.stop.is_set():
            self.role.finished()
        self.role.stopping()
        self.sink.send(EndOfStream(self.camera_name, self.sequence.next_seq))
        log.info("camera %s ended after %d frames", self.camera_name, self.sequence.frames_done)

    def close(self) -> None:
        """Close the sockets and the recording."""
        self.sockets.close()
        if self.recording is not None:
            self.recording.end(timeout_s=5.0)

    def _is_reading(self, reader: Reader) -> bool:
        """Whether more frames may come."""
        if self.role.stop.is_set() and self._stopped_ns is None:
            self._stopped_ns = now_ns()
        waited_ns = 0 if self._stopped_ns is None else now_ns() - self._stopped_ns
        if not reader.begun:
            return self._stopped_ns is None
        return reader.is_alive() and waited_ns < STOP_READING_NS

    def _receive_credit(self) -> None:
        for identity, grant in self.frame_server.receive_credit():
            if not self._is_of_the_line(grant.worker, identity):
                continue
            self.credit.update(identity, grant)
            self.bundle_switch.on_credit(grant)
            self.workers[grant.worker] = identity
            if self.parts_start.state == "waiting":
                in_use = {station: cropper.bundle_sha256 for station, cropper in self.bundle_switch.croppers.items()}
                if self.parts_start.on_credit(grant, in_use):
                    self._next_status_ns = 0  # the sink waits for it
        forgotten = self.credit.forget_overdue(now_ns())
        if forgotten:
            metrics.CREDIT_FORGOTTEN.labels(self.camera_name).inc(forgotten)
            log.error("%d frames were sent to a worker that never counted them; its credit is given back", forgotten)

    def _is_of_the_line(self, worker: str, identity: bytes) -> bool:
        """Whether a grant comes from a worker of the configuration; what strangers send costs no memory."""
        try:
            former = self.connections.note(worker, identity)
        except KeyError:
            metrics.MESSAGES_REFUSED.labels("credit").inc()
            if self._strangers.due(now_ns()) is not None:
                log.error("credit of worker %.100r, not in the configuration", worker)  # noqa: TRY400 - a peer's fault
            return False
        if former is not None:
            self.credit.remove(former)
        return True

    def _switch_bundles(self) -> None:
        """Switch to bundles that all workers hold, and report it; parts already cropped stay as they are."""
        for decision in self.bundle_switch.step(self.monitor.last_image):
            old, new, reason = decision.old_sha256, decision.new_sha256, decision.reason
            why_kept = None if reason is None else f"bundle {old[:12]} is kept: {reason}"
            self.sink.send(ReloadStatus(decision.station, old, new, why_kept))

    def _announce(self, frame: Frame, grabbed_ns: int) -> None:
        """Number a frame, announce its parts and queue them; encoding takes time and comes later."""
        seq = self.sequence.take()
        if self.recording is not None:
            self.recording.add(seq, frame)
        parts: list[CroppedPart] = []
        for cropper in self.bundle_switch.croppers.values():
            try:
                if frame.image is None:
                    raise frame.fault or FrameFault(Cause.CAMERA_FAULT, "the camera gave no picture")
                if cropper.station.mode == "triggered" and self.backlog.full(cropper.name):
                    raise FrameFault(Cause.OVERRUN, f"{cropper.station.backlog} parts were waiting already")
                cropper.geometry.region(frame.image, AT_FIT)
                part = CroppedPart(cropper, seq, frame, None, 0, grabbed_ns, siblings=0)
                if cropper.station.mode == "triggered":
                    part = part.found()
            except FrameFault as fault:
                older = self.backlog.take_station(cropper.name)
                if older is not None:  # numbers are announced in order
                    self._skip(older.payload)
                self._announce_part(cropper, seq, frame, fault)
                continue
            if cropper.station.mode == "triggered":
                self._announce_part(cropper, seq, frame)
            parts.append(part)
        for part in parts:
            station = part.cropper.station
            replaced = self.backlog.add(
                WaitingPart(part.cropper.name, deadline_ns(frame, station), part._replace(siblings=len(parts)))
            )
            if replaced is not None:
                self._skip(replaced.payload)

    def _announce_stall(self) -> None:
        """Announce one part of every station as lost, once for each stall: what passes the camera now is not seen."""
        frame = self.monitor.lost_frame(now_ns())
        if frame is not None:
            self._announce(frame, frame.captured_ns)
            self._next_status_ns = frame.captured_ns  # the alarm must not wait

    def _announce_part(self, cropper: PartCropper, seq: int, frame: Frame, fault: FrameFault | None = None) -> None:
        announcement = Announcement(
            station=cropper.name,
            seq=seq,
            captured_ns=frame.captured_ns,
            deadline_ns=deadline_ns(frame, cropper.station),
            clock=local_clock(),
            part_id=frame.part_id,
            cause=fault.cause if fault else None,
            detail=fault.detail if fault else "",
            epoch="" if fault else self.epoch,
            bundle_sha256="" if fault else cropper.bundle_sha256,
        )
        self.announced[cropper.name] = seq + 1
        if not self.sink.send(announcement):
            # The sink notices the gap in the numbers and books the part as missing.
            metrics.DROPPED.labels("announcement").inc()

    def _skip(self, part: CroppedPart) -> None:
        self._announce_part(part.cropper, part.seq, part.frame, FrameFault(Cause.SKIPPED, "a newer frame came"))

    def _send_triggered(self) -> None:
        """Send triggered parts in order, as far as the workers' credit reaches."""
        while (waiting := self.backlog.next_triggered()) is not None:
            worker = self.credit.best_worker((waiting.station, waiting.payload.cropper.bundle_sha256))
            if worker is None:
                return
            if self._send(worker, waiting.payload):
                self.backlog.pop_triggered()

    def _send_newest(self) -> None:
        """Send the newest free-running parts to an idle worker, unless triggered parts still wait."""
        if self.backlog.next_triggered() is not None:
            return
        worker = self.credit.idle_worker(
            *((waiting.station, waiting.payload.cropper.bundle_sha256) for waiting in self.backlog.newest())
        )
        if worker is None:
            return
        for waiting in self.backlog.take_newest():
            # A free-running frame is announced once it is known whether it is sent or skipped.
            part = waiting.payload
            try:
                part = part.found()
            except FrameFault as fault:
                self._announce_part(part.cropper, part.seq, part.frame, fault)
                continue
            self._announce_part(part.cropper, part.seq, part.frame)
            self._send(worker, part)

    def _send(self, worker: bytes, part: CroppedPart) -> bool:
        """Resize and send a part; False when the worker's connection has ended."""
        cropper, frame = part.cropper, part.frame
        granted_ns = now_ns()
        region = part.region()
        halvings = Halvings(region)
        pixels = cropper.geometry.network_input(halvings)
        view = view_of(halvings, self.config.store, raw=self._raw_views)
        header = FrameHeader(
            station=cropper.name,
            seq=part.seq,
            captured_ns=frame.captured_ns,
            deadline_ns=deadline_ns(frame, cropper.station),
            mode=cropper.station.mode,
            bundle_sha256=cropper.bundle_sha256,
            height_px=pixels.shape[0],
            width_px=pixels.shape[1],
            region_px=(region.shape[1], region.shape[0]),
            siblings=part.siblings,
            epoch=self.epoch,
            stamps=FrameStamps(
                grabbed_ns=part.grabbed_ns, granted_ns=granted_ns, encoded_ns=now_ns(), align_ns=part.align_ns
            ),
            clock=local_clock(),
            part_id=frame.part_id,
            placement=part.placement,
            view_shape=view.shape,
            watched=self.watched.takes(cropper.name, self.frame_server.watching_ns, granted_ns),
        )
        if not self.frame_server.send_frame(worker, header, pixels.tobytes(), view.data):
            log.warning("worker %s: its connection has ended", worker.hex())
            self.credit.remove(worker)
            return False
        self.credit.count_sent(worker, now_ns())
        return True

    def _tap(self, frames: list[Frame]) -> None:
        """Send whole frames, the newest that were numbered, to the tap's listeners."""
        for seq, frame in enumerate(frames, start=self.sequence.next_seq - len(frames)):
            if frame.image is None:
                continue
            height_px, width_px = frame.image.shape[:2]
            header = TapFrame(self.camera_name, seq, frame.captured_ns, height_px, width_px, frame.part_id)
            if not self.tap.send(header, bgr_copy(frame.image).tobytes()):
                metrics.DROPPED.labels("tap").inc()

    def _report_status(self) -> None:
        """Several times a second: send the wanted bundles to the workers and the camera's status to the sink."""
        now = now_ns()
        if now < self._next_status_ns:
            return
        self._next_status_ns = now + STATUS_INTERVAL_NS
        self.tap.update_listeners()
        wanted_bundles = self.bundle_switch.wanted_bundles()
        for identity in self.workers.values():
            self.frame_server.send_wanted(identity, wanted_bundles)
        metrics.QUEUE_DEPTH.labels("backlog").set(len(self.backlog))
        self.sink.send(
            self.monitor.status(
                self.sequence.first_seq,
                now,
                self.announced,
                self.sockets.mend(now),
                start=self.parts_start.state,
                lacks=self.parts_start.lacks,
            )
        )


def open_or_wait(config: LineConfig, camera: str, role: Role, *, begun: bool) -> Camera:
    """Open the camera; raises PatchLineError.

    A run does not begin without its cameras. In a run that has begun, this process replaces one that died: it waits
    for a camera that is away, so that the line goes on for the other cameras.
    """
    while True:
        try:
            return open_camera(config, camera)
        except CameraError as error:
            if not begun or role.stop.wait(REOPEN_S):
                raise
            log.warning("camera %s does not open in a run that has begun, trying again: %s", camera, error)


def main(config: LineConfig, camera: str) -> None:
    """Run the capture process of one camera until the camera ends or a signal stops it."""
    role = start_role(f"capture-{camera}", config)
    cv2.setNumThreads(1)  # the cores belong to inference
    capture = CaptureProcess(config, camera, role)
    try:
        capture.run()
    finally:
        capture.close()
