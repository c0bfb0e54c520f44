"""Whether a figure that was read again and again grows: its slope with an interval. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

#: Blocks whose means are compared: neighbouring readings depend on each other, means of long blocks hardly do.
BLOCKS = 12


class Slope(NamedTuple):
    """Growth in units an hour, and the interval that holds the true one in 95 of 100 soaks.

    `noise` is the standard deviation of the blocks' means around the line.
    """

    per_hour: float
    low: float
    high: float
    noise: float

    @property
    def grows(self) -> bool:
        """Whether the interval lies above zero, rounding aside."""
        return self.low > 1e-9

    def __str__(self) -> str:
        return f"{self.per_hour:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def slope(times_s: Sequence[float], values: Sequence[float]) -> Slope:
    """Fit a line through the means of `BLOCKS` blocks of equal length, by least squares; Student's interval.

    Raises ValueError with fewer readings than two for each block.
    """
    if len(times_s) != len(values) or len(times_s) < 2 * BLOCKS:
        raise ValueError(f"{len(values)} readings at {len(times_s)} times; {2 * BLOCKS} are needed")
    hours = np.array([float(np.mean(block)) for block in np.array_split(np.asarray(times_s, float), BLOCKS)]) / 3_600
    means = np.array([float(np.mean(block)) for block in np.array_split(np.asarray(values, float), BLOCKS)])
    per_hour, intercept = np.polyfit(hours, means, 1)
    noise = float(np.sqrt(np.sum((means - intercept - per_hour * hours) ** 2) / (BLOCKS - 2)))
    error = noise / float(np.sqrt(np.sum((hours - hours.mean()) ** 2)))
    half = float(stats.t.ppf(0.975, BLOCKS - 2)) * error
    return Slope(float(per_hour), float(per_hour) - half, float(per_hour) + half, noise)
