"""Triggers: one file per kind. The union below is the registry; a new trigger is one file and one line."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stream.devices.triggers.gpio import GpioTrigger
from stream.devices.triggers.http import HttpTrigger
from stream.devices.triggers.modbus import ModbusTrigger
from stream.devices.triggers.mqtt import MqttTrigger
from stream.devices.triggers.opcua import OpcUaTrigger
from stream.devices.triggers.rate import RateTrigger

TriggerOptions = Annotated[
    RateTrigger | ModbusTrigger | OpcUaTrigger | GpioTrigger | MqttTrigger | HttpTrigger,
    Field(discriminator="kind"),
]
