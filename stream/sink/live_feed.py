"""The live feed: the sink publishes parts and the line's state for dashboards, last of all, and never waits for one."""

from __future__ import annotations

import time

from stream.core.parts import LedgerCounts
from stream.core.rate_limiter import RateLimiter
from stream.line.config import LineConfig
from stream.sink.drift_monitor import DriftMonitor
from stream.sink.outputs import OutputHealth
from stream.sink.policy.alarms import Alarm
from stream.sink.policy.ledger import Ledger
from stream.sink.policy.peer_health import PeerHealth
from stream.sink.policy.throughput import ThroughputWindow
from stream.store.records import AlarmRecord, Event
from stream.transport.broadcast import FeedServer
from stream.transport.messages import ActiveAlarm, DriftState, LineState, PeerState, SettledPart, StationState
from stream.transport.sockets import Sockets

#: Interval of the line's state.
_STATE_NS = 250_000_000
#: Window of the stations' rates and latencies.
_WINDOW_NS = 10_000_000_000


class LiveFeed:
    """The sink's side of the live feed."""

    def __init__(self, sockets: Sockets, config: LineConfig) -> None:
        """Listen on the feed's address; raises TransportError."""
        self._server = FeedServer(sockets, config.feed_address())
        self._config = config
        self._throughput = {name: ThroughputWindow(_WINDOW_NS) for name in config.stations}
        self._states = RateLimiter(_STATE_NS)
        self._has_listeners = False
        self._raised_realtime_ns: dict[tuple[str, str], int] = {}

    def publish_part(self, event: Event, now_ns: int) -> None:
        """Publish a settled part."""
        self._throughput[event.part.station].add(now_ns, event.total_ms)
        if not self._has_listeners:
            return
        # Without a preview there is nothing over which distances could be drawn.
        grid = event.patch_distances if event.preview_jpeg else None
        message = SettledPart(
            part=event.part,
            decision=event.decision,
            captured_realtime_ns=event.captured_realtime_ns,
            stages=event.stages,
            total_ms=event.total_ms,
            placement=event.placement,
            bundle_sha256=event.bundle_sha256,
            grid=(0, 0) if grid is None else (grid.shape[0], grid.shape[1]),
        )
        self._server.send(message, [event.preview_jpeg, b"" if grid is None else grid.astype("<f2").tobytes()])

    def note_alarm(self, record: AlarmRecord) -> None:
        """Note when an alarm was raised according to its record in the event store."""
        self._raised_realtime_ns[record.kind, record.subject] = record.raised_realtime_ns

    def publish_state(
        self,
        ledger: Ledger,
        drift_monitor: DriftMonitor,
        peers: list[PeerHealth],
        outputs: list[OutputHealth],
        alarms: list[Alarm],
        now_ns: int,
    ) -> bool:
        """Publish the state of the line, at most every `_STATE_NS` and only while somebody listens; returns whether.

        Args:
            ledger, drift_monitor: of all stations.
            peers: health of cameras and workers.
            outputs: health of actuators and encoders.
            alarms: the active ones.
            now_ns: the clock.
        """
        if not self._states.allows(now_ns):
            return False
        self._has_listeners = self._server.has_subscribers()
        if not self._has_listeners:
            return False
        now_realtime_ns = time.time_ns()
        message = LineState(
            line=self._config.line,
            at_realtime_ns=now_realtime_ns,
            stations={
                name: self._station(name, ledger.counts(name), drift_monitor.state(name), now_ns)
                for name in ledger.stations
            },
            cameras={peer.name: _peer_state(peer) for peer in peers if peer.kind == "camera"},
            workers={peer.name: _peer_state(peer) for peer in peers if peer.kind == "worker"},
            actuators={output.name: PeerState(output.fault is None, output.fault or "") for output in outputs},
            alarms=[
                ActiveAlarm(
                    alarm.kind,
                    alarm.subject,
                    self._raised_realtime_ns.get((alarm.kind, alarm.subject), now_realtime_ns),
                    alarm.text,
                )
                for alarm in alarms
            ],
        )
        self._server.send(message)
        return True

    def _station(self, name: str, counts: LedgerCounts, drift: DriftState, now_ns: int) -> StationState:
        throughput = self._throughput[name]
        latency = throughput.latency_ms(now_ns)
        return StationState(
            announced=counts.announced,
            good=counts.good,
            defect=counts.defect,
            within_spec=counts.within_spec,
            uninspected={str(cause): count for cause, count in counts.uninspected.items()},
            pending=len(counts.pending),
            rate_hz=throughput.rate_hz(now_ns),
            p50_ms=latency[0] if latency else None,
            p99_ms=latency[1] if latency else None,
            drift=drift,
        )


def _peer_state(peer: PeerHealth) -> PeerState:
    return PeerState(peer.up, "" if peer.up else peer.text)
