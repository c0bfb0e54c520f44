"""One host's clock, and how to convert another's.

Within a host every process shares the monotonic clock, so times are compared as they are. Across
hosts (another boot id) a time is carried over through real time, which PTP or NTP keeps equal.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec

now_ns = time.monotonic_ns


@cache
def boot_id() -> str:
    """Return the id of this boot of this host, to which its monotonic times belong."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def uptime_ns() -> int:
    """Return the time since this host's boot in ns, to a hundredth of a second; it goes on while the host sleeps."""
    return round(float(Path("/proc/uptime").read_text().split()[0]) * 1e9)


def local_clock() -> Clock:
    """Return this host's boot id and the present offset of real time from the monotonic clock, in ns."""
    return Clock(boot_id(), time.time_ns() - time.monotonic_ns())


def to_local_ns(time_ns: int, sender: Clock, here: Clock) -> int:
    """Translate a monotonic time of `sender` into the monotonic time of `here`, in ns."""
    if sender.boot_id == here.boot_id:
        return time_ns
    return time_ns + sender.realtime_offset_ns - here.realtime_offset_ns


class Clock(msgspec.Struct, frozen=True, array_like=True):
    """The sender's clock: the boot of its monotonic time, and the offset of real time from it in ns."""

    boot_id: str
    realtime_offset_ns: Annotated[int, msgspec.Meta(ge=-(2**62), lt=2**62)]
