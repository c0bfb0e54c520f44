"""Which rate to try next, so that few trials find the highest one at which nothing is late."""

from __future__ import annotations

from collections.abc import Mapping

#: Ratio of the lowest rate not kept to the highest one kept at which the search ends.
_RESOLUTION = 1.07


def next_rate_hz(kept: Mapping[float, bool], first_hz: float) -> float | None:
    """Return the next rate to try, or None when the highest kept one is known.

    Doubles from `first_hz` until a rate is not kept (or halves until one is), then halves the interval.

    Args:
        kept: for every rate tried, in Hz, whether each part had its verdict in time.
        first_hz: where to begin.
    """
    if not kept:
        return first_hz
    low, high = sustained_hz(kept), min((rate for rate, ok in kept.items() if not ok), default=None)
    if high is None:
        return 2 * max(kept)
    if low is None:
        return None if high < first_hz / 64 else high / 2
    return None if high / low <= _RESOLUTION else float(f"{(low * high) ** 0.5:.3g}")


def sustained_hz(kept: Mapping[float, bool]) -> float | None:
    """Return the highest rate kept below every rate not kept; None when there is none."""
    high = min((rate for rate, ok in kept.items() if not ok), default=float("inf"))
    return max((rate for rate, ok in kept.items() if ok and rate < high), default=None)
