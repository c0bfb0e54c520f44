"""A percentile before and after, with what may be said of it: neighbours in time are alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_STRETCH_NS = 10_000_000_000
_RESAMPLES = 1000


class Interval(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return it as a table shows it."""
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


class Compared(NamedTuple):
    """A percentile of two samples, and the second's ratio to the first."""

    first: Interval
    second: Interval
    ratio: Interval


def compare(
    first: Iterable[tuple[int, float]], second: Iterable[tuple[int, float]], percent: float, *, seed: int = 0
) -> Compared:
    """Compare a percentile of two samples by resampling stretches of ten seconds with replacement.

    Args:
        first, second: (ns, value) each.
        percent: 0 to 100.
        seed: of the drawing.
    """
    dice = np.random.default_rng(seed)
    whole, drawn = [], []
    for sample in (first, second):
        pieces = _stretches(sample)
        whole.append(float(np.percentile(np.concatenate(pieces), percent)))
        picks = dice.integers(len(pieces), size=(_RESAMPLES, len(pieces)))
        drawn.append(np.array([np.percentile(np.concatenate([pieces[i] for i in row]), percent) for row in picks]))
    return Compared(
        _interval(whole[0], drawn[0]),
        _interval(whole[1], drawn[1]),
        _interval(whole[1] / whole[0], drawn[1] / drawn[0]),
    )


def slope(at: Iterable[float], values: Iterable[float]) -> Interval:
    """Fit a straight line and return its slope, with the interval that independent residuals would give it."""
    x, y = np.array(list(at)), np.array(list(values))
    x = x - x.mean()
    rise = float(x @ y / (x @ x))
    residuals = y - y.mean() - rise * x
    error = float(np.sqrt(residuals @ residuals / max(1, len(x) - 2) / (x @ x)))
    return Interval(rise, rise - 1.96 * error, rise + 1.96 * error)


def _stretches(sample: Iterable[tuple[int, float]]) -> list[NDArray[np.float64]]:
    stretches: dict[int, list[float]] = {}
    for at_ns, value in sample:
        stretches.setdefault(at_ns // _STRETCH_NS, []).append(value)
    return [np.array(values) for values in stretches.values()]


def _interval(value: float, drawn: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Interval(value, float(low), float(high))
