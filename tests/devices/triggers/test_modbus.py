from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from pymodbus.client import ModbusTcpClient
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from support.listening import free_port, listening

from stream.devices.triggers.edge import RisingEdge
from stream.devices.triggers.modbus import ModbusTriggerOptions, name_in
from stream.devices.triggers.trigger import TriggerEvent

BIT, NAME = 3, 10


class Plc:
    """pymodbus's server in a thread; coils and registers are written by a client of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: ModbusTcpServer | None = None
        self.questions = 0

    def start(self, *, present: bool = False) -> None:
        asyncio.run_coroutine_threadsafe(self._start(present), self._loop).result(10)

    async def _start(self, present: bool) -> None:
        bits = [SimData(0, count=32, values=present, datatype=DataType.BITS)]
        registers = [SimData(0, count=32, values=0, datatype=DataType.REGISTERS)]
        device = SimDevice(id=1, simdata=(bits, bits, registers, registers))
        self._server = ModbusTcpServer(device, address=("127.0.0.1", self.port), trace_pdu=self._count)
        await self._server.serve_forever(background=True)

    def _count(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        self.questions += not sending
        return pdu

    def stop(self) -> None:
        if self._server is not None:
            asyncio.run_coroutine_threadsafe(self._server.shutdown(), self._loop).result(10)
            self._server = None

    def end(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def set(self, bit: bool, name: str | None = None) -> None:
        with ModbusTcpClient("127.0.0.1", port=self.port) as client:
            if name is not None:
                data = name.encode().ljust(16, b"\0")
                client.write_registers(NAME, [int.from_bytes(data[at : at + 2], "big") for at in range(0, 16, 2)])
            assert not client.write_coil(BIT, bit).isError()


@pytest.fixture
def plc() -> Iterator[Plc]:
    plc = Plc()
    plc.start()
    yield plc
    plc.end()


def options(plc: Plc, **more: object) -> ModbusTriggerOptions:
    basic = {"kind": "modbus", "host": "127.0.0.1", "port": plc.port, "table": "coil", "address": BIT}
    return ModbusTriggerOptions.model_validate(basic | {"reconnect_s": 0.1, "timeout_ms": 1000} | more)


def test_a_bit_that_rises_is_an_event_and_its_register_block_names_the_part(plc: Plc):
    with listening(options(plc, id_address=NAME).open()) as listener:
        listener.well()
        for count, name in enumerate(("A-1", "B-0002"), start=1):
            plc.set(True, name)
            listener.events(count)
            plc.set(False)
            # The falling edge must have been seen before the next one rises.
            before = plc.questions
            listener.until(lambda plc=plc, before=before: plc.questions >= before + 2, "poll of the falling edge")
    assert listener.part_ids == ["A-1", "B-0002"]
    assert all(trigger.fault == "" for trigger in listener.heard)


def test_a_plc_that_goes_is_a_fault_and_a_part_that_came_meanwhile_has_no_moment(plc: Plc):
    with listening(options(plc).open()) as listener:
        listener.well()
        plc.stop()
        listener.until(lambda: listener.signal.fault, "fault")
        assert str(plc.port) in str(listener.signal.fault)
        plc.start(present=True)
        (trigger,) = listener.events(1)
        assert "could not be read" in trigger.fault
        assert listener.signal.fault is None


def test_a_bit_that_the_plc_does_not_have_is_a_fault(plc: Plc):
    with listening(options(plc, address=5000).open()) as listener:
        listener.until(lambda: "coil 5000 cannot be read" in str(listener.signal.fault), "fault")


def test_what_a_bit_was_before_the_first_look_is_not_known():
    edge = RisingEdge()
    assert edge.seen(True, 1) is None
    assert edge.seen(False, 2) is None
    assert edge.seen(True, 3) == TriggerEvent(3)
    assert edge.seen(True, 4) is None


def test_an_edge_that_came_while_the_connection_was_lost_has_no_known_moment():
    edge = RisingEdge()
    edge.seen(False, 1)
    edge.lost()
    missed = edge.seen(True, 5)
    assert missed is not None
    assert "could not be read" in missed.fault
    edge.seen(False, 6)
    assert edge.seen(True, 7) == TriggerEvent(7)


def test_registers_hold_text_or_a_number():
    assert name_in([0x4142, 0x4300, 0x5858], "text") == "ABC"
    assert name_in([0, 0], "text") is None
    assert name_in([1, 2], "number") == str(0x10002)
