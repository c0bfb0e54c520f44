"""An encoder of a belt that always runs at the same speed, for trials without a machine."""

from __future__ import annotations

from typing import Literal

from stream.core.clock import now_ns
from stream.core.options import PositiveHz
from stream.devices.encoders.encoder import Polled


class SimulatedEncoderOptions(Polled):
    """Count by the clock."""

    kind: Literal["simulated"]
    rate_hz: PositiveHz

    def open(self) -> SimulatedEncoder:
        """Begin to count."""
        return SimulatedEncoder(self.rate_hz, self.wrap)


class SimulatedEncoder:
    """The count is the clock's value times the rate, so that a restart does not disturb it."""

    def __init__(self, rate_hz: float, wrap: int) -> None:
        """Count `rate_hz` a second."""
        self._rate_hz = rate_hz
        self._wrap = wrap

    def read(self) -> int:
        """Return the count."""
        return int(now_ns() * self._rate_hz / 1e9) % self._wrap

    def close(self) -> None:
        """Nothing is open."""
