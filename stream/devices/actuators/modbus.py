"""A coil or holding register of a Modbus TCP device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from stream.core.options import Options, PositiveMs
from stream.devices.actuators.networked_output import CONNECT_S, NetworkedOutput, reset
from stream.devices.host_name import resolve
from stream.devices.plc.modbus import Address, ModbusDevice

if TYPE_CHECKING:
    from pymodbus.client import AsyncModbusTcpClient
    from pymodbus.pdu import ModbusPDU

Value = Annotated[int, Field(ge=0, le=65_535)]


class ModbusHeartbeat(Options):
    """A coil or holding register that toggles between 0 and 1 while the line is well."""

    coil: Address | None = None
    holding_register: Address | None = None
    period_ms: PositiveMs = 500.0

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        _one_of(self.coil, self.holding_register)
        return self


class ModbusActuatorOptions(ModbusDevice):
    """Switch a coil or holding register of a Modbus TCP device; addresses count from 0."""

    kind: Literal["modbus"]
    coil: Address | None = None
    holding_register: Address | None = None
    on_value: Value = 1
    off_value: Value = 0
    heartbeat: ModbusHeartbeat | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        _one_of(self.coil, self.holding_register)
        if self.coil is not None and bool(self.on_value) == bool(self.off_value):
            raise ValueError("on_value, off_value: for a coil give 1 and 0, or 0 and 1")
        if self.on_value == self.off_value:
            raise ValueError(f"on_value: {self.on_value} is also off_value; they must differ")
        return self

    def open(self) -> NetworkedOutput:
        """Begin to connect."""
        place = f"coil {self.coil}" if self.coil is not None else f"register {self.holding_register}"
        heartbeat_ns = None if self.heartbeat is None else int(self.heartbeat.period_ms * 1e6)
        return NetworkedOutput(f"{self.where} {place}", self._connect, heartbeat_ns)

    async def _connect(self) -> _ModbusSession:
        await resolve(self.host)
        client = self.async_client(CONNECT_S)
        if not await client.connect():
            client.close()
            raise ConnectionError("no connection")
        return _ModbusSession(client, self)


class _ModbusSession:
    """The acknowledgement is the device's normal response to the write."""

    def __init__(self, client: AsyncModbusTcpClient, options: ModbusActuatorOptions) -> None:
        self._client = client
        self._options = options

    async def on(self) -> bool:
        options = self._options
        if options.coil is not None:
            answer = await self._client.read_coils(options.coil, count=1, device_id=options.device_id)
            return _accepted(answer).bits[0] == bool(options.on_value)
        assert options.holding_register is not None
        answer = await self._client.read_holding_registers(
            options.holding_register, count=1, device_id=options.device_id
        )
        return _accepted(answer).registers[0] == options.on_value

    async def switch(self, on: bool) -> None:
        options = self._options
        await self._write(options.coil, options.holding_register, options.on_value if on else options.off_value)

    async def beat(self, level: bool) -> None:
        heartbeat = self._options.heartbeat
        assert heartbeat is not None
        await self._write(heartbeat.coil, heartbeat.holding_register, int(level))

    async def _write(self, coil: int | None, register: int | None, value: int) -> None:
        device_id = self._options.device_id
        if coil is not None:
            _accepted(await self._client.write_coil(coil, bool(value), device_id=device_id))
        elif register is not None:
            _accepted(await self._client.write_register(register, value, device_id=device_id))

    def abort(self) -> None:
        reset(self._client.ctx.transport)
        self._client.close()


def _accepted(answer: ModbusPDU) -> ModbusPDU:
    """Return the response; raises OSError for the device's refusal."""
    if answer.isError():
        codes = {1: "illegal function", 2: "illegal address", 3: "illegal value", 4: "device failure", 6: "device busy"}
        code = getattr(answer, "exception_code", 0)
        raise OSError(f"the device refuses: {codes.get(code, f'exception {code}')}")
    return answer


def _one_of(coil: int | None, holding_register: int | None) -> None:
    if (coil is None) == (holding_register is None):
        raise ValueError("coil, holding_register: give exactly one of them")
