"""`kind: modbus`: a bit of a PLC that is polled over Modbus TCP; registers may hold the part's name."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from stream.core.options import PositiveMs, PositiveS
from stream.devices.host_name import why_unreachable
from stream.devices.plc.modbus import Address, ModbusDevice
from stream.devices.triggers.edge import RisingEdge
from stream.devices.triggers.trigger import CommonTriggerOptions, TriggerEvent, TriggerSource, clean_part_id

if TYPE_CHECKING:
    from pymodbus.client import ModbusTcpClient

log = logging.getLogger(__name__)


class ModbusTriggerOptions(ModbusDevice, CommonTriggerOptions):
    """The bit going from 0 to 1 is the event; it must stay at each for longer than `poll_ms` and an answer take."""

    kind: Literal["modbus"]
    table: Literal["discrete_input", "coil"] = "discrete_input"  # where the bit is
    address: Address  # of the bit, counted from 0
    id_address: Address | None = None  # first holding register with the part's name; None: parts have no name
    id_count: Annotated[int, Field(ge=1, le=100)] = 8  # registers of it
    id_format: Literal["text", "number"] = "text"  # two characters a register, or one big-endian number
    poll_ms: PositiveMs = 5.0
    timeout_ms: PositiveMs = 200.0  # silence after which the connection counts as lost
    reconnect_s: PositiveS = 1.0  # pause before each attempt to connect again

    def open(self) -> TriggerSource:
        """Return the trigger, which connects when it is read."""
        return _Poll(self)


class _Lost(Exception):  # noqa: N818 - a state of the connection
    """The PLC does not answer, or not what was asked."""


class _Poll:
    def __init__(self, options: ModbusTriggerOptions) -> None:
        self._options = options
        self._name = options.where
        self.fault: str | None = f"{self._name}: not connected yet"

    def events(self, stop: threading.Event) -> Iterator[TriggerEvent]:
        """Yield a trigger for every rising edge, connecting again for as long as it takes."""
        options, edge = self._options, RisingEdge()
        while not stop.is_set():
            client = options.client(options.timeout_ms / 1e3)
            try:
                if not client.connect():
                    raise _Lost(why_unreachable(options.host, "cannot be reached"))
                while not stop.wait(options.poll_ms / 1e3):
                    event = edge.seen(self._bit(client), time.monotonic_ns())
                    if self.fault is not None:
                        log.info("trigger: %s: connected", self._name)
                        self.fault = None
                    if event is not None:
                        yield event._replace(part_id=self._part_id(client))
            except _Lost as error:
                edge.lost()
                fault = f"{self._name}: {error}"
                if fault != self.fault:
                    log.warning("trigger: %s", fault)
                self.fault = fault
                stop.wait(options.reconnect_s)
            finally:
                client.close()

    def _bit(self, client: ModbusTcpClient) -> bool:
        from pymodbus.exceptions import ModbusException

        options = self._options
        read = client.read_coils if options.table == "coil" else client.read_discrete_inputs
        try:
            answer = read(options.address, count=1, device_id=options.device_id)
        except (ModbusException, OSError) as error:
            raise _Lost(f"does not answer: {error}") from None
        if answer.isError() or not answer.bits:
            raise _Lost(f"{options.table} {options.address} cannot be read: {answer}")
        return bool(answer.bits[0])

    def _part_id(self, client: ModbusTcpClient) -> str | None:
        """Read the name; the part is there even if that fails."""
        from pymodbus.exceptions import ModbusException

        options = self._options
        if options.id_address is None:
            return None
        try:
            answer = client.read_holding_registers(
                options.id_address, count=options.id_count, device_id=options.device_id
            )
        except (ModbusException, OSError) as error:
            log.warning("trigger: %s: a part without name: %s", self._name, error)
            return None
        if answer.isError() or len(answer.registers) != options.id_count:
            log.warning("trigger: %s: a part without name: %s", self._name, answer)
            return None
        return name_in(answer.registers, options.id_format)


def name_in(registers: Sequence[int], form: Literal["text", "number"]) -> str | None:
    """Return the name that registers hold: text up to the first NUL, or a number."""
    data = b"".join(register.to_bytes(2, "big") for register in registers)
    if form == "number":
        return str(int.from_bytes(data, "big"))
    return clean_part_id(data.partition(b"\0")[0].decode("utf-8", errors="replace"))
