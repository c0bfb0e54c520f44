"""An unknown name of a host is named, whichever device is behind it."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from pydantic import TypeAdapter

from stream.devices.actuators import ActuatorOptions
from stream.devices.encoders import EncoderOptions
from stream.devices.host_name import why_unreachable
from stream.devices.triggers import TriggerOptions

UNKNOWN = "host name 'plc.invalid' is unknown"


def until_named(device: Any) -> None:
    until_s = time.monotonic() + 20
    while UNKNOWN not in (device.fault or ""):
        assert time.monotonic() < until_s, device.fault
        time.sleep(0.01)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "modbus", "host": "plc.invalid", "coil": 1},
        {"kind": "opcua", "url": "opc.tcp://plc.invalid:4840", "node": "ns=2;i=3"},
        {"kind": "webhook", "url": "http://plc.invalid/reject"},
        {"kind": "mqtt", "host": "plc.invalid", "topic": "reject"},
    ],
    ids=lambda options: options["kind"],
)
def test_of_an_output(options: dict[str, Any]):
    actuator = TypeAdapter[Any](ActuatorOptions).validate_python(options).open()
    try:
        until_named(actuator)
    finally:
        actuator.close()


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "modbus", "host": "plc.invalid", "input_register": 1, "counts_per_mm": 1},
        {"kind": "opcua", "url": "opc.tcp://plc.invalid:4840", "node": "ns=2;i=3"},
    ],
    ids=lambda options: options["kind"],
)
def test_of_an_encoder(options: dict[str, Any]):
    options.pop("counts_per_mm", None)
    encoder = TypeAdapter[Any](EncoderOptions).validate_python(options).open()
    try:
        with pytest.raises(OSError, match=UNKNOWN):
            encoder.read()
    finally:
        encoder.close()


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "modbus", "host": "plc.invalid", "address": 1},
        {"kind": "opcua", "url": "opc.tcp://plc.invalid:4840", "node": "ns=2;i=3"},
        {"kind": "mqtt", "host": "plc.invalid", "topic": "parts"},
    ],
    ids=lambda options: options["kind"],
)
def test_of_a_trigger(options: dict[str, Any]):
    trigger, stop = TypeAdapter[Any](TriggerOptions).validate_python(options).open(), threading.Event()
    reader = threading.Thread(target=lambda: list(trigger.events(stop)))
    reader.start()
    try:
        until_named(trigger)
    finally:
        stop.set()
        reader.join()


def test_a_host_with_a_name_that_does_not_answer_is_called_that():
    assert why_unreachable("127.0.0.1", "does not answer") == "does not answer"
