"""Passwords, keys and certificates by which this line and its brokers and servers authenticate each other."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from pydantic import SecretStr

from stream.core.errors import ConfigError
from stream.core.options import ConfigPath, Options


def read_secret(field: str, value: SecretStr | None, file: Path | None, variable: str | None = None) -> str | None:
    """Return the secret from its source, or None if none is given; `field` is named in errors.

    Raises:
        ConfigError: given twice, a file that cannot be read, or an environment variable that is not set.
    """
    if sum(source is not None for source in (value, file, variable)) > 1:
        raise ConfigError(f"{field} is given more than once; keep one of the ways")
    if value is not None:
        return value.get_secret_value()
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", "it is no UTF-8 text")
            raise ConfigError(f"{field}_file: {file} cannot be read: {reason}") from None
    if variable is not None:
        if variable not in os.environ:
            raise ConfigError(f"{field}_env: the environment variable {variable} is not set")
        return os.environ[variable]
    return None


class Tls(Options):
    """How the other side is authenticated, and this side to it."""

    ca: ConfigPath | None = None  # that signed the other side's certificate; None: the system's
    cert: ConfigPath | None = None  # of this side, if the other requires one
    key: ConfigPath | None = None  # belonging to `cert`

    def context(self, field: str) -> ssl.SSLContext:
        """Return the TLS context of a client; raises ConfigError, naming `field`, if a file cannot be used."""
        for name, file in (("ca", self.ca), ("cert", self.cert), ("key", self.key)):
            if file is not None and not file.is_file():
                raise ConfigError(f"{field}.{name}: {file}: no such file")
        try:
            context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{field}: certificates or key cannot be used: {error}") from None
        return context
