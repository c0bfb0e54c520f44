"""`patchline schema`: the JSON schema of a configuration."""

from __future__ import annotations

import typer


def schema() -> None:
    """Print the JSON schema of a line's configuration: every option with its type, limits, default and description.

    Editors complete and check with it; the examples in configs/ name it for them in their first line.

    Example: `patchline schema > line.schema.json`
    """
    from stream.line.config_schema import schema_text

    typer.echo(schema_text(), nl=False)
