"""All outputs of a line: its actuators, the encoders of its belts, and which part waits where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from stream.core import metrics
from stream.core.clock import local_clock, now_ns
from stream.core.parts import Settled
from stream.devices.actuators.actuator import RejectCommand
from stream.devices.actuators.verdict_channel import TellsVerdicts, VerdictReport
from stream.line.config import LineConfig
from stream.line.sections import RejectOptions
from stream.sink.actuator_thread import ActuatorThread
from stream.sink.encoder_thread import EncoderThread
from stream.sink.policy.decision import plan_pulse, track_pulse
from stream.sink.verdict_thread import VerdictThread
from stream.store.records import Event

#: So long an output may take to connect after the start before that is a fault.
_CONNECT_NS = 3_000_000_000


class PulseOutcome(NamedTuple):
    """What became of a pulse: acknowledged, failed (`error`), or not given because it would come too late.

    Attributes:
        actuator: its name.
        command: the pulse.
        late: why it was not given.
        error: why it was not acknowledged.
        acknowledged_ns: when it was.
    """

    actuator: str
    command: RejectCommand
    late: str | None = None
    error: str | None = None
    acknowledged_ns: int | None = None


class OutputHealth(NamedTuple):
    """How an actuator or encoder is: `alarm` is the kind of alarm for it, `trouble` says what is wrong, or is None."""

    alarm: Literal["actuator_fault", "encoder_fault"]
    name: str
    trouble: str | None

    @classmethod
    def of(cls, kind: Literal["actuator", "encoder"], name: str, trouble: str | None) -> OutputHealth:
        """Name who has the trouble in its text."""
        text = None if trouble is None else f"{kind} {name}: {trouble}"
        return cls("actuator_fault" if kind == "actuator" else "encoder_fault", name, text)


class Outputs:
    """The threads of all actuators and encoders; no call waits for a device."""

    def __init__(self, config: LineConfig) -> None:
        """Open everything; raises ConfigError."""
        self._rejects = {name: station.reject for name, station in config.stations.items() if station.reject}
        self._actuators = {name: ActuatorThread(name, options.open()) for name, options in config.actuators.items()}
        self._verdicts = {
            name: VerdictThread(name, options.open_verdicts())
            for name, options in config.actuators.items()
            if isinstance(options, TellsVerdicts)
        }
        self._encoders = {
            name: EncoderThread(
                name,
                options.open(),
                poll_ms=options.poll_ms,
                wrap=options.wrap,
                outputs={
                    station: self._actuators[reject.actuator]
                    for station, reject in self._rejects.items()
                    if reject.encoder == name
                },
            )
            for name, options in config.encoders.items()
        }
        self._connected_by_ns = now_ns() + _CONNECT_NS
        self._missed: dict[str, str] = {}
        for name in config.actuators:
            metrics.FAILED_REJECTS.labels(name)

    def start(self) -> None:
        """Start the threads."""
        for thread in (*self._actuators.values(), *self._verdicts.values(), *self._encoders.values()):
            thread.start()

    def plan(self, settled: Settled, reject: RejectOptions, pulse_ns: int, score: float | None) -> bool:
        """Hand a pulse to its actuator, or its part to its encoder; False when it cannot be given any more."""
        if reject.encoder is not None:
            tracked = track_pulse(settled, reject, pulse_ns, score)
            if tracked is not None:
                self._encoders[reject.encoder].follow(tracked)
            return tracked is not None or pulse_ns == 0
        command = plan_pulse(settled, reject, pulse_ns, score)
        if command is not None:
            self._actuators[reject.actuator].plan(command)
        return command is not None or pulse_ns == 0

    def tell(self, settled: Settled, event: Event) -> None:
        """Have the actuator of the part's station tell the verdict, if it is one that does."""
        reject = self._rejects.get(event.part.station)
        thread = None if reject is None else self._verdicts.get(reject.actuator)
        if thread is None:
            return
        thread.tell(
            VerdictReport(
                sequence=0,
                station=event.part.station,
                seq=event.part.seq,
                part_id=event.part.part_id,
                verdict=event.part.verdict,
                cause=event.part.cause,
                detail=event.part.detail,
                score=event.part.score,
                threshold=event.part.threshold,
                decision=event.decision,
                captured_realtime_ns=None if settled.part.captured_ns is None else event.captured_realtime_ns,
                settled_realtime_ns=settled.settled_ns + local_clock().realtime_offset_ns,
                settled_ns=settled.settled_ns,
            )
        )

    def plan_again(self, planned: Mapping[str, Sequence[RejectCommand]]) -> list[RejectCommand]:
        """Take over what an earlier sink had planned; returns what cannot be given any more."""
        late: list[RejectCommand] = []
        for name, commands in planned.items():
            for command in commands:
                reject = self._rejects.get(command.station)
                followed = command.planned_ns == 0 and reject is not None and reject.encoder is not None
                if followed and reject is not None and reject.encoder is not None:
                    self._encoders[reject.encoder].follow_again(command, reject.tolerance_counts or 1)
                elif name in self._actuators and now_ns() <= command.expires_ns:
                    self._actuators[name].plan(command)
                elif command.pulse_ns > 0:
                    late.append(command)
        return late

    def planned(self) -> dict[str, list[RejectCommand]]:
        """Return what waits for its moment or its count, by actuator."""
        # In this order what an encoder hands over meanwhile is seen twice, rather than not at all.
        followed = [encoder.followed() for encoder in self._encoders.values()]
        found = {name: actuator.planned() for name, actuator in self._actuators.items()}
        for name, commands in ((name, commands) for each in followed for name, commands in each.items()):
            there = {(command.station, command.seq) for command in found[name]}
            found[name] += [command for command in commands if (command.station, command.seq) not in there]
        return found

    def alive(self, now: int) -> None:
        """Let the heartbeats go on: the line was well at `now`."""
        for actuator in self._actuators.values():
            actuator.alive(now)

    def outcomes(self) -> list[PulseOutcome]:
        """Take out what became of the pulses since the last call."""
        found: list[PulseOutcome] = []
        for encoder in self._encoders.values():
            for command, reason in encoder.lost():
                if command.pulse_ns == 0:
                    continue
                name = self._rejects[command.station].actuator
                found.append(PulseOutcome(name, command, late=f"part {command.seq} could not be followed: {reason}"))
        for name, actuator in self._actuators.items():
            for fired in actuator.outcomes():
                command = fired.command
                if fired.fired_ns is None:
                    late = f"part {command.seq} would have been rejected too late"
                    found.append(PulseOutcome(name, command, late=late))
                elif fired.error is None:
                    self._missed.pop(name, None)
                    found.append(PulseOutcome(name, command, acknowledged_ns=fired.acknowledged_ns))
                else:
                    error = f"part {command.seq} of {command.station} not acknowledged: {fired.error}"
                    self._missed[name] = error
                    found.append(PulseOutcome(name, command, error=error))
        return found

    def standing(self, now: int) -> list[OutputHealth]:
        """Return how everything is: an output has trouble until a pulse is acknowledged again."""
        connecting = now < self._connected_by_ns
        found: list[OutputHealth] = []
        for name, actuator in self._actuators.items():
            fault = actuator.fault
            metrics.ACTUATOR_UP.labels(name).set(int(fault is None))
            found.append(OutputHealth.of("actuator", name, (None if connecting else fault) or self._missed.get(name)))
        for name, encoder in self._encoders.items():
            fault = encoder.fault
            metrics.ENCODER_UP.labels(name).set(int(fault is None))
            found.append(OutputHealth.of("encoder", name, None if connecting else fault))
        return found

    @property
    def idle(self) -> bool:
        """Whether nothing is planned or followed and every output is off."""
        encoders = all(encoder.idle for encoder in self._encoders.values())
        return encoders and all(actuator.idle for actuator in self._actuators.values())

    def end(self) -> list[RejectCommand]:
        """Stop the threads, leave every output in its safe state and return the pulses not given."""
        for thread in self._verdicts.values():
            thread.finish()
        for encoder in self._encoders.values():
            encoder.end()
        left = [command for actuator in self._actuators.values() for command in actuator.end()]
        for thread in self._verdicts.values():
            thread.end()
        return [command for command in left if command.pulse_ns > 0]
