"""`kind: gpio`: a light barrier or switch at a pin of this computer (Raspberry Pi and the like)."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from stream.core.errors import CameraError
from stream.devices.triggers.trigger import CommonTriggerOptions, TriggerEvent, TriggerSource

if TYPE_CHECKING:
    from gpiozero import DigitalInputDevice


class GpioTriggerOptions(CommonTriggerOptions):
    """A digital input; it becoming active is the event."""

    kind: Literal["gpio"]
    pin: Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)]  # as gpiozero names it: 17, GPIO17, BOARD11
    pull_up: bool = True  # True: active when connected to ground; False: pulled down, active when high
    debounce_ms: Annotated[float, Field(ge=0)] = 5.0  # contacts bounce

    def open(self) -> TriggerSource:
        """Take the pin; raises CameraError when it cannot be used."""
        try:
            from gpiozero import DigitalInputDevice

            return _Pin(DigitalInputDevice(self.pin, pull_up=self.pull_up))
        except Exception as error:  # noqa: BLE001 - gpiozero and the pin libraries below it raise almost anything
            raise CameraError(
                f"trigger.pin: {self.pin} cannot be used: {error}; check its number, the rights to the GPIO device, "
                "and that a pin library such as lgpio is installed"
            ) from None


class _Pin:
    fault = None

    def __init__(self, device: DigitalInputDevice) -> None:
        self._device = device
        self._activated: queue.SimpleQueue[int] = queue.SimpleQueue()
        device.when_activated = lambda: self._activated.put(time.monotonic_ns())

    def events(self, stop: threading.Event) -> Iterator[TriggerEvent]:
        """Yield a trigger for every change to active."""
        try:
            while not stop.is_set():
                try:
                    yield TriggerEvent(self._activated.get(timeout=0.1))
                except queue.Empty:
                    continue
        finally:
            self._device.close()
