"""Triggers: one file per kind. The union below is the registry; a new trigger is one file and one line."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stream.triggers.gpio import GpioTrigger
from stream.triggers.http import HttpTrigger
from stream.triggers.modbus import ModbusTrigger
from stream.triggers.mqtt import MqttTrigger
from stream.triggers.opcua import OpcUaTrigger
from stream.triggers.rate import RateTrigger

TriggerOptions = Annotated[
    RateTrigger | ModbusTrigger | OpcUaTrigger | GpioTrigger | MqttTrigger | HttpTrigger,
    Field(discriminator="kind"),
]
