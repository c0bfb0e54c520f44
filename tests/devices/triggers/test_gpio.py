from __future__ import annotations

from collections.abc import Iterator

import gpiozero
import pytest
from gpiozero.pins.mock import MockFactory
from support.listening import listening

from stream.core.errors import CameraError
from stream.devices.triggers.gpio import GpioTriggerOptions


@pytest.fixture(autouse=True)
def pins() -> Iterator[MockFactory]:
    """gpiozero's own simulated pins."""
    before, gpiozero.Device.pin_factory = gpiozero.Device.pin_factory, MockFactory()
    yield gpiozero.Device.pin_factory
    gpiozero.Device.pin_factory.reset()
    gpiozero.Device.pin_factory = before


def test_a_pin_that_is_pulled_to_ground_is_an_event_and_its_release_is_none(pins: MockFactory):
    signal = GpioTriggerOptions(kind="gpio", pin=17).open()
    with listening(signal) as listener:
        for count in (1, 2):
            pins.pin(17).drive_low()
            listener.events(count)
            pins.pin(17).drive_high()
    first, second = listener.heard
    assert first.at_ns < second.at_ns


def test_a_pin_that_is_pulled_down_is_active_when_high(pins: MockFactory):
    with listening(GpioTriggerOptions(kind="gpio", pin="GPIO4", pull_up=False).open()) as listener:
        pins.pin(4).drive_high()
        listener.events(1)


def test_a_pin_is_free_again_after_the_trigger_has_ended():
    options = GpioTriggerOptions(kind="gpio", pin=17)
    for _ in range(2):
        with listening(options.open()):
            pass


def test_a_pin_that_does_not_exist_is_named():
    with pytest.raises(CameraError, match=r"trigger.pin: 999 cannot be used"):
        GpioTriggerOptions(kind="gpio", pin=999).open()
