"""A JSON message by HTTP for every pulse, signed."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from stream.core.credentials import read_secret
from stream.core.errors import ConfigError
from stream.core.options import ConfigPath, Name, Options
from stream.core.redaction import without_password
from stream.devices.actuators.actuator import RejectCommand, payload
from stream.devices.actuators.loop_thread import LoopThread
from stream.devices.host_name import unknown_host

if TYPE_CHECKING:
    import httpx

_CHECK_EVERY_S = 0.5
_CHECK_LIMIT_S = 1.0

#: Seconds of Unix time at which the message was signed.
TIMESTAMP_HEADER = "X-PatchLine-Timestamp"
#: `sha256=` and the hex HMAC-SHA256 of timestamp, a dot and the body, under the secret.
SIGNATURE_HEADER = "X-PatchLine-Signature"


class WebhookActuatorOptions(Options):
    """Send every pulse as a signed JSON message by HTTP POST; the receiver times its pulse itself."""

    kind: Literal["webhook"]
    url: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")]
    secret: SecretStr | None = None
    secret_file: ConfigPath | None = None
    secret_env: Name | None = None
    ca: ConfigPath | None = None

    def open(self) -> WebhookActuator:
        """Make the client; raises ConfigError when the secret or the certificate is missing."""
        import ssl

        import httpx

        logging.getLogger("httpx").setLevel(logging.WARNING)
        secret = read_secret("actuators: secret", self.secret, self.secret_file, self.secret_env)
        try:
            trusted = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"actuators: ca: {self.ca} cannot be used: {error}") from None
        client = httpx.AsyncClient(verify=trusted, timeout=None, trust_env=False)  # noqa: S113 - the window ends it
        return WebhookActuator(self.url, secret, client)


class WebhookActuator:
    """The acknowledgement of this actuator is a response with a status of 200 to 299."""

    heartbeat_ns: int | None = None

    def __init__(self, url: str, secret: str | None, client: httpx.AsyncClient) -> None:
        """Take over a client; without a secret messages are not signed."""
        self._url = url
        self._where = f"webhook {without_password(url)}"
        self._secret = secret
        self._client = client
        self._sequence = 0
        self._fault: str | None = f"{self._where}: not reached yet"
        self._loop_thread = LoopThread("webhook")
        self._loop_thread.start(self._check_connection())

    @property
    def fault(self) -> str | None:
        """Why the server cannot be reached, or None."""
        return self._fault

    def check(self, _until_ns: int) -> None:
        """Do nothing: the message has its own expiry."""

    def begin(self, command: RejectCommand, _fired_ns: int) -> None:
        """Post the message."""
        if self._fault is not None:
            raise ConnectionError(self._fault)
        self._sequence += 1
        body = json.dumps(payload(command, self._sequence)).encode()
        try:
            self._loop_thread.call(lambda: self._post(body), command.expires_ns)
        except OSError as error:
            raise type(error)(f"{self._where}: {error}") from error

    def end(self) -> None:
        """Do nothing: the message has the length of the pulse."""

    def beat(self, _level: bool, _until_ns: int) -> None:
        """There is no heartbeat."""

    def close(self) -> None:
        """Close the connections."""
        self._fault = f"{self._where}: closed"
        self._loop_thread.end()

    async def _post(self, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        if self._secret is not None:
            timestamp = f"{time.time():.6f}"
            headers[TIMESTAMP_HEADER] = timestamp
            headers[SIGNATURE_HEADER] = signature(self._secret, timestamp, body)
        response = await self._client.post(self._url, content=body, headers=headers)
        if not response.is_success:
            raise ConnectionError(f"answered with status {response.status_code}")

    async def _check_connection(self) -> None:
        """See again and again whether anybody listens there."""
        parts = urlsplit(self._url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        while True:
            try:
                async with asyncio.timeout(_CHECK_LIMIT_S):
                    _, writer = await asyncio.open_connection(parts.hostname, port)
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
                self._fault = None
            except socket.gaierror as error:
                self._fault = f"{self._where}: {unknown_host(str(parts.hostname), error)}"
            except (OSError, TimeoutError) as error:
                self._fault = f"{self._where}: no answer: {error or type(error).__name__}"
            await asyncio.sleep(_CHECK_EVERY_S)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of SIGNATURE_HEADER."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
