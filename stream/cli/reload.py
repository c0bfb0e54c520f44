"""`patchline reload`: a running line takes the bundles that are currently on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def reload(
    config: Annotated[Path, typer.Argument(help="The line's YAML file, see configs/line.yaml.", show_default=False)],
    timeout: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds to wait for the line's answer; default: restarts.ready_s and 5 more."),
    ] = None,
) -> None:
    """Have a running line load its new bundles between two parts; an unusable one changes nothing.

    Exit code 1 if a station keeps its bundle instead of taking the new one.

    Example: `patchline fit photos/good -o cap.safetensors && patchline reload line.yaml`
    """
    from rich.text import Text

    from stream.cli.app import out
    from stream.core.errors import ReloadError
    from stream.line.config import load
    from stream.line.reload_request import request_reload

    line = load(config)
    os.umask(line.store.umask)  # for the request, which is a file of the line
    reports = request_reload(line, timeout_s=timeout or line.restarts.ready_s + 5)
    refused = []
    for camera, report in reports.items():
        for station, change in report.stations.items():
            names = f"{change.old_sha256[:12]} → {change.new_sha256[:12] or 'unreadable'}"
            if change.reason is not None:
                refused.append(f"station {station} keeps bundle {change.old_sha256[:12]}: {change.reason}")
                out.print(Text.assemble(("refused", "bold red"), f"    {camera} {station}: {names}"), soft_wrap=True)
            elif change.old_sha256 == change.new_sha256:
                out.print(f"unchanged  {camera} {station}: {change.old_sha256[:12]}", highlight=False)
            else:
                out.print(Text.assemble(("new bundle", "bold green"), f" {camera} {station}: {names}"), soft_wrap=True)
    if not reports:
        out.print("the workers of this host were notified; the host of the cameras decides, see its log")
    if refused:
        raise ReloadError("; ".join(refused))
