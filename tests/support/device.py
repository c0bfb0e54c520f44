"""A PLC for the tests: `python device.py modbus|opcua PORT LOG` appends every write it carries out to LOG.

A line is the time (monotonic ns), what was written, and its value.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any


async def main(kind: str, port: int, path: Path) -> None:
    with path.open("a", encoding="utf-8") as log:

        def note(what: str, value: object) -> None:
            log.write(f"{time.monotonic_ns()} {what} {value}\n")
            log.flush()

        if kind == "modbus":
            await modbus(port, note)
        else:
            await opcua(port, note)


async def modbus(port: int, note: Any) -> None:
    from pymodbus.pdu.bit_message import WriteSingleCoilRequest
    from pymodbus.pdu.register_message import WriteSingleRegisterRequest
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    def trace(sending: bool, pdu: Any) -> Any:
        if not sending and isinstance(pdu, WriteSingleCoilRequest):
            note(f"coil{pdu.address}", int(pdu.bits[0]))
        elif not sending and isinstance(pdu, WriteSingleRegisterRequest):
            note(f"register{pdu.address}", pdu.registers[0])
        return pdu

    bits = [SimData(0, count=32, values=False, datatype=DataType.BITS)]
    registers = [SimData(0, count=32, values=0, datatype=DataType.REGISTERS)]
    inputs = [
        SimData(0, count=10, values=0, datatype=DataType.REGISTERS),
        SimData(10, values=[1, 2], datatype=DataType.REGISTERS),
    ]
    device = SimDevice(id=1, simdata=(bits, bits, registers, inputs))
    server = ModbusTcpServer(device, address=("127.0.0.1", port), trace_pdu=trace)
    await server.serve_forever()


async def opcua(port: int, note: Any) -> None:
    from asyncua import Server, ua
    from asyncua.common.callback import CallbackType
    from asyncua.server.user_managers import User, UserRole

    class Users:
        def get_user(self, _session: Any, username: str | None = None, password: str | None = None, **_: Any) -> Any:
            return User(role=UserRole.Admin) if (username, password) == ("line", "right") else None

    server = Server(user_manager=Users())
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/plc")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    plc = await server.nodes.objects.add_object(ua.NodeId("plc", 2), "plc")
    for name, kind in (("gate", ua.VariantType.Boolean), ("lamp", ua.VariantType.Int16)):
        node = await plc.add_variable(ua.NodeId(name, 2), name, 0 if name == "lamp" else False, kind)
        await node.set_writable()

    def written(event: Any, _dispatcher: Any) -> None:
        for item in event.request_params.NodesToWrite:
            if item.NodeId.NamespaceIndex == 2:
                note(str(item.NodeId.Identifier), int(item.Value.Value.Value))

    server.subscribe_server_callback(CallbackType.PreWrite, written)
    async with server:
        await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
