"""`patchline demo`: the whole product on images of solar cells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.app import out


def demo(
    parts: Annotated[
        int | None,
        typer.Option(min=1, help="End after this number of parts; default: all, then again until Ctrl-C."),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=200, help="Parts per second.")] = 10.0,
    report: Annotated[Path | None, typer.Option(help="Write the numbers as JSON.")] = None,
    folder: Annotated[Path, typer.Option("--dir", help="Folder for images, bundle, events and overlays.")] = Path(
        "demo"
    ),
) -> None:
    """Fit on good solar cells, then let good and broken ones pass a camera and reject the broken ones.

    After one pass of all parts the numbers are printed, and written to `--report`. The belt then repeats the same
    parts, so that the dashboard stays live, until Ctrl-C or SIGTERM; only with `--parts` the demo ends by itself.
    It takes free ports: 8080 for the dashboard, unless something else listens there.
    """
    from stream.cli.demo import demo as demonstration

    demonstration.run_demo(folder, parts=parts, rate_hz=rate, report=report, console=out)
