"""An encoder whose count an OPC UA server shows as a variable."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SecretStr

from stream.credentials import read_secret
from stream.encoders.encoder import Polled
from stream.options import ConfigPath

if TYPE_CHECKING:
    from asyncua.sync import Client

_ANSWER_S = 1.0


class OpcUaEncoderOptions(Polled):
    """Read an integer variable."""

    kind: Literal["opcua"]
    url: Annotated[str, Field(pattern=r"^opc\.tcp://[^\s/@]+(/\S*)?$")]
    node: Annotated[str, Field(pattern=r"^(ns=\d+;)?[isgb]=.+$")]
    username: str | None = None
    password: SecretStr | None = None
    password_file: ConfigPath | None = None

    def open(self) -> OpcUaEncoder:
        """Prepare to connect; raises ConfigError when the password's file is missing."""
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)
        return OpcUaEncoder(self, read_secret("encoders: password", self.password, self.password_file))


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
            raise ConnectionError(f"opcua {self._options.url}: {error or type(error).__name__}") from error

    def _connect(self) -> None:
        from asyncua.sync import Client

        self._client = Client(self._options.url, timeout=_ANSWER_S)
        if self._options.username is not None:
            self._client.set_user(self._options.username)
        if self._password is not None:
            self._client.set_password(self._password)
        self._client.connect()
        self._node = self._client.get_node(self._options.node)

    def close(self) -> None:
        """End the connection and the client's own thread."""
        client, self._client, self._node = self._client, None, None
        if client is not None:
            with suppress(Exception):
                client.disconnect()
