"""Outputs that act on a part, one file per kind. The union is the registry: one file and one line each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stream.actuators.gpio import GpioOptions
from stream.actuators.log import LogOptions
from stream.actuators.modbus import ModbusOptions
from stream.actuators.mqtt import MqttOptions
from stream.actuators.opcua import OpcUaOptions
from stream.actuators.webhook import WebhookOptions

ActuatorOptions = Annotated[
    LogOptions | ModbusOptions | OpcUaOptions | MqttOptions | GpioOptions | WebhookOptions,
    Field(discriminator="kind"),
]

__all__ = ["ActuatorOptions"]
