"""Passwords, keys and certificates: what this line shows to brokers and servers, and what they must show."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from pydantic import SecretStr

from stream.core.errors import ConfigError
from stream.core.options import ConfigPath, Options


def read_secret(field: str, value: SecretStr | None, file: Path | None, variable: str | None = None) -> str | None:
    """Return the secret from where it is given, or None when it is nowhere; `field` is named in errors.

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
            raise ConfigError(f"{field}_file: {file} cannot be read: {getattr(error, 'strerror', error)}") from None
    if variable is not None:
        if variable not in os.environ:
            raise ConfigError(f"{field}_env: the environment variable {variable} is not set")
        return os.environ[variable]
    return None


class Tls(Options):
    """How the other side proves who it is, and this one to it."""

    ca: ConfigPath | None = None  # who signed its certificate; None: one of the system's
    cert: ConfigPath | None = None  # of this side, where the other wants one
    key: ConfigPath | None = None  # belonging to `cert`

    def context(self, field: str) -> ssl.SSLContext:
        """Return what a client needs; raises ConfigError when a file cannot be used, naming `field`."""
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
