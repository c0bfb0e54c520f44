"""All outputs of a line: actuators, encoders and verdict channels, each with its own thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from stream.core import metrics
from stream.core.clock import local_clock, now_ns
from stream.core.parts import Settled
from stream.devices.actuators.actuator import RejectCommand
from stream.devices.actuators.verdict_channel import PublishesVerdicts, VerdictReport
from stream.line.config import LineConfig
from stream.line.sections import RejectOptions
from stream.sink.actuator_thread import ActuatorThread
from stream.sink.encoder_thread import EncoderThread
from stream.sink.policy.decision import plan_pulse, track_pulse
from stream.sink.verdict_thread import VerdictThread
from stream.store.records import Event

#: Grace period for an output's first connection.
_CONNECT_NS = 3_000_000_000


class PulseOutcome(NamedTuple):
    """Outcome of a pulse: acknowledged, failed (`error`), or not fired because it was too late (`late`).

    Attributes:
        actuator: its name.
        command: the pulse.
        late: why it was not fired.
        error: why it counts as not acknowledged.
        acknowledged_ns: moment of the acknowledgement.
    """

    actuator: str
    command: RejectCommand
    late: str | None = None
    error: str | None = None
    acknowledged_ns: int | None = None


class OutputHealth(NamedTuple):
    """Health of an actuator or encoder: `alarm` is the kind of its alarm, `fault` says what is wrong, or is None."""

    alarm: Literal["actuator_fault", "encoder_fault"]
    name: str
    fault: str | None

    @classmethod
    def of(cls, kind: Literal["actuator", "encoder"], name: str, fault: str | None) -> OutputHealth:
        """Put the device's kind and name before its fault."""
        text = None if fault is None else f"{kind} {name}: {fault}"
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
            if isinstance(options, PublishesVerdicts)
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
        #: Error of the last pulse that was not acknowledged, by actuator, until one is.
        self._unacknowledged: dict[str, str] = {}
        for name in config.actuators:
            metrics.FAILED_REJECTS.labels(name)

    def start(self) -> None:
        """Start the threads."""
        for thread in (*self._actuators.values(), *self._verdicts.values(), *self._encoders.values()):
            thread.start()

    def plan(self, settled: Settled, reject: RejectOptions, pulse_ns: int, score: float | None) -> bool:
        """Hand a pulse to its actuator, or its part to its encoder; returns False when it is too late for that."""
        if reject.encoder is not None:
            tracked = track_pulse(settled, reject, pulse_ns, score)
            if tracked is not None:
                self._encoders[reject.encoder].track(tracked)
            return tracked is not None or pulse_ns == 0
        command = plan_pulse(settled, reject, pulse_ns, score)
        if command is not None:
            self._actuators[reject.actuator].plan(command)
        return command is not None or pulse_ns == 0

    def publish(self, settled: Settled, event: Event) -> None:
        """Publish a verdict on the channel of its station's actuator, if that has one."""
        reject = self._rejects.get(event.part.station)
        thread = None if reject is None else self._verdicts.get(reject.actuator)
        if thread is None:
            return
        thread.publish(
            VerdictReport(
                sequence=0,
                part=event.part,
                decision=event.decision,
                captured_realtime_ns=None if settled.part.captured_ns is None else event.captured_realtime_ns,
                settled_realtime_ns=settled.settled_ns + local_clock().realtime_offset_ns,
                settled_ns=settled.settled_ns,
            )
        )

    def restore(self, planned: Mapping[str, Sequence[RejectCommand]]) -> list[RejectCommand]:
        """Take over the pulses planned by an earlier sink, by actuator; returns those that are too late."""
        late: list[RejectCommand] = []
        for name, commands in planned.items():
            for command in commands:
                reject = self._rejects.get(command.station)
                if command.planned_ns == 0 and reject is not None and reject.encoder is not None:
                    self._encoders[reject.encoder].restore(command, reject.tolerance_counts or 1)
                elif name in self._actuators and now_ns() <= command.expires_ns:
                    self._actuators[name].plan(command)
                elif command.pulse_ns > 0:
                    late.append(command)
        return late

    def planned(self) -> dict[str, list[RejectCommand]]:
        """Return the pulses that wait for their moment or count, by actuator."""
        # Encoders first: a pulse that one hands over meanwhile is then seen twice, rather than not at all.
        tracked_by_encoder = [encoder.tracked() for encoder in self._encoders.values()]
        planned = {name: actuator.planned() for name, actuator in self._actuators.items()}
        for tracked in tracked_by_encoder:
            for name, commands in tracked.items():
                parts = {(command.station, command.seq) for command in planned[name]}
                planned[name] += [command for command in commands if (command.station, command.seq) not in parts]
        return planned

    def alive(self, now: int) -> None:
        """Keep the heartbeats going: the line was healthy at `now`."""
        for actuator in self._actuators.values():
            actuator.alive(now)

    def outcomes(self) -> list[PulseOutcome]:
        """Take the outcomes of pulses since the last call."""
        outcomes: list[PulseOutcome] = []
        for encoder in self._encoders.values():
            for command, reason in encoder.lost():
                if command.pulse_ns == 0:
                    continue
                name = self._rejects[command.station].actuator
                late = f"part {command.seq} could not be tracked: {reason}"
                outcomes.append(PulseOutcome(name, command, late=late))
        for name, actuator in self._actuators.items():
            for fired in actuator.outcomes():
                command = fired.command
                if fired.fired_ns is None:
                    late = f"part {command.seq} would have been rejected too late"
                    outcomes.append(PulseOutcome(name, command, late=late))
                elif fired.error is None:
                    self._unacknowledged.pop(name, None)
                    outcomes.append(PulseOutcome(name, command, acknowledged_ns=fired.acknowledged_ns))
                else:
                    error = f"part {command.seq} of {command.station} not acknowledged: {fired.error}"
                    self._unacknowledged[name] = error
                    outcomes.append(PulseOutcome(name, command, error=error))
        return outcomes

    def health(self, now: int) -> list[OutputHealth]:
        """Return the health of all outputs and encoders; a failed pulse is a fault until one is acknowledged."""
        connecting = now < self._connected_by_ns
        health: list[OutputHealth] = []
        for name, actuator in self._actuators.items():
            fault = actuator.fault
            metrics.ACTUATOR_UP.labels(name).set(int(fault is None))
            shown = None if connecting else fault
            health.append(OutputHealth.of("actuator", name, shown or self._unacknowledged.get(name)))
        for name, encoder in self._encoders.items():
            fault = encoder.fault
            metrics.ENCODER_UP.labels(name).set(int(fault is None))
            health.append(OutputHealth.of("encoder", name, None if connecting else fault))
        return health

    @property
    def idle(self) -> bool:
        """Whether nothing is planned or tracked and every output is off."""
        encoders = all(encoder.idle for encoder in self._encoders.values())
        return encoders and all(actuator.idle for actuator in self._actuators.values())

    def end(self) -> list[RejectCommand]:
        """Stop the threads, leave every output in its safe state and return the pulses not fired."""
        for thread in self._verdicts.values():
            thread.finish()
        for encoder in self._encoders.values():
            encoder.end()
        left = [command for actuator in self._actuators.values() for command in actuator.end()]
        for thread in self._verdicts.values():
            thread.end()
        return [command for command in left if command.pulse_ns > 0]
