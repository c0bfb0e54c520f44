"""Outputs that act on a part, one file per kind. The union is the registry: one file and one line each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stream.devices.actuators.gpio import GpioActuatorOptions
from stream.devices.actuators.log import LogActuatorOptions
from stream.devices.actuators.modbus import ModbusActuatorOptions
from stream.devices.actuators.mqtt import MqttActuatorOptions
from stream.devices.actuators.opcua import OpcUaActuatorOptions
from stream.devices.actuators.webhook import WebhookActuatorOptions

ActuatorOptions = Annotated[
    LogActuatorOptions
    | ModbusActuatorOptions
    | OpcUaActuatorOptions
    | MqttActuatorOptions
    | GpioActuatorOptions
    | WebhookActuatorOptions,
    Field(discriminator="kind"),
]

__all__ = ["ActuatorOptions"]
