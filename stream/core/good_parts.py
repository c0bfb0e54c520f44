"""Which GOOD parts are worth a second look: what workers and sink must agree on. Pure: values in, values out."""

from __future__ import annotations

from typing import Literal

#: Why a GOOD part is kept with its images: its score is among the highest of its hour, or it is one of the sample.
KeptAs = Literal["near_miss", "sample"]

HOUR_NS = 3600 * 10**9
_64_BITS = 2**64 - 1


def hour_of(realtime_ns: int) -> int:
    """Return the number of the hour since 1970 of a moment, real time."""
    return realtime_ns // HOUR_NS


def is_sampled(seq: int, one_in: int) -> bool:
    """Whether a part is one of the samples, one in `one_in`; 0: there are none.

    Parts repeat with the cavities of a mould or the places of a tray, so every n-th would always be the same place.
    The numbers are therefore scattered first (splitmix64; Steele, Lea & Flood, OOPSLA 2014).
    """
    if one_in == 0:
        return False
    mixed = (seq + 0x9E3779B97F4A7C15) & _64_BITS
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _64_BITS
    return (mixed ^ (mixed >> 31)) % one_in == 0
