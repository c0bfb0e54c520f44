"""One thread for each actuator: fires what is due, on time or not at all."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import NamedTuple

from stream import metrics
from stream.actuators.command import Actuator, RejectCommand
from stream.clock import now_ns
from stream.line.schedule import Schedule

log = logging.getLogger(__name__)


class Fired(NamedTuple):
    """What became of a command: acknowledged, failed (`error`), or too late and not fired."""

    command: RejectCommand
    fired_ns: int | None
    acknowledged_ns: int | None
    error: str | None


class ActuatorThread(threading.Thread):
    """Owns one actuator; a slow or hanging actuator delays nothing but its own commands."""

    def __init__(self, name: str, actuator: Actuator) -> None:
        """Take over an open actuator."""
        super().__init__(name=f"actuator-{name}", daemon=True)
        self.actuator_name = name
        self._actuator = actuator
        self._schedule = Schedule()
        self._changed = threading.Condition()
        self._ending = False
        self._firing = False
        self._outcomes: deque[Fired] = deque()

    def plan(self, command: RejectCommand) -> None:
        """Schedule a command; returns at once."""
        with self._changed:
            self._schedule.add(command)
            self._changed.notify()

    def outcomes(self) -> list[Fired]:
        """Take out what became of the commands since the last call."""
        return [self._outcomes.popleft() for _ in range(len(self._outcomes))]

    def planned(self) -> list[RejectCommand]:
        """Return the commands that wait for their moment."""
        with self._changed:
            return self._schedule.commands()

    @property
    def idle(self) -> bool:
        """Whether nothing is planned or being fired."""
        with self._changed:
            return not self._schedule and not self._firing

    def end(self) -> list[RejectCommand]:
        """Stop the thread, leave the actuator in its safe state and return the commands not fired."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self.join(timeout=1.0)
        return self.planned()

    def run(self) -> None:
        """Sleep until the next planned moment, fire, note the outcome."""
        try:
            while True:
                with self._changed:
                    if self._ending:
                        return
                    due = self._schedule.due(now_ns())
                    if not due.fire and not due.late:
                        next_ns = self._schedule.next_ns
                        self._changed.wait(60.0 if next_ns is None else min(60.0, max(0, next_ns - now_ns()) / 1e9))
                        continue
                    self._firing = True
                for command in due.late:
                    self._outcomes.append(Fired(command, None, None, None))
                for command in due.fire:
                    self._fire(command)
                with self._changed:
                    self._firing = False
        finally:
            self._actuator.close()

    def _fire(self, command: RejectCommand) -> None:
        fired_ns = now_ns()
        if fired_ns > command.expires_ns:  # the one before it took too long
            self._outcomes.append(Fired(command, None, None, None))
            return
        metrics.REJECT_ERROR_SECONDS.labels(self.actuator_name).observe((fired_ns - command.planned_ns) / 1e9)
        error = None
        try:
            self._actuator.fire(command, fired_ns)
        except BaseException as problem:
            # Whatever an output's library raises, SystemExit included: the pulse counts as not given, and the
            # thread lives on, for without it no part would be rejected any more.
            error = f"{type(problem).__name__}: {problem}"
            metrics.FAILED_REJECTS.labels(self.actuator_name).inc()
            log.exception("actuator %s", self.actuator_name)
        self._outcomes.append(Fired(command, fired_ns, now_ns(), error))
