"""One thread for each encoder: tracks parts on the belt and hands each to its actuator shortly before the reject."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping

from stream.core.clock import now_ns
from stream.devices.actuators.actuator import RejectCommand
from stream.devices.encoders.encoder import Encoder
from stream.sink.actuator_thread import ActuatorThread
from stream.sink.policy.shift_register import ShiftRegister, Tracked

log = logging.getLogger(__name__)

#: Age up to which an exposure can be placed on the belt.
_KEEP_NS = 60_000_000_000
#: Gap between two readings after which positions are unknown; at least five readings.
_STALE_NS = 250_000_000
#: Pause after a failed reading.
_RETRY_S = 0.2


class EncoderThread(threading.Thread):
    """Owns one encoder and the parts that are tracked by it."""

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        *,
        poll_ms: float,
        wrap: int,
        outputs: Mapping[str, ActuatorThread],
    ) -> None:
        """Take over an open encoder; `outputs` are the actuators of the stations that track their parts by it."""
        super().__init__(name=f"encoder-{name}", daemon=True)
        self._encoder = encoder
        self._poll_ns = int(poll_ms * 1e6)
        self._outputs = outputs
        stale_ns = max(_STALE_NS, 5 * self._poll_ns)
        self._register = ShiftRegister(wrap=wrap, poll_ns=self._poll_ns, stale_ns=stale_ns, keep_ns=_KEEP_NS)
        self._changed = threading.Lock()
        self._restoring: list[tuple[RejectCommand, int]] = []
        self._stopped = threading.Event()
        self._fault: str | None = "not read yet"
        self._lost: deque[tuple[RejectCommand, str]] = deque()

    @property
    def fault(self) -> str | None:
        """What is wrong with the encoder now, or None."""
        return self._fault if self.is_alive() else "its thread has ended, nothing is tracked"

    def track(self, tracked: Tracked) -> None:
        """Track a part until it is at its reject; returns at once."""
        with self._changed:
            self._register.add(tracked)

    def restore(self, command: RejectCommand, tolerance_counts: int) -> None:
        """Continue to track what an earlier sink tracked, from the first reading on."""
        with self._changed:
            self._restoring.append((command, tolerance_counts))

    def tracked(self) -> dict[str, list[RejectCommand]]:
        """Return the commands that are tracked, by actuator."""
        tracked: dict[str, list[RejectCommand]] = {}
        with self._changed:
            for command in [*self._register.commands(), *(command for command, _ in self._restoring)]:
                tracked.setdefault(self._outputs[command.station].actuator_name, []).append(command)
        return tracked

    def lost(self) -> list[tuple[RejectCommand, str]]:
        """Take the commands that were lost since the last call, each with the reason."""
        return [self._lost.popleft() for _ in range(len(self._lost))]

    @property
    def idle(self) -> bool:
        """Whether nothing is tracked."""
        with self._changed:
            return not self._register and not self._restoring

    def end(self) -> None:
        """Stop the thread; what is still tracked is lost."""
        self._stopped.set()
        self.join(timeout=1.0)
        with self._changed:
            self._report_lost(self._register.drop("the line was stopped"))
            self._report_lost([(command, "the line was stopped") for command, _ in self._restoring])
            self._restoring = []

    def run(self) -> None:
        """Read the encoder, hand over the commands that are due, sleep until the next reading."""
        next_ns = now_ns()
        try:
            while not self._stopped.is_set():
                started_ns = now_ns()
                try:
                    count = self._encoder.read()
                    self._on_reading((started_ns + now_ns()) // 2, count)
                    self._fault = None
                except Exception as error:
                    if self._fault is None:
                        log.exception("%s", self.name)
                    self._fault = str(error) or type(error).__name__
                    with self._changed:
                        self._report_lost(self._register.silent(now_ns()))
                    self._stopped.wait(_RETRY_S)
                next_ns = max(next_ns + self._poll_ns, now_ns())
                self._stopped.wait(max(0, next_ns - now_ns()) / 1e9)
        finally:
            self._encoder.close()

    def _on_reading(self, at_ns: int, count: int) -> None:
        with self._changed:
            outcome = self._register.sample(at_ns, count)
            for command, tolerance in self._restoring:
                if not self._register.restore(command, tolerance):
                    self._report_lost([(command, "its position was unknown when the sink ended")])
            self._restoring = []
            self._report_lost(outcome.lost)
            for command in outcome.fire:
                self._outputs[command.station].plan(command)

    def _report_lost(self, lost: list[tuple[RejectCommand, str]]) -> None:
        self._lost.extend(lost)
