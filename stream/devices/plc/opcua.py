"""An OPC UA server: its place in the configuration, who we are to it, and clients for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from stream.core.credentials import read_secret
from stream.core.options import ConfigPath, Options
from stream.core.redaction import without_password

if TYPE_CHECKING:
    from asyncua.client.client import Client
    from asyncua.sync import Client as SyncClient

    C = TypeVar("C", Client, SyncClient)

#: As in ns=2;s=Line.PartPresent.
NodeId = Annotated[str, Field(pattern=r"^(ns=\d+;)?[isgb]=.+$")]


class OpcUaServer(Options):
    """Where the server is, and the user that logs in there; without one: anonymous."""

    url: Annotated[str, Field(pattern=r"^opc\.tcp://[^\s/@]+(/[^\s@]*)?$")]
    username: str | None = None
    password: SecretStr | None = None
    password_file: ConfigPath | None = None

    @property
    def where(self) -> str:
        """The server, for messages."""
        return f"opcua {without_password(self.url)}"

    @property
    def host(self) -> str:
        """The host of the URL."""
        return urlsplit(self.url).hostname or ""

    def read_password(self, field: str) -> str | None:
        """Return the password from where it is given; raises ConfigError, naming `field`, when it cannot be read."""
        return read_secret(field, self.password, self.password_file)

    def client(self, password: str | None, timeout_s: float) -> SyncClient:
        """Return a client that is not connected, which runs in its own thread."""
        from asyncua.sync import Client

        return self._known_to(Client(self.url, timeout=timeout_s, sync_wrapper_timeout=4 * timeout_s), password)

    def async_client(self, password: str | None, timeout_s: float) -> Client:
        """Return a client that is not connected, for the running event loop."""
        from asyncua.client.client import Client

        return self._known_to(Client(self.url, timeout=timeout_s), password)

    def _known_to(self, client: C, password: str | None) -> C:
        # The library logs lost connections with stack traces; they are reported in one line here.
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)
        if self.username is not None:
            client.set_user(self.username)
            client.set_password(password or "")
        return client
