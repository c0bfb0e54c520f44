"""A variable of an OPC UA server."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from stream.core.options import Options, PositiveMs
from stream.devices.actuators.networked_output import CONNECT_S, NetworkedOutput, reset
from stream.devices.host_name import resolve
from stream.devices.plc.opcua import NodeId, OpcUaServer

if TYPE_CHECKING:
    from asyncua.client.client import Client

DataType = Literal["Boolean", "SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64"]


class OpcUaHeartbeat(Options):
    """A variable of the same data type that toggles between off and on while the line is well."""

    node: NodeId
    period_ms: PositiveMs = 500.0


class OpcUaActuatorOptions(OpcUaServer):
    """Switch a Boolean or integer variable of an OPC UA server."""

    kind: Literal["opcua"]
    node: NodeId
    data_type: DataType = "Boolean"
    on_value: int = 1
    off_value: int = 0
    heartbeat: OpcUaHeartbeat | None = None

    @model_validator(mode="after")
    def _two_levels(self) -> Self:
        if self.data_type == "Boolean" and bool(self.on_value) == bool(self.off_value):
            raise ValueError("on_value, off_value: for a Boolean give 1 and 0, or 0 and 1")
        if self.on_value == self.off_value:
            raise ValueError(f"on_value: {self.on_value} is also off_value; they must differ")
        return self

    def open(self) -> NetworkedOutput:
        """Begin to connect; raises ConfigError when the file of the password is missing."""
        password = self.read_password("actuators: password")
        heartbeat_ns = None if self.heartbeat is None else int(self.heartbeat.period_ms * 1e6)

        async def connect() -> _OpcUaSession:
            await resolve(self.host)
            client = self.async_client(password, CONNECT_S)
            try:
                await client.connect()
            except BaseException:
                _abort(client)
                raise
            return _OpcUaSession(client, self)

        return NetworkedOutput(f"{self.where} {self.node}", connect, heartbeat_ns)


class _OpcUaSession:
    """The acknowledgement is the server's status Good for the write."""

    def __init__(self, client: Client, options: OpcUaActuatorOptions) -> None:
        from asyncua import ua

        self._client = client
        self._node = client.get_node(options.node)
        self._heartbeat = None if options.heartbeat is None else client.get_node(options.heartbeat.node)
        kind = getattr(ua.VariantType, options.data_type)
        convert: type[int] = bool if options.data_type == "Boolean" else int
        # A value alone: servers of many controllers refuse one with a time stamp.
        self._levels = {
            level: ua.DataValue(ua.Variant(convert(value), kind))
            for level, value in ((True, options.on_value), (False, options.off_value))
        }
        self._on_value = convert(options.on_value)

    async def on(self) -> bool:
        value: Any = await self._node.read_value()
        return bool(value == self._on_value)

    async def switch(self, on: bool) -> None:
        await self._node.write_value(self._levels[on])

    async def beat(self, level: bool) -> None:
        if self._heartbeat is not None:
            await self._heartbeat.write_value(self._levels[level])

    def abort(self) -> None:
        _abort(self._client)


def _abort(client: Client) -> None:
    protocol = client.uaclient.protocol
    reset(None if protocol is None else protocol.transport)

    async def tidy() -> None:
        with suppress(Exception):
            await asyncio.wait_for(client.disconnect(), timeout=0.5)

    task = asyncio.get_running_loop().create_task(tidy())  # its own tasks end with it
    _tidying.add(task)
    task.add_done_callback(_tidying.discard)


#: The loop itself keeps only weak references.
_tidying: set[asyncio.Task[None]] = set()
