"""A Modbus TCP device: its place in the configuration, and clients for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from stream.core.options import Host, Options

if TYPE_CHECKING:
    from pymodbus.client import AsyncModbusTcpClient, ModbusTcpClient

#: Of a coil, input or register, counted from 0.
Address = Annotated[int, Field(ge=0, le=65_535)]


class ModbusDevice(Options):
    """Where the device is, and which unit behind that address."""

    host: Host
    port: Annotated[int, Field(ge=1, le=65_535)] = 502
    device_id: Annotated[int, Field(ge=0, le=255)] = 1

    @property
    def where(self) -> str:
        """The device, for messages."""
        return f"modbus {self.host}:{self.port}"

    def client(self, timeout_s: float) -> ModbusTcpClient:
        """Return a client that is not connected and never asks twice."""
        from pymodbus.client import ModbusTcpClient

        _quiet()
        return ModbusTcpClient(self.host, port=self.port, timeout=timeout_s, retries=0)

    def async_client(self, timeout_s: float) -> AsyncModbusTcpClient:
        """Return a client that is not connected, for the running event loop; it never asks twice or connects again."""
        from pymodbus.client import AsyncModbusTcpClient

        _quiet()
        # The library's retries and reconnects would send later what has failed.
        return AsyncModbusTcpClient(self.host, port=self.port, timeout=timeout_s, retries=0, reconnect_delay=0)


def _quiet() -> None:
    """Silence the library's hexadecimal logs of lost connections, which are reported in one line here."""
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
