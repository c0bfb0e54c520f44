"""`kind: rate`: a software trigger at a fixed rate."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stream.devices.triggers.trigger import CommonTriggerOptions, TriggerEvent, TriggerSource


class RateTriggerOptions(CommonTriggerOptions):
    """An even beat, for trials and for belts whose parts come by the clock."""

    of_parts: ClassVar[bool] = False

    kind: Literal["rate"]
    rate_hz: Annotated[float, Field(ge=0.001, le=1000)]  # triggers per second

    def open(self) -> TriggerSource:
        """Return the trigger."""
        return _Beat(self.rate_hz)


class _Beat:
    fault = None

    def __init__(self, rate_hz: float) -> None:
        self._interval_ns = 1e9 / rate_hz

    def events(self, stop: threading.Event) -> Iterator[TriggerEvent]:
        """Yield a trigger at every beat; beats that were slept through are left out, no part belongs to them."""
        begin_ns, beat = time.monotonic_ns(), 0
        while not stop.is_set():
            beat = max(beat, int((time.monotonic_ns() - begin_ns) / self._interval_ns)) + 1
            due_ns = begin_ns + round(beat * self._interval_ns)
            if stop.wait(max(0, due_ns - time.monotonic_ns()) / 1e9):
                return
            yield TriggerEvent(due_ns)
