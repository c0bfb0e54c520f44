"""Announcements and results → verdicts, rejects, alarms, events. In this order for every part:

match with the ledger → decide → actuate → count → alarm → record → publish. Drawing and disk are for
people and have a thread of their own; the first five never wait for them.
"""

from __future__ import annotations

import logging
import time

from stream import metrics
from stream.actuators.command import RejectCommand
from stream.bundle import live_bundle
from stream.clock import local_clock, now_ns, to_local_ns
from stream.config import LineConfig
from stream.drifts import Drifts
from stream.feed import Feed
from stream.line.alarms import Alarm, AlarmBoard
from stream.line.decision import Action, decide, pulse_ns_for
from stream.line.latency import stages_ms
from stream.line.ledger import MAX_EVENTS, Counts, Ledger, Part, SeqError, Settled
from stream.line.watch import Watch, blind
from stream.messages import (
    Announcement,
    CameraStatus,
    Cause,
    Clock,
    EndOfStream,
    ReloadStatus,
    Result,
    ToSink,
    Verdict,
    WorkerStatus,
)
from stream.outputs import Outcome, Outputs, Standing
from stream.processes.lifecycle import Role, start_role
from stream.recorder import PartRecord, Recorder, Snapshot
from stream.records import AlarmRecord, Answer, event_of
from stream.store import FILE_NAME, EventStore
from stream.transport import Received, SinkInbox, Sockets

log = logging.getLogger(__name__)

_TICK_NS = 50_000_000
_SNAPSHOT_NS = 50_000_000
#: A line whose verdicts come so much after their deadlines has no heartbeat.
_OVERDUE_NS = 100_000_000
#: An exposure this far in the future is a wrong clock, not its synchronisation.
_CLOCK_TOLERANCE_NS = 50_000_000


class Sink:
    """The state of the sink."""

    def __init__(self, config: LineConfig, role: Role) -> None:
        """Open store, actuators and sockets; continue the ledger. Raises PatchLineError."""
        self.config = config
        self.role = role
        self.drifts = Drifts(config, {name: live_bundle(station.bundle) for name, station in config.stations.items()})
        self.ledger = Ledger()
        self.board = AlarmBoard(config.alarms)
        self.store = EventStore.open(config.store.path / FILE_NAME)
        self.restored = {name: counts for name, counts in self.store.ledger().items() if name in config.stations}
        self.first_seq: dict[str, int] = {}
        self.outputs = Outputs(config)
        self.sockets = Sockets(config.transport.keys)
        self.inbox = SinkInbox(self.sockets, config.announcements_address(), config.results_address())
        self.recorder = Recorder(self.store, config.store)
        self.feed = Feed(self.sockets, config)
        limits = config.alarms
        self.watch = Watch(
            config.cameras,
            config.worker_names,
            since_ns=now_ns(),
            grace_ns=int(config.restarts.ready_s * 1e9),
            silent_ns={"camera": int(limits.camera_down_ms * 1e6), "worker": int(limits.worker_down_ms * 1e6)},
        )
        self.snapshot: dict[str, Counts] = {}
        self._next_snapshot_ns = 0
        self._next_look_ns = 0
        self._silent = False
        self._blind = True
        self._planned_before: dict[str, list[RejectCommand]] = {}
        self._announced_before = {
            name: self.restored[name].announced if name in self.restored else 0 for name in config.stations
        }
        for name, station in config.stations.items():
            metrics.begin_station(name, station.deadline_ms / 1e3, [str(action) for action in Action])

    def run(self) -> None:
        """Judge until told to stop; then until nothing is pending, planned or unwritten."""
        self.recorder.start()
        self.outputs.start()
        for station, counts in self.restored.items():
            lost = self.ledger.restore(station, counts, now_ns())
            self.first_seq[station] = self.ledger.counts(station).next_seq
            for settled in lost:
                self._settle(settled, None)
        for command in self.outputs.plan_again(self.store.planned()):
            self._late(command.station, f"part {command.seq} was to be rejected while no sink ran")
        self.role.ready()
        stop_by_ns: int | None = None
        while stop_by_ns is None or (now_ns() < stop_by_ns and not self._finished()):
            self._step()
            if stop_by_ns is None and self.role.stop.is_set():
                self.role.stopping()
                stop_by_ns = now_ns() + int((self.config.drain_s - 1.5) * 1e9)
        for settled in self.ledger.shut_down(now_ns()):
            self._settle(settled, None)
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
            self._settle(settled, None)
        in_time = all(now - settled.part.deadline_ns < _OVERDUE_NS for settled in expired)
        if in_time and not self._blind:
            self.outputs.alive(now)
        for outcome in self.outputs.outcomes():
            self._book_pulse(outcome)
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
                    anomaly_map, view = attachments if len(attachments) == 2 else (b"", b"")
                    self._answered(Answer(message, anomaly_map, view, now_ns()))
                case CameraStatus():
                    self._camera_reports(message)
                case WorkerStatus():
                    self._worker_reports(message)
                case EndOfStream():
                    self._camera_ended(message)
                case ReloadStatus(why=str(why)):
                    self._call(self.board.observe("reload_failed", message.station, True, now_ns(), why))
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
            self._call(self.board.observe("uninspected", part.station, bad=True, now_ns=now, text=str(error)))
            self._act(Settled(part, Verdict.UNINSPECTED, Cause.CAMERA_FAULT, str(error), now))
            raise
        far = message.seq - before > MAX_EVENTS
        for item in settled:
            self._settle(item, None)
            if far:  # the numbers between have no events of their own
                self.first_seq[part.station], far = message.seq, False

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
        self._settle(settled, answer)
        self.drifts.add(result)

    def _part(self, station: str, seq: int, captured_ns: int, clock: Clock, part_id: str | None, now: int) -> Part:
        """Return the part on this host's clock; a sender whose clock is wrong cannot postpone a deadline."""
        here = local_clock()
        captured: int | None = to_local_ns(captured_ns, clock, here)
        if captured is not None and captured > now + _CLOCK_TOLERANCE_NS:
            captured = None  # the sender's clock is wrong: no reject can be placed by it
        allowed_ns = int(self.config.stations[station].deadline_ms * 1e6)
        return Part(station, seq, captured, (now if captured is None else min(captured, now)) + allowed_ns, part_id)

    def _settle(self, settled: Settled, answer: Answer | None) -> None:
        """Everything that follows a verdict, in the order of its urgency."""
        action = self._act(settled, answer.result.score if answer else None)
        decided_ns = now_ns()
        stages, total_ms = self._observe(settled, answer, action, decided_ns)
        self._alarm(settled)
        self._record(settled, answer, action, stages, total_ms)

    def _act(self, settled: Settled, score: float | None = None) -> Action:
        """Decide, and hand a pulse to its actuator."""
        station = self.config.stations[settled.part.station]
        action = decide(settled.verdict, station.uninspected_policy)
        pulse_ns = None if station.reject is None else pulse_ns_for(action, settled.verdict, station.reject)
        if station.reject is None or pulse_ns is None:
            return action
        if self.outputs.plan(settled, station.reject, pulse_ns, score):
            self.board.observe("late_reject", settled.part.station, bad=False, now_ns=settled.settled_ns, text="")
        else:
            self._late(settled.part.station, f"part {settled.part.seq} ({settled.verdict}) was past the reject")
        return action

    def _observe(
        self, settled: Settled, answer: Answer | None, action: Action, decided_ns: int
    ) -> tuple[dict[str, float], float | None]:
        """Count a part; returns its milliseconds by stage and in total."""
        part = settled.part
        metrics.VERDICTS.labels(part.station, settled.verdict).inc()
        metrics.DECISIONS.labels(part.station, action).inc()
        if settled.cause is not None:
            metrics.UNINSPECTED.labels(part.station, settled.cause).inc()
        stages: dict[str, float] = {}
        if answer is not None:
            here = local_clock()
            stages = stages_ms(
                answer.result,
                answer.arrived_ns,
                decided_ns,
                lambda time_ns, clock: to_local_ns(time_ns, clock, here),
            )
            if answer.result.score is not None and answer.result.threshold:
                ratio = answer.result.score / answer.result.threshold
                metrics.SCORE_RATIO.labels(part.station).observe(ratio)
        for stage, milliseconds in stages.items():
            metrics.STAGE_SECONDS.labels(part.station, stage).observe(milliseconds / 1e3)
        if part.captured_ns is None:
            return stages, None
        total_ms = (decided_ns - part.captured_ns) / 1e6
        metrics.STAGE_SECONDS.labels(part.station, "total").observe(total_ms / 1e3)
        return stages, total_ms

    def _alarm(self, settled: Settled) -> None:
        part, now = settled.part, settled.settled_ns
        defect = settled.verdict is Verdict.DEFECT
        # A free-running camera skips frames by design.
        uninspected = settled.verdict is Verdict.UNINSPECTED and settled.cause is not Cause.SKIPPED
        self._call(self.board.observe("defect", part.station, defect, now, f"part {part.seq} is defective"))
        text = f"part {part.seq} was not inspected: {settled.cause} {settled.detail}"
        self._call(self.board.observe("uninspected", part.station, uninspected, now, text))

    def _record(
        self,
        settled: Settled,
        answer: Answer | None,
        action: Action,
        stages: dict[str, float],
        total_ms: float | None,
    ) -> None:
        """Remember a part, then publish it: nothing of the line waits for either."""
        part = settled.part
        age_ns = now_ns() - part.captured_ns if part.captured_ns is not None else 0
        event = event_of(
            settled, answer, str(action), stages=stages, total_ms=total_ms, captured_realtime_ns=time.time_ns() - age_ns
        )
        self.recorder.record(PartRecord(event, self.first_seq.setdefault(part.station, 0)))
        self.feed.part(event, settled.settled_ns)

    def _camera_reports(self, status: CameraStatus) -> None:
        if not self.watch.knows("camera", status.camera):
            return
        for station in self.config.stations_of(status.camera):
            if station not in self.ledger.stations:
                self.first_seq[station] = status.first_seq
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
                self._settle(settled, None)

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
                self._call(self.board.observe("camera_down", health.name, health.down, now, health.text))
            else:
                metrics.WORKER_UP.labels(health.name).set(int(health.up))
                self._call(self.board.observe("worker_down", health.name, health.down, now, health.text))
        standings = self.outputs.standing(now)
        for standing in standings:
            self._judge_output(standing, now)
        if drift := self.drifts.compare():
            self._call(alarm := self.board.observe("drift", drift.station, drift.drifting, now, drift.text))
            if alarm is not None and self.config.stations[drift.station].on_drift == "stop_line":
                self.role.stop_line(drift.text)
        fault = self.recorder.fault if self.recorder.is_alive() else "the recorder's thread has ended"
        self._call(self.board.observe("store_fault", "store", fault is not None, now, fault or ""))
        self.feed.state(self.ledger, self.drifts, peers, standings, self.board.active(now), now)

    def _judge_output(self, standing: Standing, now: int) -> None:
        """Alarm, and by policy the end of the line, for an output or encoder with trouble."""
        text = standing.trouble or ""
        alarm = self.board.observe(standing.alarm, standing.name, standing.trouble is not None, now, text)
        self._call(alarm)
        if alarm is not None and self.config.on_actuator_fault == "stop_line" and not self.role.stop.is_set():
            self.role.stop_line(text)

    def _book_pulse(self, outcome: Outcome) -> None:
        command = outcome.command
        if outcome.late is not None:
            self._late(command.station, outcome.late)
        elif outcome.error is not None:
            log.error("failed reject: actuator %s: %s", outcome.actuator, outcome.error)
            self._judge_output(Standing.of("actuator", outcome.actuator, outcome.error), now_ns())
        elif outcome.acknowledged_ns is not None:
            ack_s = (outcome.acknowledged_ns - command.planned_ns) / 1e9
            metrics.STAGE_SECONDS.labels(command.station, "actuate").observe(max(0.0, ack_s))

    def _late(self, station: str, text: str) -> None:
        metrics.LATE_REJECTS.labels(station).inc()
        log.warning("late reject: %s: %s", station, text)
        self._call(self.board.observe("late_reject", station, bad=True, now_ns=now_ns(), text=text))

    def _call(self, alarm: Alarm | None) -> None:
        """Raise an alarm: log, metric, event store."""
        if alarm is None:
            return
        log.error("ALARM %s %s: %s", alarm.kind, alarm.subject, alarm.text)
        metrics.ALARMS.labels(alarm.kind, alarm.subject).inc()
        record = AlarmRecord(time.time_ns(), alarm.kind, alarm.subject, alarm.text)
        self.recorder.record(record)
        self.feed.alarm(record)

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

    def _finished(self) -> bool:
        """Whether nothing is pending and no reject is planned."""
        pending = any(self.ledger.counts(name).pending for name in self.ledger.stations)
        return self._silent and not pending and self.outputs.idle

    def _close(self) -> None:
        for command in self.outputs.end():
            self._late(command.station, f"part {command.seq} was to be rejected after the line was stopped")
        for outcome in self.outputs.outcomes():
            self._book_pulse(outcome)
        self._take_snapshot(force=True)
        self.recorder.end(timeout_s=5.0)
        self.sockets.close()
        for station in self.ledger.stations:
            log.info("ledger %s: %s", station, self.ledger.counts(station).summary())


def main(config: LineConfig) -> None:
    """Run the sink until a signal stops it."""
    Sink(config, start_role("sink", config)).run()
