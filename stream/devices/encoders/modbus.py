"""An encoder whose count a Modbus TCP device shows in its registers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from stream.devices.encoders.encoder import Polled
from stream.devices.host_name import why_unreachable
from stream.devices.plc.modbus import Address, ModbusDevice

if TYPE_CHECKING:
    from pymodbus.client import ModbusTcpClient

_ANSWER_S = 0.5


class ModbusEncoderOptions(ModbusDevice, Polled):
    """Read an input or holding register, or two that follow each other (high word first)."""

    kind: Literal["modbus"]
    input_register: Address | None = None
    holding_register: Address | None = None
    words: Literal[1, 2] = 1

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.input_register is None) == (self.holding_register is None):
            raise ValueError("input_register, holding_register: give exactly one of them")
        if self.wrap > 65_536**self.words:
            raise ValueError(f"wrap: {self.wrap} is more than {self.words} register(s) of 16 bits can count")
        return self

    def open(self) -> ModbusEncoder:
        """Make the client."""
        return ModbusEncoder(self.client(_ANSWER_S), self)


class ModbusEncoder:
    """One request for each reading; after a failure a new connection."""

    def __init__(self, client: ModbusTcpClient, options: ModbusEncoderOptions) -> None:
        """Take over a client that need not be connected."""
        self._client = client
        self._options = options

    def read(self) -> int:
        """Return the count."""
        options, client = self._options, self._client
        try:
            if not client.connected and not client.connect():  # type: ignore[no-untyped-call]
                raise ConnectionError(f"{options.where}: {why_unreachable(options.host)}")
            if options.input_register is not None:
                answer = client.read_input_registers(
                    options.input_register, count=options.words, device_id=options.device_id
                )
            else:
                assert options.holding_register is not None
                answer = client.read_holding_registers(
                    options.holding_register, count=options.words, device_id=options.device_id
                )
        except Exception as error:
            self.close()
            if isinstance(error, OSError):
                raise
            raise ConnectionError(f"{options.where}: {error}") from error
        if answer.isError():
            raise OSError(f"{options.where}: the device refuses the register")
        count = 0
        for word in answer.registers:
            count = (count << 16) | word
        return count % options.wrap

    def close(self) -> None:
        """End the connection."""
        self._client.close()  # type: ignore[no-untyped-call]
