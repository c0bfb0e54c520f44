"""Triggers: one file per kind. The union below is the registry; a new trigger is one file and one line."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stream.devices.triggers.gpio import GpioTriggerOptions
from stream.devices.triggers.http import HttpTriggerOptions
from stream.devices.triggers.modbus import ModbusTriggerOptions
from stream.devices.triggers.mqtt import MqttTriggerOptions
from stream.devices.triggers.opcua import OpcUaTriggerOptions
from stream.devices.triggers.rate import RateTriggerOptions

TriggerOptions = Annotated[
    RateTriggerOptions
    | ModbusTriggerOptions
    | OpcUaTriggerOptions
    | GpioTriggerOptions
    | MqttTriggerOptions
    | HttpTriggerOptions,
    Field(discriminator="kind"),
]
