"""Which rate to try next, so that few trials on a noisy machine find the highest one that is kept. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

#: Ratio of the lowest rate not kept to the highest one kept at which the search ends.
_RESOLUTION = 1.07
#: Trials at the answer, and at the rate just above it, before the search ends.
REPETITIONS = 3
#: Trials at one rate that do not count because the machine was disturbed; further ones count all the same.
DISTURBED_TRIALS = 2


class Tried(NamedTuple):
    """One trial: its rate, whether the line kept it, and whether something else disturbed the machine meanwhile."""

    rate_hz: float
    kept: bool
    disturbed: bool = False


class Sustained(NamedTuple):
    """The answer: the highest rate kept, and its spread.

    Attributes:
        hz: the highest rate that most trials at it kept, below every rate that most did not.
        low_hz: the highest one, not above `hz`, that no trial failed to keep; `hz` if there is none.
        high_hz: the highest one, not below `hz`, that any trial kept.
    """

    hz: float
    low_hz: float
    high_hz: float


def allowed_late(parts: int, share: float) -> int:
    """Return how many parts may miss their deadline in a trial that keeps its rate.

    One always may, unless `share` is 1: fewer than a thousand parts cannot show a share of 99.9 %.
    """
    return 0 if share >= 1 else max(1, math.floor(parts * (1 - share) + 1e-9))


def next_rate_hz(tried: Sequence[Tried], first_hz: float, repetitions: int = REPETITIONS) -> float | None:
    """Return the rate to try next, or None when the highest kept one is known.

    Doubles from `first_hz` until a rate is not kept (or halves until one is), then halves the interval, then repeats
    both of its ends. A trial that fails is repeated: most of a rate's trials decide, and one never suffices against it.
    Where the repetitions differ, there are more of them.

    Args:
        tried: the trials so far, in any order.
        first_hz: where to begin.
        repetitions: trials at both ends of the last interval; one less than twice as many where they differ.
    """
    if not tried:
        return first_hz
    verdicts = {rate_hz: _verdict(tried, rate_hz) for rate_hz in sorted({trial.rate_hz for trial in tried})}
    undecided = next((rate_hz for rate_hz, kept in verdicts.items() if kept is None), None)
    if undecided is not None:
        return undecided
    low, high = _highest_kept(verdicts), min((rate_hz for rate_hz, kept in verdicts.items() if not kept), default=None)
    if high is None:
        return 2 * max(verdicts)
    if low is None:
        return None if high < first_hz / 64 else high / 2
    if high / low > _RESOLUTION:
        return float(f"{(low * high) ** 0.5:.3g}")
    return next((rate_hz for rate_hz in (low, high) if not _is_sure(_counted(tried, rate_hz), repetitions)), None)


def next_given_hz(tried: Sequence[Tried], rates_hz: Sequence[float]) -> float | None:
    """Return the next of given rates to try; a failed trial is repeated as in a search. None: all are decided."""
    return next((rate_hz for rate_hz in rates_hz if _verdict(tried, rate_hz) is None), None)


def sustained(tried: Sequence[Tried]) -> Sustained | None:
    """Return the highest rate kept, with its spread; None when none is."""
    rates_hz = sorted({trial.rate_hz for trial in tried})
    hz = _highest_kept({rate_hz: _verdict(tried, rate_hz) for rate_hz in rates_hz})
    if hz is None:
        return None
    kept = {rate_hz: [trial.kept for trial in _counted(tried, rate_hz)] for rate_hz in rates_hz}
    sure = [rate_hz for rate_hz in rates_hz if rate_hz <= hz and all(kept[rate_hz])]
    return Sustained(
        hz=hz,
        low_hz=max(sure, default=hz),
        high_hz=max(rate_hz for rate_hz in rates_hz if rate_hz >= hz and any(kept[rate_hz])),
    )


def _highest_kept(verdicts: dict[float, bool | None]) -> float | None:
    lost = min((rate_hz for rate_hz, kept in verdicts.items() if kept is False), default=math.inf)
    return max((rate_hz for rate_hz, kept in verdicts.items() if kept and rate_hz < lost), default=None)


def _verdict(tried: Sequence[Tried], rate_hz: float) -> bool | None:
    """Return whether most trials kept the rate; None: further ones are needed."""
    counted = _counted(tried, rate_hz)
    kept = sum(trial.kept for trial in counted)
    lost = len(counted) - kept
    if kept > lost:
        return True
    return False if lost > kept and lost > 1 else None


def _is_sure(counted: list[Tried], repetitions: int) -> bool:
    unanimous = len({trial.kept for trial in counted}) == 1
    return len(counted) >= (repetitions if unanimous else 2 * repetitions - 1)


def _counted(tried: Sequence[Tried], rate_hz: float) -> list[Tried]:
    """Return the trials at a rate that count: of failed ones on a disturbed machine, only those beyond the limit."""
    counted, disturbed = [], 0
    for trial in tried:
        if trial.rate_hz != rate_hz:
            continue
        if trial.disturbed and not trial.kept and disturbed < DISTURBED_TRIALS:
            disturbed += 1
        else:
            counted.append(trial)
    return counted
