"""How far another host's clock is from this one's, from questions and answers. Pure: the clocks are passed in.

The formula is NTP's (RFC 5905, section 8): the question leaves at t1 and arrives at t2, the answer leaves at t3 and
arrives at t4. The offset of the two clocks is ((t2 - t1) + (t3 - t4)) / 2, wrong by half of the delay
(t4 - t1) - (t3 - t2) at most; so the exchange with the least delay of the last few is believed (its section 10).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from stream.core.clock import Clock, to_local_ns

#: Exchanges among which the one with the least delay is believed. Monotonic clocks drift by microseconds meanwhile.
_EXCHANGES = 16


class ClockExchange(NamedTuple):
    """One question and its answer; all times are monotonic ones, in ns.

    Attributes:
        asked_ns, arrived_ns: when the question left and the answer arrived, by our clock.
        received_ns, answered_ns: when the question arrived and the answer left, by the peer's.
    """

    asked_ns: int
    received_ns: int
    answered_ns: int
    arrived_ns: int

    @property
    def offset_ns(self) -> int:
        """The peer's monotonic clock less ours."""
        return ((self.received_ns - self.asked_ns) + (self.answered_ns - self.arrived_ns)) // 2

    @property
    def delay_ns(self) -> int:
        """Time that the two messages were under way; half of it is the largest error of the offset."""
        return (self.arrived_ns - self.asked_ns) - (self.answered_ns - self.received_ns)


class PeerClock:
    """The clock of one peer's host against this host's."""

    def __init__(self) -> None:
        self._boot_id = ""
        self._exchanges: deque[ClockExchange] = deque(maxlen=_EXCHANGES)

    def add(self, boot_id: str, exchange: ClockExchange) -> None:
        """Take an exchange with a peer of this boot; impossible ones are left out."""
        if boot_id != self._boot_id:
            self._boot_id = boot_id
            self._exchanges.clear()
        if exchange.asked_ns <= exchange.arrived_ns and exchange.received_ns <= exchange.answered_ns:
            self._exchanges.append(exchange)

    @property
    def exchanges(self) -> int:
        """Number of exchanges with the present boot of the peer that are remembered."""
        return len(self._exchanges)

    def offset_ns(self, sender: Clock, here: Clock) -> int | None:
        """Return the sender's monotonic clock less ours: 0 on one host; None: not measured."""
        if sender.boot_id == here.boot_id:
            return 0
        if sender.boot_id != self._boot_id or not self._exchanges:
            return None
        return min(self._exchanges, key=lambda exchange: exchange.delay_ns).offset_ns

    def skew_ns(self, sender: Clock, here: Clock) -> int | None:
        """Return by how much the sender's real time is ahead of ours: 0 on one host; None: not measured.

        `sender` is the clock in the very message that is to be placed, so a step of either real-time clock shows at
        once: only the monotonic clocks are averaged.
        """
        offset_ns = self.offset_ns(sender, here)
        if offset_ns is None or sender.boot_id == here.boot_id:
            return offset_ns
        return sender.realtime_offset_ns + offset_ns - here.realtime_offset_ns

    def to_local_ns(self, time_ns: int, sender: Clock, here: Clock) -> int:
        """Translate a monotonic time of the sender by the measured offset; through real time where there is none."""
        offset_ns = self.offset_ns(sender, here)
        return to_local_ns(time_ns, sender, here) if offset_ns is None else time_ns - offset_ns
