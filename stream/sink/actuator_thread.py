"""One thread for each actuator: fires each pulse on time or not at all."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from stream.core import metrics
from stream.core.clock import now_ns
from stream.devices.actuators.actuator import Actuator, RejectCommand
from stream.sink.policy.schedule import Heartbeat, Schedule

log = logging.getLogger(__name__)

#: Liveness check this long before each pulse: a dead or frozen output is sent nothing, so it has nothing to carry
#: out when it recovers.
CHECK_AHEAD_NS = 20_000_000
#: How long the heartbeat goes on after the last report that the line is healthy.
ALIVE_NS = 500_000_000
#: Limit for the acknowledgement of one heartbeat.
_BEAT_LIMIT_NS = 200_000_000


class Fired(NamedTuple):
    """Outcome of a command: acknowledged, failed (`error`), or too late and not fired (`fired_ns` is None)."""

    command: RejectCommand
    fired_ns: int | None
    acknowledged_ns: int | None
    error: str | None


class ActuatorThread(threading.Thread):
    """Owns one actuator; a slow or hanging actuator delays only its own commands."""

    def __init__(self, name: str, actuator: Actuator) -> None:
        """Take over an open actuator."""
        super().__init__(name=f"actuator-{name}", daemon=True)
        self.actuator_name = name
        self._actuator = actuator
        self._schedule = Schedule(CHECK_AHEAD_NS)
        self._heartbeat = Heartbeat(actuator.heartbeat_ns, clear_ns=2 * CHECK_AHEAD_NS)
        self._changed = threading.Condition()
        self._ending = False
        self._busy = False
        self._outcomes: deque[Fired] = deque()

    def plan(self, command: RejectCommand) -> None:
        """Schedule a command; returns at once."""
        with self._changed:
            self._schedule.add(command)
            self._changed.notify()

    def alive(self, now: int) -> None:
        """Keep the heartbeat going for a while: the line was healthy at `now`."""
        if self._actuator.heartbeat_ns is None:
            return
        with self._changed:
            was_stopped = self._heartbeat.next_ns is None
            self._heartbeat.keep_alive(now + ALIVE_NS)
            if was_stopped:
                self._changed.notify()

    def outcomes(self) -> list[Fired]:
        """Take the outcomes of commands since the last call."""
        return [self._outcomes.popleft() for _ in range(len(self._outcomes))]

    def planned(self) -> list[RejectCommand]:
        """Return the commands that wait for their moment."""
        with self._changed:
            return self._schedule.commands()

    @property
    def fault(self) -> str | None:
        """What is wrong with the output now, or None."""
        return self._actuator.fault if self.is_alive() else "its thread has ended, nothing is rejected"

    @property
    def idle(self) -> bool:
        """Whether nothing is planned or being fired and the output is off."""
        with self._changed:
            return not self._schedule and not self._schedule.on and not self._busy

    def end(self) -> list[RejectCommand]:
        """Stop the thread, leave the actuator in its safe state and return the commands not fired."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self.join(timeout=1.0)
        return self.planned()

    def run(self) -> None:
        """Sleep until the next edge, switch, record the outcome."""
        try:
            while self._wait():
                self._step()
        finally:
            self._call(self._actuator.close, "not closed")

    def _wait(self) -> bool:
        """Sleep until there is something to do; returns whether to go on."""
        with self._changed:
            self._busy = False
            while not self._ending:
                moments = [at for at in (self._schedule.next_ns, self._heartbeat.next_ns) if at is not None]
                left_ns = min(moments) - now_ns() if moments else 60_000_000_000
                if left_ns <= 0:
                    self._busy = True
                    return True
                self._changed.wait(min(60.0, left_ns / 1e9))
            return False

    def _step(self) -> None:
        with self._changed:
            upcoming = self._schedule.check_due(now_ns())
        if upcoming is not None and self._actuator.fault is None:
            until_ns = upcoming.planned_ns + upcoming.tolerance_ns // 2  # the other half is for the pulse
            self._call(lambda: self._actuator.check(until_ns), "liveness check failed")
        with self._changed:
            due = self._schedule.due(now_ns())
        for command in due.late:
            self._outcomes.append(Fired(command, None, None, None))
        for command in due.fire:
            self._fire(command)
        if due.end:
            self._call(self._actuator.end, "not switched off")
        self._beat()

    def _fire(self, command: RejectCommand) -> None:
        fired_ns = now_ns()
        if fired_ns > command.expires_ns:  # the one before it took too long
            self._outcomes.append(Fired(command, None, None, None))
            return
        metrics.REJECT_ERROR_SECONDS.labels(self.actuator_name).observe((fired_ns - command.planned_ns) / 1e9)
        with self._changed:
            self._schedule.started(command, fired_ns)
        error = self._call(lambda: self._actuator.begin(command, fired_ns), f"part {command.seq} not acknowledged")
        if error is not None:
            metrics.FAILED_REJECTS.labels(self.actuator_name).inc()
        self._outcomes.append(Fired(command, fired_ns, now_ns(), error))

    def _beat(self) -> None:
        now = now_ns()
        with self._changed:
            level = self._heartbeat.due(now, self._schedule.next_pulse_ns)
        if level is None or self._actuator.fault is not None:
            return
        beat = partial(self._actuator.beat, level, now + _BEAT_LIMIT_NS)
        self._call(beat, "heartbeat not acknowledged")

    def _call(self, method: Callable[[], None], problem: str) -> str | None:
        """Call a method of the actuator; log and return its error, if it raises one."""
        try:
            method()
        except OSError as error:
            log.error("actuator %s: %s: %s", self.actuator_name, problem, error)  # noqa: TRY400 - the output's fault
            return f"{type(error).__name__}: {error}"
        except BaseException as error:
            # Whatever an output's library raises, SystemExit included: the pulse counts as failed and the thread goes
            # on, because without it no further part would be rejected.
            log.exception("actuator %s: %s", self.actuator_name, problem)
            return f"{type(error).__name__}: {error}"
        return None
