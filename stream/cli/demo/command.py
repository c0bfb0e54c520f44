"""`patchline demo`: the whole product on pictures of solar cells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.app import out


def demo(
    parts: Annotated[
        int | None,
        typer.Option(min=1, help="End after so many parts; default: all, and on until Ctrl-C."),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=200, help="Parts per second.")] = 10.0,
    report: Annotated[Path | None, typer.Option(help="Write the numbers as JSON.")] = None,
    folder: Annotated[Path, typer.Option("--dir", help="Where pictures, bundle, events and overlays go.")] = Path(
        "demo"
    ),
) -> None:
    """Fit on good solar cells, then let good and broken ones pass a camera and reject the broken ones.

    When all have passed once the numbers are printed, and written to `--report`. The belt then goes on with the
    same parts, for whoever looks at the dashboard, until Ctrl-C or SIGTERM; only `--parts` makes the demo end by
    itself. Its ports are free ones: 8080 for the dashboard, unless something else listens there.
    """
    from stream.cli.demo import demo as demonstration

    demonstration.run_demo(folder, parts=parts, rate_hz=rate, report=report, console=out)
