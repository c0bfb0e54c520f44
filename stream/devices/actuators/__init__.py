"""Outputs that act on a part, one file per kind. The union is the registry: one file and one line each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stream.devices.actuators.gpio import GpioOptions
from stream.devices.actuators.log import LogOptions
from stream.devices.actuators.modbus import ModbusOptions
from stream.devices.actuators.mqtt import MqttOptions
from stream.devices.actuators.opcua import OpcUaOptions
from stream.devices.actuators.webhook import WebhookOptions

ActuatorOptions = Annotated[
    LogOptions | ModbusOptions | OpcUaOptions | MqttOptions | GpioOptions | WebhookOptions,
    Field(discriminator="kind"),
]

__all__ = ["ActuatorOptions"]
