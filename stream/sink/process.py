"""Announcements and results → verdicts, rejects, alarms, events.

Every part is matched with the ledger here; `Settlement` does what follows from its verdict.
"""

from __future__ import annotations

import logging

from stream.core import metrics
from stream.core.clock import Clock, local_clock, now_ns, to_local_ns
from stream.core.parts import LedgerCounts, Part, Settled
from stream.core.verdict import Cause, Verdict
from stream.devices.actuators.actuator import RejectCommand
from stream.line.config import LineConfig
from stream.line.lifecycle import Role, start_role
from stream.model.bundle import live_bundle
from stream.sink.drift_monitor import DriftMonitor
from stream.sink.event import Answer
from stream.sink.live_feed import Feed
from stream.sink.outputs import Outputs
from stream.sink.policy.decision import Decision
from stream.sink.policy.ledger import MAX_EVENTS, Ledger, SeqError
from stream.sink.policy.peer_health import PeerMonitor, blind
from stream.sink.recorder import Recorder, Snapshot
from stream.sink.settlement import Settlement
from stream.store.event_store import FILE_NAME, EventStore
from stream.transport.messages import (
    Announcement,
    CameraStatus,
    EndOfStream,
    ReloadStatus,
    Result,
    ToSink,
    WorkerStatus,
)
from stream.transport.pipeline import SinkInbox
from stream.transport.sockets import Received, Sockets

log = logging.getLogger(__name__)

_TICK_NS = 50_000_000
_SNAPSHOT_NS = 50_000_000
#: A line whose verdicts come so much after their deadlines has no heartbeat.
_OVERDUE_NS = 100_000_000
#: An exposure this far in the future is a wrong clock, not its synchronisation.
_CLOCK_TOLERANCE_NS = 50_000_000


class SinkProcess:
    """The state of the sink."""

    def __init__(self, config: LineConfig, role: Role) -> None:
        """Open store, actuators and sockets; continue the ledger. Raises PatchLineError."""
        self.config = config
        self.role = role
        self.drifts = DriftMonitor(
            config, {name: live_bundle(station.bundle) for name, station in config.stations.items()}
        )
        self.ledger = Ledger()
        self.store = EventStore.open(config.store.path / FILE_NAME)
        self.restored = {name: counts for name, counts in self.store.ledger().items() if name in config.stations}
        self.outputs = Outputs(config)
        self.sockets = Sockets(config.transport.keys)
        self.inbox = SinkInbox(self.sockets, config.announcements_address(), config.results_address())
        self.recorder = Recorder(self.store, config.store)
        self.feed = Feed(self.sockets, config)
        self.settlement = Settlement(config, self.outputs, self.recorder, self.feed, self._stop_line)
        limits = config.alarms
        self.watch = PeerMonitor(
            config.cameras,
            config.worker_names,
            since_ns=now_ns(),
            grace_ns=int(config.restarts.ready_s * 1e9),
            silent_ns={"camera": int(limits.camera_down_ms * 1e6), "worker": int(limits.worker_down_ms * 1e6)},
        )
        self.snapshot: dict[str, LedgerCounts] = {}
        self._next_snapshot_ns = 0
        self._next_look_ns = 0
        self._silent = False
        self._blind = True
        self._planned_before: dict[str, list[RejectCommand]] = {}
        self._announced_before = {
            name: self.restored[name].announced if name in self.restored else 0 for name in config.stations
        }
        for name, station in config.stations.items():
            metrics.begin_station(name, station.deadline_ms / 1e3, [str(decision) for decision in Decision])

    def run(self) -> None:
        """Judge until told to stop; then until nothing is pending, planned or unwritten."""
        self.recorder.start()
        self.outputs.start()
        for station, counts in self.restored.items():
            lost = self.ledger.restore(station, counts, now_ns())
            self.settlement.first_seq[station] = self.ledger.counts(station).next_seq
            for settled in lost:
                self.settlement.settle(settled, None)
        for command in self.outputs.plan_again(self.store.planned()):
            self.settlement.late(command.station, f"part {command.seq} was to be rejected while no sink ran")
        self.role.ready()
        stop_by_ns: int | None = None
        while stop_by_ns is None or (now_ns() < stop_by_ns and not self._finished()):
            self._step()
            if stop_by_ns is None and self.role.stop.is_set():
                self.role.stopping()
                stop_by_ns = now_ns() + int((self.config.drain_s - 1.5) * 1e9)
        for settled in self.ledger.shut_down(now_ns()):
            self.settlement.settle(settled, None)
        self._close()

    def _step(self) -> None:
        """One turn: hear, judge what is overdue, look after cameras, workers and actuators."""
        heard = self.inbox.receive(self._patience_ns())
        self._silent = not heard
        for received in heard:
            self._hear(received)
        now = now_ns()
        expired = self.ledger.expire(now)
        for settled in expired:
            self.settlement.settle(settled, None)
        in_time = all(now - settled.part.deadline_ns < _OVERDUE_NS for settled in expired)
        if in_time and not self._blind:
            self.outputs.alive(now)
        for outcome in self.outputs.outcomes():
            self.settlement.book_pulse(outcome)
        self._look_around()
        self._take_snapshot()

    def _patience_ns(self) -> int:
        """Sleep until something comes, but no longer than to the next deadline."""
        deadline_ns = self.ledger.next_deadline_ns
        return _TICK_NS if deadline_ns is None else max(0, min(_TICK_NS, deadline_ns - now_ns()))

    def _hear(self, received: Received[ToSink]) -> None:
        message = received.message
        try:
            match message:
                case Announcement():
                    self._announced(message)
                case Result():
                    attachments = received.attachments
                    patch_distances, preview_jpeg, network_input = (
                        attachments if len(attachments) == 3 else (b"", b"", b"")
                    )
                    self._answered(Answer(message, patch_distances, preview_jpeg, network_input, now_ns()))
                case CameraStatus():
                    self._camera_reports(message)
                case WorkerStatus():
                    self._worker_reports(message)
                case EndOfStream():
                    self._camera_ended(message)
                case ReloadStatus(reason=str(reason)):
                    self.settlement.observe("reload_failed", message.station, True, now_ns(), reason)
                case ReloadStatus() if message.station in self.config.stations:
                    station = self.config.stations[message.station]
                    self.drifts.renew(message.station, station.bundle, station.drift.window)
        except SeqError as error:
            log.error("%s", error)  # noqa: TRY400 - a peer's fault, not ours
        except Exception:
            # One message must not end the process that keeps all others' promises; its part's deadline stands.
            metrics.WIRE_ERRORS.labels("sink").inc()
            log.exception("message not understood: %s", type(message).__name__)

    def _announced(self, message: Announcement) -> None:
        if message.station not in self.config.stations:
            metrics.WIRE_ERRORS.labels("announcements").inc()
            log.error("announcement for unknown station %s", message.station)
            return
        now = now_ns()
        part = self._part(message.station, message.seq, message.captured_ns, message.clock, message.part_id, now)
        before = self.ledger.next_seq(part.station)
        try:
            settled = self.ledger.announce(part, message.cause, message.detail, now)
        except SeqError as error:
            # A part is there, but its number has had a verdict: it leaves the belt by policy, uncounted.
            metrics.SEQ_REUSED.labels(part.station).inc()
            self.settlement.observe("uninspected", part.station, bad=True, now_ns=now, text=str(error))
            self.settlement.act(Settled(part, Verdict.UNINSPECTED, Cause.CAMERA_FAULT, str(error), now))
            raise
        far = message.seq - before > MAX_EVENTS
        for item in settled:
            self.settlement.settle(item, None)
            if far:  # the numbers between have no events of their own
                self.settlement.first_seq[part.station], far = message.seq, False

    def _answered(self, answer: Answer) -> None:
        frame = answer.result.frame
        if frame.station not in self.config.stations:
            metrics.WIRE_ERRORS.labels("results").inc()
            log.error("result for unknown station %s", frame.station)
            return
        part = self._part(frame.station, frame.seq, frame.captured_ns, frame.clock, frame.part_id, answer.arrived_ns)
        result = answer.result
        cause = result.cause
        if result.verdict is Verdict.UNINSPECTED and cause is None:
            cause = Cause.WORKER_ERROR
        settled = self.ledger.result(part, result.verdict, cause, result.detail, answer.arrived_ns)
        if settled is None:
            metrics.STRAY_RESULTS.labels(frame.station).inc()
            return
        self.settlement.settle(settled, answer)
        self.drifts.add(result)

    def _part(self, station: str, seq: int, captured_ns: int, clock: Clock, part_id: str | None, now: int) -> Part:
        """Return the part on this host's clock; a sender whose clock is wrong cannot postpone a deadline."""
        here = local_clock()
        captured: int | None = to_local_ns(captured_ns, clock, here)
        if captured is not None and captured > now + _CLOCK_TOLERANCE_NS:
            captured = None  # the sender's clock is wrong: no reject can be placed by it
        allowed_ns = int(self.config.stations[station].deadline_ms * 1e6)
        return Part(station, seq, captured, (now if captured is None else min(captured, now)) + allowed_ns, part_id)

    def _camera_reports(self, status: CameraStatus) -> None:
        if not self.watch.knows("camera", status.camera):
            return
        for station in self.config.stations_of(status.camera):
            if station not in self.ledger.stations:
                self.settlement.first_seq[station] = status.first_seq
                self.ledger.begin(station, status.first_seq)
        here, frame_ns = local_clock(), status.last_frame_ns
        self.watch.camera_heard(
            status.camera,
            pid=status.pid,
            fault=None if status.up else status.detail,
            last_frame_ns=None if frame_ns is None else to_local_ns(frame_ns, status.clock, here),
            now_ns=now_ns(),
        )
        offset_ns = here.realtime_offset_ns - status.clock.realtime_offset_ns
        metrics.CLOCK_OFFSET_SECONDS.labels(status.camera).set(offset_ns / 1e9)

    def _worker_reports(self, status: WorkerStatus) -> None:
        if self.watch.knows("worker", status.worker):
            self.watch.worker_heard(status.worker, pid=status.pid, ending=status.ending, now_ns=now_ns())

    def _camera_ended(self, message: EndOfStream) -> None:
        if not self.watch.knows("camera", message.camera):
            return
        self.watch.camera_ended(message.camera)
        for station in self.config.stations_of(message.camera):
            for settled in self.ledger.end(station, message.next_seq, now_ns()):
                self.settlement.settle(settled, None)

    def _look_around(self) -> None:
        """Alarm and metric for every camera and worker that is silent or faulty, and for the store."""
        now = now_ns()
        if now < self._next_look_ns:
            return
        self._next_look_ns = now + _TICK_NS
        peers = self.watch.health(now)
        self._blind = blind(peers, self._blind)
        for health in peers:
            if health.kind == "camera":
                metrics.CAMERA_UP.labels(health.name).set(int(health.up))
                if health.last_frame_age_ns is not None:
                    metrics.LAST_FRAME_AGE_SECONDS.labels(health.name).set(health.last_frame_age_ns / 1e9)
                self.settlement.observe("camera_down", health.name, health.down, now, health.text)
            else:
                metrics.WORKER_UP.labels(health.name).set(int(health.up))
                self.settlement.observe("worker_down", health.name, health.down, now, health.text)
        standings = self.outputs.standing(now)
        for standing in standings:
            self.settlement.judge_output(standing, now)
        if drift := self.drifts.compare():
            alarm = self.settlement.observe("drift", drift.station, drift.drifting, now, drift.text)
            if alarm is not None and self.config.stations[drift.station].on_drift == "stop_line":
                self.role.stop_line(drift.text)
        fault = self.recorder.fault if self.recorder.is_alive() else "the recorder's thread has ended"
        self.settlement.observe("store_fault", "store", fault is not None, now, fault or "")
        self.feed.state(self.ledger, self.drifts, peers, standings, self.settlement.board.active(now), now)

    def _take_snapshot(self, *, force: bool = False) -> None:
        """Hand the ledger to the recorder when it has changed."""
        now = now_ns()
        if now < self._next_snapshot_ns and not force:
            return
        self._next_snapshot_ns = now + _SNAPSHOT_NS
        counts = {station: self.ledger.counts(station) for station in self.ledger.stations}
        planned = self.outputs.planned()
        for station, account in counts.items():
            metrics.PENDING.labels(station).set(len(account.pending))
            news = account.announced - self._announced_before.get(station, account.announced)
            metrics.ANNOUNCED.labels(station).inc(max(0, news))
            self._announced_before[station] = account.announced
        changed = (counts, planned) != (self.snapshot, self._planned_before) or force
        # A snapshot that the recorder's full queue has lost is offered again.
        if changed and self.recorder.record(Snapshot(counts, planned)):
            self.snapshot, self._planned_before = counts, planned

    def _stop_line(self, reason: str) -> None:
        if not self.role.stop.is_set():
            self.role.stop_line(reason)

    def _finished(self) -> bool:
        """Whether nothing is pending and no reject is planned."""
        pending = any(self.ledger.counts(name).pending for name in self.ledger.stations)
        return self._silent and not pending and self.outputs.idle

    def _close(self) -> None:
        for command in self.outputs.end():
            self.settlement.late(command.station, f"part {command.seq} was to be rejected after the line was stopped")
        for outcome in self.outputs.outcomes():
            self.settlement.book_pulse(outcome)
        self._take_snapshot(force=True)
        self.recorder.end(timeout_s=5.0)
        self.sockets.close()
        for station in self.ledger.stations:
            log.info("ledger %s: %s", station, self.ledger.counts(station).summary())


def main(config: LineConfig) -> None:
    """Run the sink until a signal stops it."""
    SinkProcess(config, start_role("sink", config)).run()
