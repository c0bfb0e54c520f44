"""The sink: announcements and results in; verdicts, rejects, alarms and events out.

One loop (`SinkProcess.run`): receive messages, match each part with the ledger, settle the parts whose deadline has
passed, keep the heartbeat, count the pulses, check cameras, workers and outputs, and snapshot the ledger for the
recorder. `Settlement` does what follows from a verdict. Nothing in this loop waits for a device or a disk.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from stream.core import metrics
from stream.core.clock import Clock, now_ns
from stream.core.log_lines import FROM_PEER, bounded, printable
from stream.core.parts import Part, Settled
from stream.core.verdict import Cause, Verdict
from stream.line.config import LineConfig
from stream.line.lifecycle import Role, start_role
from stream.line.unjudged_areas import unjudged_area
from stream.model.bundle import live_bundle
from stream.sink.camera_clocks import CameraClocks
from stream.sink.drift_monitor import DriftMonitor
from stream.sink.event import ReceivedResult
from stream.sink.health_checks import HealthChecks
from stream.sink.live_feed import LiveFeed
from stream.sink.outputs import Outputs
from stream.sink.policy.decision import Decision
from stream.sink.policy.early_results import EarlyResults
from stream.sink.policy.frame_match import FrameIdentity, FrameMatch
from stream.sink.policy.ledger import Ledger, SeqError
from stream.sink.policy.result_claims import contradiction_of
from stream.sink.policy.write_queue import Snapshot
from stream.sink.recorder import Recorder
from stream.sink.settlement import Settlement
from stream.store.event_reader import FILE_NAME
from stream.store.event_store import EventStore
from stream.transport.messages import (
    Announcement,
    CameraStatus,
    EndOfStream,
    ReloadStatus,
    Result,
    ToSink,
    UnreadFrame,
    WorkerStatus,
)
from stream.transport.pipeline import SinkInbox
from stream.transport.sockets import Received, Sockets

log = logging.getLogger(__name__)

#: Longest wait for a message, and interval of the health checks.
_TICK_NS = 50_000_000
#: Interval of the ledger's snapshots for the recorder.
_SNAPSHOT_NS = 50_000_000
#: Delay of a verdict after its deadline beyond which the line has no heartbeat.
_OVERDUE_NS = 100_000_000
#: An exposure further in the future than this means a wrong clock, not imprecise synchronisation.
_CLOCK_TOLERANCE_NS = 50_000_000
#: Part of `drain_s` kept for switching the outputs off and writing the store.
_CLOSE_S = 1.5


class SinkProcess:
    """The sink of one line: ledger, settlement, outputs, recorder and live feed around one loop."""

    def __init__(self, config: LineConfig, role: Role) -> None:
        """Open store, actuators and sockets; read the ledger to continue. Raises PatchLineError."""
        self.config = config
        self.role = role
        self.drift_monitor = DriftMonitor(
            config, {name: live_bundle(station.bundle) for name, station in config.stations.items()}
        )
        self.ledger = Ledger()
        self.store = EventStore.open(config.store.path / FILE_NAME)
        self.restored = {name: counts for name, counts in self.store.ledger().items() if name in config.stations}
        self.outputs = Outputs(config)
        self.sockets = Sockets(config.transport.keys)
        self.inbox = SinkInbox(
            self.sockets,
            config.announcements_address(),
            config.results_address(),
            {camera: config.frames_address(camera) for camera in config.cameras},
        )
        self.clocks = CameraClocks(config, self.inbox)
        self.frames = FrameMatch()
        self.early: EarlyResults[ReceivedResult] = EarlyResults()
        self.recorder = Recorder(self.store, config.store, partial(unjudged_area, config))
        self.feed = LiveFeed(self.sockets, config)
        self.settlement = Settlement(config, self.outputs, self.recorder, self.feed, self._stop_line)
        self.health = HealthChecks(
            config, self.settlement, self.outputs, self.recorder, self.sockets, self.clocks, self.drift_monitor
        )
        self._recorded = Snapshot({}, {})
        self._next_snapshot_ns = 0
        self._next_check_ns = 0
        self._inbox_empty = False
        #: Announced parts by station that the metric has already.
        self._announced_counted = {
            name: self.restored[name].announced if name in self.restored else 0 for name in config.stations
        }
        for name, station in config.stations.items():
            metrics.begin_station(name, station.deadline_ms / 1e3, [str(decision) for decision in Decision])

    def run(self) -> None:
        """Settle parts until asked to stop; then until nothing is pending, planned or unwritten."""
        self.recorder.start()
        self.outputs.start()
        self._continue_ledger()
        self.role.ready()
        stop_by_ns: int | None = None
        while stop_by_ns is None or (now_ns() < stop_by_ns and not self._finished()):
            self._step()
            if stop_by_ns is None and self.role.stop.is_set():
                self.role.stopping()
                stop_by_ns = now_ns() + int((self.config.drain_s - _CLOSE_S) * 1e9)
        self._book_early(self.early.all())
        for settled in self.ledger.shut_down(now_ns()):
            self.settlement.settle(settled, None)
        self._close()

    def _step(self) -> None:
        """One iteration of the loop."""
        messages = self.inbox.receive(self._timeout_ns())
        self._inbox_empty = not messages
        self.clocks.step()
        for name, why in self.inbox.take_refused().items():
            self._alarm_refused(name, why)
        for received in messages:
            self._handle(received)
        self._book_early(self.early.due(now_ns()))
        self._settle_overdue()
        for outcome in self.outputs.outcomes():
            self.settlement.count_pulse(outcome)
        self._check_health()
        self._take_snapshot()

    def _continue_ledger(self) -> None:
        """Continue an earlier sink's ledger; settle what was lost between the two, take over its planned rejects."""
        for station, counts in self.restored.items():
            lost = self.ledger.restore(station, counts, now_ns())
            for settled in lost:
                self.settlement.settle(settled, None)
        for command in self.outputs.restore(self.store.planned()):
            self.settlement.late_reject(command.station, f"part {command.seq} was to be rejected while no sink ran")

    def _timeout_ns(self) -> int:
        """Return how long to wait for a message: until the next deadline at the latest."""
        moments = (self.ledger.next_deadline_ns, self.early.next_ns, self.clocks.next_ns)
        due_ns = [moment_ns for moment_ns in moments if moment_ns is not None]
        return max(0, min(_TICK_NS, min(due_ns, default=now_ns() + _TICK_NS) - now_ns()))

    def _settle_overdue(self) -> None:
        """Settle the parts whose deadline has passed; the heartbeat goes on while that happens in time."""
        now = now_ns()
        overdue = self.ledger.expire(now)
        for settled in overdue:
            self.settlement.settle(settled, None)
        in_time = all(now - settled.part.deadline_ns < _OVERDUE_NS for settled in overdue)
        if in_time and not self.health.parts_may_be_missed:
            self.outputs.alive(now)

    def _handle(self, received: Received[ToSink]) -> None:
        message = received.message
        with self._guarded(message):
            match message:
                case Announcement():
                    self._on_announcement(message)
                case Result():
                    attachments = received.attachments
                    if len(attachments) != 3:  # its verdict is whole
                        metrics.MESSAGES_REFUSED.labels("results").inc()
                        attachments = [b"", b"", b""]
                    patch_distances, view, network_input = attachments
                    self._on_result(ReceivedResult(message, patch_distances, view, network_input, now_ns()))
                case CameraStatus():
                    self._on_camera_status(message)
                case WorkerStatus():
                    self._on_worker_status(message)
                case EndOfStream():
                    self._on_end_of_stream(message)
                case ReloadStatus():
                    self._on_reload_status(message)
                case UnreadFrame():
                    self._on_unread_frame(message)

    @contextmanager
    def _guarded(self, message: ToSink) -> Iterator[None]:
        """One message must not end the process that settles all other parts; its part's deadline still applies."""
        try:
            yield
        except SeqError as error:
            log.error("%s", error)  # noqa: TRY400 - a peer's fault, not ours
            self._alarm_refused("numbers", str(error))
        except Exception as error:
            metrics.MESSAGES_REFUSED.labels("sink").inc()
            log.exception("message cannot be handled: %s", type(message).__name__)
            self._alarm_refused("sink", f"a {type(message).__name__} cannot be handled: {error}")

    def _alarm_refused(self, subject: str, why: str) -> None:
        """Raise an alarm: a part may be hidden in a message that cannot be used."""
        text = f"a message was refused, a part in it has no verdict of its own: {bounded(printable(why), 300)}"
        self.settlement.observe("message_refused", subject, True, now_ns(), text)

    def _on_announcement(self, message: Announcement) -> None:
        if message.station not in self.config.stations:
            metrics.MESSAGES_REFUSED.labels("announcements").inc()
            log.error("announcement for unknown station %s", message.station, extra=FROM_PEER)
            self._alarm_refused("announcements", f"announcement for unknown station {message.station}")
            return
        self._book_early(self.early.below(message.station, message.seq))
        now = now_ns()
        self.health.announcements.announced(self.config.stations[message.station].camera)
        frame = FrameIdentity(message.captured_ns, message.epoch, message.bundle_sha256)
        difference = self.frames.announced(message.station, message.seq, frame)
        part = self._part(message.station, message.seq, message.captured_ns, message.clock, message.part_id, now)
        try:
            settled = self.ledger.announce(part, message.cause, message.detail, now)
        except SeqError as error:
            # The part exists, but its number cannot be booked: act by the station's policy, do not count it.
            self._on_refused_number(part.station, error)
            self.settlement.act(Settled(part, Verdict.UNINSPECTED, Cause.CAMERA_FAULT, str(error), now))
            raise
        if difference is not None:
            # The part has its verdict from a result for another frame: act by the station's policy.
            text = f"part {part.seq}: its result was for another frame: {difference}"
            metrics.MESSAGES_REFUSED.labels("results").inc()
            self.settlement.observe("uninspected", part.station, bad=True, now_ns=now, text=text)
            self.settlement.act(Settled(part, Verdict.UNINSPECTED, Cause.WORKER_ERROR, text, now))
        for item in settled:
            self.settlement.settle(item, None)
        early = self.early.take(message.station, message.seq)
        if early is not None:
            self._book(early, now)

    def _on_result(self, received: ReceivedResult) -> None:
        frame = received.result.frame
        if frame.station not in self.config.stations:
            metrics.MESSAGES_REFUSED.labels("results").inc()
            log.error("result for unknown station %s", frame.station, extra=FROM_PEER)
            self._alarm_refused("results", f"result for unknown station {frame.station}")
            return
        if not self.ledger.awaits_announcement(frame.station, frame.seq):
            self._book(received, received.arrived_ns)
            return
        self.health.announcements.unannounced_result(self.config.stations[frame.station].camera, received.arrived_ns)
        if self.early.holds(frame.station, frame.seq):
            metrics.STRAY_RESULTS.labels(frame.station).inc()
            return
        deadline_ns = self._part_of(received).deadline_ns
        self._book_early(self.early.hold(frame.station, frame.seq, received, received.arrived_ns, deadline_ns))

    def _book_early(self, results: list[ReceivedResult]) -> None:
        """Book results that wait for their announcements no longer."""
        for received in results:
            with self._guarded(received.result):
                self._book(received, now_ns())

    def _book(self, received: ReceivedResult, now: int) -> None:
        """Book a result in the ledger, and settle its part."""
        result, part = received.result, self._part_of(received)
        verdict, cause, detail = self._checked(result)
        try:
            settled = self.ledger.result(part, verdict, cause, detail, now, within_spec=result.within_spec)
        except SeqError as error:
            self._on_refused_number(part.station, error)
            raise
        if settled is None:
            metrics.STRAY_RESULTS.labels(part.station).inc()
            return
        self.settlement.settle(settled, received)
        self.drift_monitor.add(result)

    def _part_of(self, received: ReceivedResult) -> Part:
        frame = received.result.frame
        return self._part(frame.station, frame.seq, frame.captured_ns, frame.clock, frame.part_id, received.arrived_ns)

    def _checked(self, result: Result) -> tuple[Verdict, Cause | None, str]:
        """Return verdict, cause and detail of a result; UNINSPECTED unless it is about the frame that was announced."""
        frame = result.frame
        identity = FrameIdentity(frame.captured_ns, frame.epoch, frame.bundle_sha256)
        difference = self.frames.result(frame.station, frame.seq, identity)
        if difference is not None:
            metrics.MESSAGES_REFUSED.labels("results").inc()
            return Verdict.UNINSPECTED, Cause.WORKER_ERROR, f"the result is for another frame: {difference}"
        contradiction = contradiction_of(result, has_rules=bool(self.config.stations[frame.station].rules))
        if contradiction is not None:
            return Verdict.UNINSPECTED, Cause.WORKER_ERROR, contradiction
        if result.verdict is Verdict.UNINSPECTED:
            return Verdict.UNINSPECTED, result.cause or Cause.WORKER_ERROR, result.detail
        return result.verdict, result.cause, result.detail

    def _on_unread_frame(self, message: UnreadFrame) -> None:
        """Settle the part of a frame that a worker could not read."""
        if message.station not in self.config.stations:
            return
        now = now_ns()
        deadline_ns = now + int(self.config.stations[message.station].deadline_ms * 1e6)
        part = Part(message.station, message.seq, None, deadline_ns)
        detail = f"{message.worker} cannot read its frame: {message.detail}"
        settled = self.ledger.result(part, Verdict.UNINSPECTED, Cause.WORKER_ERROR, detail, now)
        if settled is not None:
            self.settlement.settle(settled, None)

    def _on_refused_number(self, station: str, error: SeqError) -> None:
        metrics.NUMBERS_REFUSED.labels(station).inc()
        self.settlement.observe("uninspected", station, bad=True, now_ns=now_ns(), text=str(error))

    def _part(self, station: str, seq: int, captured_ns: int, clock: Clock, part_id: str | None, now: int) -> Part:
        """Return the part on this host's clock; a sender whose clock is wrong cannot postpone a deadline.

        Its moment of exposure is None, so that no reject is placed by it, where the sender's clock cannot be trusted.
        """
        camera = self.config.stations[station].camera
        self.clocks.note(camera, clock, now)
        captured: int | None = self.clocks.to_local_ns(camera, captured_ns, clock)
        if not self.clocks.trusts(camera, clock):
            captured = None
        if captured is not None and captured > now + _CLOCK_TOLERANCE_NS:
            captured = None  # the sender's clock is wrong: it cannot place a reject
        allowed_ns = int(self.config.stations[station].deadline_ms * 1e6)
        return Part(station, seq, captured, (now if captured is None else min(captured, now)) + allowed_ns, part_id)

    def _on_camera_status(self, status: CameraStatus) -> None:
        if not self.health.peers.knows("camera", status.camera):
            return
        for station in self.config.stations_of(status.camera):
            if station not in self.ledger.stations:
                self.ledger.begin(station, status.first_seq)
        now, frame_ns = now_ns(), status.last_frame_ns
        self.clocks.note(status.camera, status.clock, now)
        if status.start != "waiting":  # else its frames may be no parts yet
            self.health.announcements.status(status.camera, frame_ns, now)
        self.health.peers.camera_reported(
            status.camera,
            pid=status.pid,
            fault=None if status.up else status.detail,
            last_frame_ns=None if frame_ns is None else self.clocks.to_local_ns(status.camera, frame_ns, status.clock),
            now_ns=now,
            waits=status.start == "waiting",
        )
        self.health.line_start.camera_reported(status.camera, status.start, status.lacks)
        self._begin_cameras()
        for station, next_seq in status.announced.items():
            # Announcements travel before the status over the same socket: what is missing now was lost.
            if station not in self.config.stations_of(status.camera):
                continue
            self._book_early(self.early.below(station, next_seq))
            try:
                missing = self.ledger.end(station, next_seq, now)
            except SeqError as error:
                self._alarm_refused("numbers", str(error))
                continue
            for settled in missing:
                self.settlement.settle(settled, None)

    def _on_worker_status(self, status: WorkerStatus) -> None:
        if self.health.peers.knows("worker", status.worker):
            self.health.peers.worker_reported(status.worker, pid=status.pid, ending=status.ending, now_ns=now_ns())
            self.health.worker_skews_ns[status.worker] = status.skews_ns
            self.health.line_start.worker_reported(status.worker)
            self._begin_cameras()

    def _begin_cameras(self) -> None:
        """Tell the cameras that wait for the line once it is ready; one that misses it reports again."""
        for camera in self.health.line_start.waiting:
            self.inbox.send_ready(camera)

    def _on_end_of_stream(self, message: EndOfStream) -> None:
        if not self.health.peers.knows("camera", message.camera):
            return
        self.health.peers.camera_ended(message.camera)
        self.health.line_start.camera_ended(message.camera)
        for station in self.config.stations_of(message.camera):
            self._book_early(self.early.below(station, message.next_seq))
            for settled in self.ledger.end(station, message.next_seq, now_ns()):
                self.settlement.settle(settled, None)

    def _on_reload_status(self, message: ReloadStatus) -> None:
        if message.reason is not None:
            self.settlement.observe("reload_failed", message.station, True, now_ns(), message.reason)
        elif message.station in self.config.stations:
            station = self.config.stations[message.station]
            self.drift_monitor.reload(message.station, station.bundle, station.drift.window)

    def _check_health(self) -> None:
        """Alarms, metrics and the live feed's state, every `_TICK_NS`."""
        now = now_ns()
        if now < self._next_check_ns:
            return
        self._next_check_ns = now + _TICK_NS
        peers, outputs, stop = self.health.check(now)
        if stop is not None:
            self._stop_line(stop)
        alarms = self.settlement.board.active(now)
        if self.feed.publish_state(self.ledger, self.drift_monitor, peers, outputs, alarms, now):
            self.inbox.send_watching()

    def _take_snapshot(self, *, force: bool = False) -> None:
        """Hand the ledger to the recorder when it has changed."""
        now = now_ns()
        if now < self._next_snapshot_ns and not force:
            return
        self._next_snapshot_ns = now + _SNAPSHOT_NS
        counts = {station: self.ledger.counts(station) for station in self.ledger.stations}
        for station, account in counts.items():
            metrics.PENDING.labels(station).set(len(account.pending))
            new = account.announced - self._announced_counted.get(station, account.announced)
            metrics.ANNOUNCED.labels(station).inc(max(0, new))
            self._announced_counted[station] = account.announced
        snapshot = Snapshot(counts, self.outputs.planned())
        if snapshot != self._recorded or force:
            self.recorder.record(snapshot)
            self._recorded = snapshot

    def _stop_line(self, reason: str) -> None:
        if not self.role.stop.is_set():
            self.role.stop_line(reason)

    def _finished(self) -> bool:
        """Whether nothing is pending and no reject is planned."""
        pending = any(self.ledger.counts(name).pending for name in self.ledger.stations)
        return self._inbox_empty and not pending and self.outputs.idle

    def _close(self) -> None:
        for command in self.outputs.end():
            self.settlement.late_reject(
                command.station, f"part {command.seq} was to be rejected after the line was stopped"
            )
        for outcome in self.outputs.outcomes():
            self.settlement.count_pulse(outcome)
        self._take_snapshot(force=True)
        self.recorder.end(timeout_s=5.0)
        self.sockets.close()
        for station in self.ledger.stations:
            log.info("ledger %s: %s", station, self.ledger.counts(station).summary())


def main(config: LineConfig) -> None:
    """Run the sink until a signal stops it."""
    SinkProcess(config, start_role("sink", config)).run()
