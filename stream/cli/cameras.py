"""`patchline cameras`: the cameras attached to this host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def cameras(
    producer: Annotated[
        Path | None,
        typer.Option(help="A GenTL producer (.cti) to search with; default: those in GENICAM_GENTL64_PATH."),
    ] = None,
) -> None:
    """List the cameras that this host sees: V4L2, GenICam and, if its tool is installed, Aravis."""
    from rich.table import Table

    from stream.cli.app import out
    from stream.devices.cameras.discovery import look_everywhere

    looks = look_everywhere(producer)
    attached = [camera for look in looks for camera in look.found]
    if attached:
        table = Table(title=f"{len(attached)} camera(s)", title_justify="left")
        for heading in ("kind", "camera", "in the configuration", "found by"):
            table.add_column(heading, overflow="fold")
        for camera in attached:
            table.add_row(*camera)
        out.print(table)
    else:
        out.print("no camera found; looked at:")
    for look in looks:
        if look.remark is not None:
            out.print(f"{look.kind:<8} {look.remark}", highlight=False, soft_wrap=True)
