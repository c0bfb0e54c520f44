"""When a camera delivers the same image again and again: it may be days old and must not be inspected."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Step in rows of the first comparison: most images that differ already differ there.
_ROW_STEP = 16


class FrozenGate:
    """Counts identical images in a row."""

    def __init__(self, after: int | None) -> None:
        """Regard the camera as frozen from the `after`-th identical image on; None: never."""
        self._after = after
        self._last: NDArray[np.uint8] | None = None
        self._identical = 0

    def check(self, image: NDArray[np.uint8]) -> bool:
        """Count the next (H, W, 3) image and return whether the camera is frozen; the image must not change later."""
        if self._after is None:
            return False
        if image is self._last:  # two triggers took the same exposure
            return self.frozen
        self._identical = self._identical + 1 if self._last is not None and identical(self._last, image) else 1
        self._last = image
        return self.frozen

    @property
    def frozen(self) -> bool:
        """Whether the last image was one of a frozen camera."""
        return self._after is not None and self._identical >= self._after

    @property
    def text(self) -> str:
        """The fault in words; empty without one."""
        return f"the picture is frozen: {self._identical} in a row are identical" if self.frozen else ""


def identical(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> bool:
    """Return whether two images agree in every pixel."""
    if first.shape != second.shape or not np.array_equal(first[::_ROW_STEP], second[::_ROW_STEP]):
        return False
    return np.array_equal(first, second)
