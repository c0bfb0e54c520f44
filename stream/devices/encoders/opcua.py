"""An encoder whose count an OPC UA server shows as a variable."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from stream.devices.encoders.encoder import Polled
from stream.devices.host_name import unknown_host
from stream.devices.plc.opcua import NodeId, OpcUaServer

if TYPE_CHECKING:
    from asyncua.sync import Client

_ANSWER_S = 1.0


class OpcUaEncoderOptions(OpcUaServer, Polled):
    """Read an integer variable."""

    kind: Literal["opcua"]
    node: NodeId

    def open(self) -> OpcUaEncoder:
        """Prepare to connect; raises ConfigError when the password's file is missing."""
        return OpcUaEncoder(self, self.read_password("encoders: password"))


class OpcUaEncoder:
    """One request for each reading; after a failure a new connection."""

    def __init__(self, options: OpcUaEncoderOptions, password: str | None) -> None:
        """Connect with the first reading."""
        self._options = options
        self._password = password
        self._client: Client | None = None
        self._node: Any = None

    def read(self) -> int:
        """Return the count."""
        try:
            if self._client is None:
                self._connect()
            return int(self._node.read_value()) % self._options.wrap
        except Exception as error:
            self.close()
            raise ConnectionError(f"{self._options.where}: {error or type(error).__name__}") from error

    def _connect(self) -> None:
        self._client = self._options.client(self._password, _ANSWER_S)
        try:
            self._client.connect()
        except socket.gaierror as error:
            raise ConnectionError(unknown_host(self._options.host, error)) from None
        self._node = self._client.get_node(self._options.node)

    def close(self) -> None:
        """End the connection and the client's own thread."""
        client, self._client, self._node = self._client, None, None
        if client is not None:
            with suppress(Exception):
                client.disconnect()
