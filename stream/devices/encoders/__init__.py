"""Encoders of belts, one file per kind. The union is the registry: one file and one line each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stream.devices.encoders.modbus import ModbusEncoderOptions
from stream.devices.encoders.opcua import OpcUaEncoderOptions
from stream.devices.encoders.simulated import SimulatedEncoderOptions

EncoderOptions = Annotated[
    ModbusEncoderOptions | OpcUaEncoderOptions | SimulatedEncoderOptions, Field(discriminator="kind")
]

__all__ = ["EncoderOptions"]
