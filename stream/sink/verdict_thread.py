"""One thread for each actuator that tells verdicts: news, which may be late and never hold anything up."""

from __future__ import annotations

import logging
import threading
from collections import deque

from stream.core import metrics
from stream.core.clock import now_ns
from stream.devices.actuators.verdict_channel import NEWS_NS, VerdictChannel, VerdictReport

log = logging.getLogger(__name__)

#: Verdicts that may wait for a receiver; one more is dropped, and counted.
WAITING = 10_000
#: So many are told before the first is acknowledged, fewer than a client of MQTT has under way.
_AT_ONCE = 16
_ANSWER_NS = 2_000_000_000
_END_S = 0.5
_RETRY_S = (0.05, 2.0)


class VerdictThread(threading.Thread):
    """Owns one channel. What is not acknowledged is told again over the next connection: at least once, in order."""

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
        self._retry_s = _RETRY_S[0]

    def tell(self, report: VerdictReport) -> None:
        """Queue a report under the next number; never blocks. A full queue loses it, counted."""
        with self._changed:
            self._sequence += 1
            full = len(self._waiting) >= WAITING
            if not full:
                self._waiting.append(report._replace(sequence=self._sequence))
                self._changed.notify()
            self._depth.set(len(self._waiting))
        if full:
            self._dropped(1, f"{WAITING} wait already")

    def finish(self) -> None:
        """Tell what waits if there is a connection, then end; returns at once."""
        with self._changed:
            self._ending = True
            self._changed.notify()

    def end(self) -> None:
        """Finish, within half a second; what then still waits is dropped."""
        self.finish()
        self.join(_END_S)
        with self._changed:
            left = len(self._waiting)
            self._waiting.clear()
        self._dropped(left, "the line has ended")

    def run(self) -> None:
        """Connect, tell, and again when that fails."""
        while not self._ending:
            try:
                self._channel.connect()
                self._tell_all()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told and a new connection made
                self._failed(f"{self._channel.where}: verdicts: {error or type(error).__name__}")
            finally:
                self._channel.drop()
            with self._changed:
                self._changed.wait_for(lambda: self._ending, self._retry_s)
            self._retry_s = min(2 * self._retry_s, _RETRY_S[1])

    def _tell_all(self) -> None:
        """Tell what comes until the end; raises OSError when a report is not acknowledged."""
        while reports := self._next():
            self._channel.tell(reports, now_ns() + _ANSWER_NS)
            with self._changed:
                for _ in range(min(len(reports), len(self._waiting))):
                    self._waiting.popleft()
                self._depth.set(len(self._waiting))
            if self._fault is not None:
                log.info("%s: verdicts are told again", self._channel.where)
            self._fault, self._dropping, self._retry_s = None, False, _RETRY_S[0]

    def _next(self) -> list[VerdictReport]:
        """Wait for reports and return the oldest, which stay in the queue; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ending)
            oldest_ns, old = now_ns() - NEWS_NS, 0
            while self._waiting and self._waiting[0].settled_ns < oldest_ns:
                self._waiting.popleft()
                old += 1
            reports = [self._waiting[place] for place in range(min(_AT_ONCE, len(self._waiting)))]
        self._dropped(old, "too old")
        return reports

    def _failed(self, fault: str) -> None:
        if fault != self._fault:
            log.warning("%s", fault)
        self._fault = fault

    def _dropped(self, count: int, why: str) -> None:
        if count == 0:
            return
        metrics.DROPPED.labels("verdict").inc(count)
        if not self._dropping:
            log.error("%s: verdicts are dropped: %s", self._channel.where, why)
        self._dropping = True
