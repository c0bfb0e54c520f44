"""The date by which old events are deleted: a real-time clock that steps must not make events old. Pure.

Within one boot of the host the date goes on by the uptime, whatever the real-time clock does. A new date is believed
once the clock has kept it for a day; after a boot at once, if the host can have been off for that long.
"""

from __future__ import annotations

import msgspec

_S = 1_000_000_000
#: Time for which the real-time clock must have run evenly until its date is believed, ns.
_STEADY_NS = 86_400 * _S
#: A larger difference between two looks at the clock is a step, ns.
_STEP_NS = 60 * _S
#: Longest time for which a host may have been off so that the date after its boot is believed at once, ns.
_OFF_NS = 7 * 86_400 * _S


class BelievedTime(msgspec.Struct, frozen=True):
    """What the event store keeps about the date.

    Attributes:
        realtime_ns: the date, Unix time.
        boot_id, uptime_ns: the moment to which it belongs.
        offset_ns: real-time clock less uptime at that moment.
        steady_since_ns: uptime since which that clock has not stepped.
    """

    realtime_ns: int
    boot_id: str
    uptime_ns: int
    offset_ns: int
    steady_since_ns: int


def believed(
    before: BelievedTime | None, boot_id: str, uptime_ns: int, realtime_ns: int, newest_ns: int | None
) -> BelievedTime:
    """Return what to believe now.

    Args:
        before: what was believed at the last look.
        boot_id: of the present boot.
        uptime_ns: of the host.
        realtime_ns: what the real-time clock says.
        newest_ns: date of the newest entry of a store that has no `before`; None: it has no entry either.
    """
    offset_ns = realtime_ns - uptime_ns
    if before is None:
        date_ns = realtime_ns if newest_ns is None else min(realtime_ns, newest_ns)
        return BelievedTime(date_ns, boot_id, uptime_ns, offset_ns, uptime_ns)
    if before.boot_id != boot_id:
        off_ns = realtime_ns - before.realtime_ns
        date_ns = realtime_ns if 0 <= off_ns <= _OFF_NS else before.realtime_ns
        return BelievedTime(date_ns, boot_id, uptime_ns, offset_ns, uptime_ns)
    stepped = abs(offset_ns - before.offset_ns) > _STEP_NS
    steady_since_ns = uptime_ns if stepped else before.steady_since_ns
    date_ns = before.realtime_ns + max(0, uptime_ns - before.uptime_ns)
    if uptime_ns - steady_since_ns >= _STEADY_NS:
        date_ns = realtime_ns
    return BelievedTime(date_ns, boot_id, uptime_ns, offset_ns, steady_since_ns)
