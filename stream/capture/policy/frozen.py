"""When a camera shows the same picture over and over: it may be days old and must not be judged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Of pictures that differ, nearly all differ in these rows: most comparisons read no more.
_EVERY_ROWS = 16


class FrozenGate:
    """Counts identical pictures in a row."""

    def __init__(self, after: int | None) -> None:
        """Take the camera for frozen from the picture on that is the `after`-th alike; None: never."""
        self._after = after
        self._last: NDArray[np.uint8] | None = None
        self._alike = 0

    def frozen(self, image: NDArray[np.uint8]) -> bool:
        """Take the next picture, which must not be changed later, and tell whether the camera is frozen."""
        if self._after is None:
            return False
        if image is self._last:  # two triggers took the same exposure
            return self.on
        self._alike = self._alike + 1 if self._last is not None and identical(self._last, image) else 1
        self._last = image
        return self.on

    @property
    def on(self) -> bool:
        """Whether the last picture was one of a frozen camera."""
        return self._after is not None and self._alike >= self._after

    @property
    def text(self) -> str:
        """What is wrong, for a person; empty while nothing is."""
        return f"the picture is frozen: {self._alike} in a row are identical" if self.on else ""


def identical(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Tell whether two pictures agree in every pixel."""
    if one.shape != other.shape or not np.array_equal(one[::_EVERY_ROWS], other[::_EVERY_ROWS]):
        return False
    return np.array_equal(one, other)
