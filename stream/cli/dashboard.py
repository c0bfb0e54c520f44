"""`patchline dashboard` and `patchline password`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def dashboard(
    config: Annotated[Path, typer.Argument(help="The line's YAML file, see configs/line.yaml.", show_default=False)],
) -> None:
    """Serve the dashboard; `run` already does unless `dashboard.enabled` is false."""
    from stream.dashboard import process as role
    from stream.line.config import load

    role.main(load(config))


def password(
    token: Annotated[bool, typer.Option("--token", help="Make a bearer token for a program instead.")] = False,
) -> None:
    """Print the hash of a password for `dashboard.users`, or a new token and its hash for `dashboard.tokens`."""
    import hashlib
    import secrets

    from stream.core.errors import ConfigError, MissingExtra

    if token:
        bearer = secrets.token_urlsafe(32)
        typer.echo(f"token (give it to the program, it is shown once): {bearer}")
        typer.echo(f"sha256: {hashlib.sha256(bearer.encode()).hexdigest()}")
        return
    try:
        from argon2 import PasswordHasher
    except ModuleNotFoundError:
        raise MissingExtra("hashing needs the package argon2-cffi: pip install 'patchline[dashboard]'") from None
    given = typer.prompt("password", hide_input=True, confirmation_prompt=True)
    if len(given) < 8:
        raise ConfigError("a password needs 8 characters at least")
    typer.echo(PasswordHasher().hash(given))
