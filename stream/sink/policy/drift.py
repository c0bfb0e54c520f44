"""Drift detection: the newest good parts against the calibration's, without alarms by chance.

Two figures for each quantity. The Kolmogorov-Smirnov p-value: how likely two samples of one distribution
differ this much. The population stability index (PSI): how much they differ; by common convention above 0.25 is a
large change. A window is bad when both say so, and a station drifts when most of the last windows are bad: they all
share one reference, so a single unlucky window must not suffice.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: A window is bad when its p-value is below SIGNIFICANCE and its PSI at least LARGE_PSI.
SIGNIFICANCE = 1e-4
LARGE_PSI = 0.25
#: Smallest p-value reported: smaller ones are lost in rounding, and a logarithmic axis cannot show 0.
_LEAST_P = 1e-16
#: Drift begins when this many of the last windows are bad, and ends when none of them is.
_BAD_WINDOWS, _WINDOWS = 3, 4
#: Comparisons for each full window of new parts.
_STEPS = 5

Values = NDArray[np.float64]


class DriftFinding(NamedTuple):
    """One window against the reference: the PSI, the p-value, and whether the quantity drifts."""

    psi: float
    p_value: float
    drifting: bool


class DriftDetector:
    """Compares one quantity of one station with its reference."""

    def __init__(self, reference: Sequence[float], window: int) -> None:
        """Compare the newest `window` values with `reference`; an empty reference is never compared."""
        self._reference = np.sort(np.asarray(reference, dtype=np.float64))
        self._recent: deque[float] = deque(maxlen=window)
        self._step = max(1, window // _STEPS)
        self._new = 0
        self._bad: deque[bool] = deque(maxlen=_WINDOWS)
        self._drifting = False

    def add(self, value: float) -> None:
        """Take the value of one good part."""
        if math.isfinite(value):
            self._recent.append(value)
            self._new += 1

    @property
    def parts(self) -> int:
        """Number of values in the window so far."""
        return len(self._recent)

    def compare(self) -> DriftFinding | None:
        """Compare the newest window; None while it is not full, or too few of its values are new."""
        full = len(self._recent) == self._recent.maxlen
        if not full or self._new < self._step or not len(self._reference):
            return None
        self._new = 0
        window = np.sort(np.array(self._recent))
        psi, p_value = stability_index(self._reference, window), same_distribution(self._reference, window)
        self._bad.append(p_value < SIGNIFICANCE and psi >= LARGE_PSI)
        if sum(self._bad) >= _BAD_WINDOWS:
            self._drifting = True
        elif not any(self._bad):
            self._drifting = False
        return DriftFinding(psi, p_value, self._drifting)


def same_distribution(reference: Values, window: Values) -> float:
    """Return the p-value of the two-sample Kolmogorov-Smirnov test of two sorted samples.

    Asymptotic with Stephens' correction for small samples (Journal of the Royal Statistical Society B 32, 1970).
    """
    both = np.concatenate([reference, window])
    shares = [np.searchsorted(sample, both, side="right") / len(sample) for sample in (reference, window)]
    return _p_value(float(np.abs(shares[0] - shares[1]).max()), len(reference), len(window))


def stability_index(reference: Values, window: Values) -> float:
    """Return the PSI of two sorted samples, in bins that hold equal shares of the reference.

    The number of bins, 2 to 10, leaves ten reference values in each; each counts half a value more, so that an empty
    one does not make the index infinite.
    """
    bins = max(2, min(10, len(reference) // 10))
    edges = np.quantile(reference, np.arange(1, bins) / bins)
    expected, observed = (
        (np.bincount(np.searchsorted(edges, sample), minlength=bins) + 0.5) / (len(sample) + 0.5 * bins)
        for sample in (reference, window)
    )
    return float(((observed - expected) * np.log(observed / expected)).sum())


def smallest_shift(reference_count: int, window: int) -> float | None:
    """Return the shift, in standard deviations of a normal quantity, that is detected half of the time.

    None: there are too few reference values for any shift to be significant.
    """
    low, high = 0.0, 1.0
    if not reference_count or _p_value(high, reference_count, window) >= SIGNIFICANCE:
        return None
    for _ in range(30):
        middle = (low + high) / 2
        detected = _p_value(middle, reference_count, window) < SIGNIFICANCE
        low, high = (low, middle) if detected else (middle, high)
    # Two normal distributions δ standard deviations apart differ by 2Φ(δ/2) - 1 at most.
    return 2 * NormalDist().inv_cdf((1 + min(high, 1 - 1e-12)) / 2)


def _p_value(distance: float, first: int, second: int) -> float:
    effective = math.sqrt(first * second / (first + second))
    scaled = (effective + 0.12 + 0.11 / effective) * distance
    if scaled < 0.3:  # where the series converges slowly and p is 1 to nine digits
        return 1.0
    terms = ((2.0 if k % 2 else -2.0) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101))
    return min(1.0, max(_LEAST_P, sum(terms)))
