"""Everything that follows a verdict. In this order for every settled part:

decide → actuate → count → alarm → record → publish. Drawing, disk and the receivers of verdicts have their own
threads; the first four steps never wait for them.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from stream.core import metrics
from stream.core.clock import local_clock, now_ns, to_local_ns
from stream.core.parts import Settled
from stream.core.verdict import Cause, Verdict
from stream.line.config import LineConfig
from stream.sink.event import ReceivedResult, event_of
from stream.sink.live_feed import LiveFeed
from stream.sink.outputs import OutputHealth, Outputs, PulseOutcome
from stream.sink.policy.alarms import Alarm, AlarmBoard, AlarmKind
from stream.sink.policy.decision import Decision, decide, pulse_ns_for
from stream.sink.policy.latency import stages_ms
from stream.sink.recorder import Recorder
from stream.store.records import AlarmRecord

log = logging.getLogger(__name__)


class Settlement:
    """Acts on verdicts, counts the outcomes of pulses, and raises alarms.

    `board` holds the active alarms.
    """

    def __init__(
        self, config: LineConfig, outputs: Outputs, recorder: Recorder, feed: LiveFeed, stop_line: Callable[[str], None]
    ) -> None:
        """Act through `outputs`, write to `recorder`, publish to `feed`; `stop_line` is called with the reason."""
        self.board = AlarmBoard(config.alarms)
        self._config = config
        self._outputs = outputs
        self._recorder = recorder
        self._feed = feed
        self._stop_line = stop_line

    def settle(self, settled: Settled, received: ReceivedResult | None) -> None:
        """Do everything that follows a verdict, the most urgent first; `received` is None without a worker's result."""
        decision = self.act(settled, received.result.score if received else None)
        decided_ns = now_ns()
        stages, total_ms = self._count(settled, received, decision, decided_ns)
        self._alarm(settled)
        self._record(settled, received, decision, stages, total_ms)

    def act(self, settled: Settled, score: float | None = None) -> Decision:
        """Decide, and hand the pulse, if there is one, to its actuator."""
        station = self._config.stations[settled.part.station]
        decision = decide(settled.verdict, station.uninspected_policy)
        pulse_ns = None if station.reject is None else pulse_ns_for(decision, settled.verdict, station.reject)
        if station.reject is None or pulse_ns is None:
            return decision
        if self._outputs.plan(settled, station.reject, pulse_ns, score):
            self.board.observe("late_reject", settled.part.station, bad=False, now_ns=settled.settled_ns, text="")
        else:
            why = "was past the reject" if settled.part.captured_ns is not None else "has no known moment of exposure"
            self.late_reject(settled.part.station, f"part {settled.part.seq} ({settled.verdict}) {why}")
        return decision

    def _count(
        self, settled: Settled, received: ReceivedResult | None, decision: Decision, decided_ns: int
    ) -> tuple[dict[str, float], float | None]:
        """Count a part; returns (milliseconds by stage, milliseconds in total or None)."""
        part = settled.part
        metrics.VERDICTS.labels(part.station, settled.verdict).inc()
        metrics.DECISIONS.labels(part.station, decision).inc()
        if settled.within_spec:
            metrics.WITHIN_SPEC.labels(part.station).inc()
        if settled.cause is not None:
            metrics.UNINSPECTED.labels(part.station, settled.cause).inc()
        stages: dict[str, float] = {}
        if received is not None:
            here, result = local_clock(), received.result
            stages = stages_ms(
                result,
                received.arrived_ns,
                decided_ns,
                lambda time_ns, clock: to_local_ns(time_ns, clock, here),
            )
            # Below 0 a ratio says nothing.
            if result.score is not None and result.threshold is not None and result.threshold > 0:
                ratio = max(0.0, result.score / result.threshold)
                metrics.SCORE_RATIO.labels(part.station).observe(ratio)
            if (placement := result.frame.placement) is not None:
                offset_px = math.hypot(placement.dx_px, placement.dy_px)
                metrics.ALIGNMENT_OFFSET_PX.labels(part.station).observe(offset_px)
                metrics.ALIGNMENT_ANGLE_DEGREES.labels(part.station).observe(abs(placement.angle_deg))
                metrics.ALIGNMENT_MATCH.labels(part.station).set(placement.match)
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
        self.observe("defect", part.station, defect, now, f"part {part.seq} is defective")
        text = f"part {part.seq} was not inspected: {settled.cause} {settled.detail}"
        self.observe("uninspected", part.station, uninspected, now, text)

    def _record(
        self,
        settled: Settled,
        received: ReceivedResult | None,
        decision: Decision,
        stages: dict[str, float],
        total_ms: float | None,
    ) -> None:
        """Record a part and publish its verdict: nothing on the line waits for either."""
        part = settled.part
        age_ns = now_ns() - part.captured_ns if part.captured_ns is not None else 0
        event = event_of(
            settled,
            received,
            str(decision),
            stages=stages,
            total_ms=total_ms,
            captured_realtime_ns=time.time_ns() - age_ns,
            jpeg_quality=self._config.store.preview_jpeg_quality,
        )
        if received is not None and settled.verdict is not Verdict.GOOD and not event.preview_jpeg:
            metrics.DROPPED.labels("picture").inc()
        self._recorder.record(event)
        self._outputs.publish(settled, event)
        self._feed.publish_part(event, settled.settled_ns)

    def check_output(self, output: OutputHealth, now: int) -> None:
        """Raise an alarm for a faulty output or encoder; by the line's policy, stop the line."""
        text = output.fault or ""
        alarm = self.observe(output.alarm, output.name, output.fault is not None, now, text)
        if alarm is not None and self._config.on_actuator_fault == "stop_line":
            self._stop_line(text)

    def count_pulse(self, outcome: PulseOutcome) -> None:
        """Count the outcome of a pulse; one that was too late or not acknowledged raises an alarm."""
        command = outcome.command
        if outcome.late is not None:
            self.late_reject(command.station, outcome.late)
        elif outcome.error is not None:
            log.error("failed reject: actuator %s: %s", outcome.actuator, outcome.error)
            self.check_output(OutputHealth.of("actuator", outcome.actuator, outcome.error), now_ns())
        elif outcome.acknowledged_ns is not None:
            ack_s = (outcome.acknowledged_ns - command.planned_ns) / 1e9
            metrics.STAGE_SECONDS.labels(command.station, "actuate").observe(max(0.0, ack_s))

    def late_reject(self, station: str, reason: str) -> None:
        """Count a reject that was not fired, and raise an alarm."""
        metrics.LATE_REJECTS.labels(station).inc()
        log.warning("late reject: %s: %s", station, reason)
        self.observe("late_reject", station, bad=True, now_ns=now_ns(), text=reason)

    def observe(self, kind: AlarmKind, subject: str, bad: bool, now_ns: int, text: str) -> Alarm | None:
        """Take one observation; an alarm that it raises goes to log, metric, event store and feed, and is returned."""
        alarm = self.board.observe(kind, subject, bad, now_ns, text)
        if alarm is None:
            return None
        log.error("ALARM %s %s: %s", alarm.kind, alarm.subject, alarm.text)
        metrics.ALARMS.labels(alarm.kind, alarm.subject).inc()
        record = AlarmRecord(time.time_ns(), alarm.kind, alarm.subject, alarm.text)
        self._recorder.record(record)
        self._feed.note_alarm(record)
        return alarm
