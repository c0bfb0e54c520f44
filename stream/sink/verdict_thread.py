"""One thread for each verdict channel: publishes verdicts; may lag, never blocks the line."""

from __future__ import annotations

import logging
import threading
from collections import deque

from stream.core import metrics
from stream.core.backoff import Backoff
from stream.core.clock import now_ns
from stream.devices.actuators.verdict_channel import VERDICT_MAX_AGE_NS, VerdictChannel, VerdictReport

log = logging.getLogger(__name__)

#: Verdicts that may wait to be published; one more is dropped, and counted.
WAITING = 10_000
#: Publishes in flight; below the MQTT client's own limit.
_IN_FLIGHT = 16
#: Limit for the acknowledgement of the publishes in flight.
_ACKNOWLEDGE_NS = 2_000_000_000
#: Time to publish what still waits when the line ends.
_END_S = 0.5
#: Pauses before the next connection.
_BACKOFF = Backoff(first_s=0.05, longest_s=2.0)


class VerdictThread(threading.Thread):
    """Owns one channel. What is not acknowledged is published again on the next connection: at least once, in order."""

    def __init__(self, name: str, channel: VerdictChannel) -> None:
        """Take over a channel that is not connected."""
        super().__init__(name=f"verdicts-{name}", daemon=True)
        self._channel = channel
        self._depth = metrics.QUEUE_DEPTH.labels(f"verdicts-{name}")
        self._changed = threading.Condition()
        self._waiting: deque[VerdictReport] = deque()
        self._sequence = 0
        self._ending = False
        self._fault: str | None = None
        self._dropping = False
        self._failures = 0

    def publish(self, report: VerdictReport) -> None:
        """Queue a report under the next number; never blocks. A full queue drops it, counted."""
        with self._changed:
            self._sequence += 1
            full = len(self._waiting) >= WAITING
            if not full:
                self._waiting.append(report._replace(sequence=self._sequence))
                self._changed.notify()
            self._depth.set(len(self._waiting))
        if full:
            self._count_dropped(1, f"{WAITING} wait already")

    def finish(self) -> None:
        """Have the thread publish what waits if it is connected, then end; returns at once."""
        with self._changed:
            self._ending = True
            self._changed.notify()

    def end(self) -> None:
        """Finish within half a second; what still waits then is dropped."""
        self.finish()
        self.join(_END_S)
        with self._changed:
            left = len(self._waiting)
            self._waiting.clear()
        self._count_dropped(left, "the line has ended")

    def run(self) -> None:
        """Connect and publish; connect again after a failure."""
        while not self._ending:
            try:
                self._channel.connect()
                self._publish_all()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is logged and a new connection made
                self._failed(f"{self._channel.where}: verdicts: {error or type(error).__name__}")
            finally:
                self._channel.drop()
            self._failures += 1
            with self._changed:
                self._changed.wait_for(lambda: self._ending, _BACKOFF.pause_s(self._failures))

    def _publish_all(self) -> None:
        """Publish reports until the end; raises OSError when one is not acknowledged."""
        while reports := self._next():
            self._channel.publish(reports, now_ns() + _ACKNOWLEDGE_NS)
            with self._changed:
                for _ in range(min(len(reports), len(self._waiting))):
                    self._waiting.popleft()
                self._depth.set(len(self._waiting))
            if self._fault is not None:
                log.info("%s: verdicts are published again", self._channel.where)
            self._fault, self._dropping, self._failures = None, False, 0

    def _next(self) -> list[VerdictReport]:
        """Wait for reports and return the oldest, which stay in the queue; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ending)
            oldest_ns, old = now_ns() - VERDICT_MAX_AGE_NS, 0
            while self._waiting and self._waiting[0].settled_ns < oldest_ns:
                self._waiting.popleft()
                old += 1
            reports = [self._waiting[place] for place in range(min(_IN_FLIGHT, len(self._waiting)))]
        self._count_dropped(old, "too old")
        return reports

    def _failed(self, fault: str) -> None:
        if fault != self._fault:
            log.warning("%s", fault)
        self._fault = fault

    def _count_dropped(self, count: int, why: str) -> None:
        if count == 0:
            return
        metrics.DROPPED.labels("verdict").inc(count)
        if not self._dropping:
            log.error("%s: verdicts are dropped: %s", self._channel.where, why)
        self._dropping = True
