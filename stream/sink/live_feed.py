"""The live feed: what the sink tells dashboards, after everything else, and without ever waiting for one."""

from __future__ import annotations

import time

from stream.core.parts import LedgerCounts
from stream.core.verdict import Verdict
from stream.line.config import LineConfig
from stream.sink.drift_monitor import DriftMonitor
from stream.sink.outputs import OutputHealth
from stream.sink.policy.alarms import Alarm
from stream.sink.policy.ledger import Ledger
from stream.sink.policy.peer_health import PeerHealth
from stream.sink.policy.throughput import RateLimiter, ThroughputWindow
from stream.store.records import AlarmRecord, Event
from stream.transport.broadcast import FeedServer
from stream.transport.messages import ActiveAlarm, DriftState, LineState, PeerState, SettledPart, StationState
from stream.transport.sockets import Sockets

_STATE_NS = 250_000_000
_WINDOW_NS = 10_000_000_000
#: Nobody sees more of them; those of bad parts are all sent.
_GOOD_PICTURES_NS = 1_000_000_000 // 15


class Feed:
    """The sink's side of the live feed."""

    def __init__(self, sockets: Sockets, config: LineConfig) -> None:
        """Listen on the feed's address; raises TransportError."""
        self._server = FeedServer(sockets, config.feed_address())
        self._config = config
        self._recent = {name: ThroughputWindow(_WINDOW_NS) for name in config.stations}
        self._pictures = {name: RateLimiter(_GOOD_PICTURES_NS) for name in config.stations}
        self._states = RateLimiter(_STATE_NS)
        self._wanted = False
        self._raised_ns: dict[tuple[str, str], int] = {}

    def part(self, event: Event, now_ns: int) -> None:
        """Publish a settled part."""
        self._recent[event.part.station].add(now_ns, event.total_ms)
        if not self._wanted:
            return
        with_picture = event.part.verdict is not Verdict.GOOD or self._pictures[event.part.station].allows(now_ns)
        grid = event.patch_distances if with_picture else None
        message = SettledPart(
            part=event.part,
            decision=event.decision,
            captured_realtime_ns=event.captured_realtime_ns,
            stages=event.stages,
            total_ms=event.total_ms,
            grid=(0, 0) if grid is None else (grid.shape[0], grid.shape[1]),
        )
        preview_jpeg = event.preview_jpeg if with_picture else b""
        self._server.send(message, [preview_jpeg, b"" if grid is None else grid.astype("<f2").tobytes()])

    def alarm(self, record: AlarmRecord) -> None:
        """Note by which moment an alarm is known in the event store."""
        self._raised_ns[record.kind, record.subject] = record.raised_realtime_ns

    def state(
        self,
        ledger: Ledger,
        drifts: DriftMonitor,
        health: list[PeerHealth],
        outputs: list[OutputHealth],
        alarms: list[Alarm],
        now_ns: int,
    ) -> None:
        """Publish how the line is, when it is time for it and somebody listens.

        Args:
            ledger, drifts: of all stations.
            health: of cameras and workers.
            outputs: actuators and encoders.
            alarms: those that stand.
            now_ns: the clock.
        """
        if not self._states.allows(now_ns):
            return
        self._wanted = self._server.has_subscribers()
        if not self._wanted:
            return
        now_realtime_ns = time.time_ns()
        message = LineState(
            line=self._config.line,
            at_realtime_ns=now_realtime_ns,
            stations={
                name: self._station(name, ledger.counts(name), drifts.state(name), now_ns) for name in ledger.stations
            },
            cameras={each.name: _peer(each) for each in health if each.kind == "camera"},
            workers={each.name: _peer(each) for each in health if each.kind == "worker"},
            actuators={each.name: PeerState(each.trouble is None, each.trouble or "") for each in outputs},
            alarms=[
                ActiveAlarm(
                    alarm.kind,
                    alarm.subject,
                    self._raised_ns.get((alarm.kind, alarm.subject), now_realtime_ns),
                    alarm.text,
                )
                for alarm in alarms
            ],
        )
        self._server.send(message)

    def _station(self, name: str, counts: LedgerCounts, drift: DriftState, now_ns: int) -> StationState:
        recent = self._recent[name]
        latency = recent.latency_ms(now_ns)
        return StationState(
            announced=counts.announced,
            good=counts.good,
            defect=counts.defect,
            uninspected={str(cause): count for cause, count in counts.uninspected.items()},
            pending=len(counts.pending),
            rate_hz=recent.rate_hz(now_ns),
            p50_ms=latency[0] if latency else None,
            p99_ms=latency[1] if latency else None,
            drift=drift,
        )


def _peer(health: PeerHealth) -> PeerState:
    return PeerState(health.up, health.text if health.down else "" if health.up else "not there")
