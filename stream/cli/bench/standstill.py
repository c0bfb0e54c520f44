"""Whether the machine itself stood still, or worked for others, while a line was measured."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

import psutil

#: Length of each sleep of the probe, and the delay of its end that counts as a standstill, ns.
_SLEEP_NS, _LATE_NS = 5_000_000, 25_000_000
#: From these values on a trial was disturbed: standstill in ms, stolen time in %, others' use in % of one core.
_STANDSTILL_MS, _STEAL_PERCENT, _OTHERS_PERCENT = 50.0, 5.0, 25.0


class Disturbance(NamedTuple):
    """What disturbed the machine during a measurement.

    Attributes:
        standstill_ms: how long it ran nothing, not even what has real-time priority.
        steal_percent: share of its cores' time that its host gave to other machines.
        others_percent: use of its cores by other processes, in % of one core.
    """

    standstill_ms: float = 0.0
    steal_percent: float = 0.0
    others_percent: float = 0.0

    @property
    def matters(self) -> bool:
        """Whether a line that was late meanwhile may have been late for this reason."""
        return (
            self.standstill_ms >= _STANDSTILL_MS
            or self.steal_percent >= _STEAL_PERCENT
            or self.others_percent >= _OTHERS_PERCENT
        )

    @property
    def text(self) -> str:
        """The disturbance in words."""
        return (
            f"the machine stood still for {self.standstill_ms:.0f} ms (steal {self.steal_percent:.1f} %), "
            f"other processes used {self.others_percent:.0f} % of a core"
        )


class Probe(threading.Thread):
    """Sleeps again and again, with real-time priority where it may, and notes when it was woken late."""

    def __init__(self) -> None:
        super().__init__(name="standstill-probe", daemon=True)
        self._ended = threading.Event()
        #: (end on the real-time clock, delay) of each late awakening, ns.
        self._late: list[tuple[int, int]] = []

    def run(self) -> None:
        """Note late awakenings until `end`."""
        with contextlib.suppress(OSError):  # else the line's own load delays it a little
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        while not self._ended.is_set():
            begun_ns = time.monotonic_ns()
            time.sleep(_SLEEP_NS / 1e9)
            late_ns = time.monotonic_ns() - begun_ns - _SLEEP_NS
            if late_ns >= _LATE_NS:
                self._late.append((time.time_ns(), late_ns))

    def end(self) -> None:
        """Stop."""
        self._ended.set()
        self.join()

    def standstill_ms(self, begun_ns: int, ended_ns: int) -> float:
        """Return how long the machine stood still between two moments of the real-time clock."""
        return standstill_ms(self._late, begun_ns, ended_ns)


def standstill_ms(late: Iterable[tuple[int, int]], begun_ns: int, ended_ns: int) -> float:
    """Return how much of the delays, (end, delay) in ns, lies between two moments of the same clock."""
    overlaps = (min(end_ns, ended_ns) - max(end_ns - delay_ns, begun_ns) for end_ns, delay_ns in late)
    return sum(overlap for overlap in overlaps if overlap > 0) / 1e6


class CoreTimes(NamedTuple):
    """What this process's cores have done since they started, seconds: for anything, for other machines, and when."""

    busy_s: float
    steal_s: float
    at_s: float

    @classmethod
    def now(cls) -> CoreTimes:
        """Read the kernel's counters."""
        cores = os.sched_getaffinity(0)
        times = [each for core, each in enumerate(psutil.cpu_times(percpu=True)) if core in cores]
        busy = sum(each.user + each.nice + each.system + each.irq + each.softirq for each in times)
        return cls(busy, sum(each.steal for each in times), time.monotonic())


def disturbance(before: CoreTimes, after: CoreTimes, own_s: float, standstill_ms: float) -> Disturbance:
    """Return what disturbed the machine between two readings, of which the measured processes used `own_s`."""
    elapsed_s = after.at_s - before.at_s
    if elapsed_s <= 0:
        return Disturbance(standstill_ms)
    cores = len(os.sched_getaffinity(0))
    return Disturbance(
        standstill_ms=standstill_ms,
        steal_percent=100 * (after.steal_s - before.steal_s) / elapsed_s / cores,
        others_percent=max(0.0, 100 * (after.busy_s - before.busy_s - own_s) / elapsed_s),
    )
