"""Passwords and keys: from the configuration or, better, from a file beside it."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import SecretStr

from stream.errors import ConfigError


def read_secret(field: str, value: SecretStr | None, file: Path | None, variable: str | None = None) -> str | None:
    """Return the secret from where it is given, or None when it is nowhere.

    Raises:
        ConfigError: given twice, a file that cannot be read, or an environment variable that is not set.
    """
    if sum(source is not None for source in (value, file, variable)) > 1:
        raise ConfigError(f"actuators: {field} is given more than once; keep one of the ways")
    if value is not None:
        return value.get_secret_value()
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"actuators: {field}_file: {file} cannot be read: {getattr(error, 'strerror', error)}"
            ) from None
    if variable is not None:
        if variable not in os.environ:
            raise ConfigError(f"actuators: {field}_env: the environment variable {variable} is not set")
        return os.environ[variable]
    return None
