"""`patchline check`: a table of what a line needs, with a line for each and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from stream.cli.app import ConfigArgument, load_line, out
from stream.core.errors import EXIT_USAGE, ConfigError

if TYPE_CHECKING:
    from stream.cli.check.check import Check


def check(
    config: ConfigArgument,
    wait_s: float = typer.Option(10.0, "--wait", min=0.1, max=600, help="Seconds to wait for a camera or an output."),
) -> None:
    """Try everything that a line needs, and print what would keep it from running or inspecting.

    Opens the cameras and passes one frame of each through its stations; connects to triggers, outputs, encoders and
    PLCs without a pulse; looks at ports, permissions, disk, clock and bundles. What a running line holds is left alone.

    Exit code 2 if anything is wrong.

    Example: `patchline check line.yaml`
    """
    from stream.cli.check.check import Check as Result
    from stream.cli.check.checks import check_line
    from stream.line.permissions import line_rights

    try:
        line = load_line(config)
    except ConfigError as error:
        _print(config, [Result("configuration", str(problem), wrong=True) for problem in str(error).splitlines()])
        raise typer.Exit(EXIT_USAGE) from None
    results = [Result("configuration", f"{len(line.stations)} station(s), {len(line.cameras)} camera(s)")]
    with line_rights(line):
        results += check_line(line, wait_s)
    _print(config, results)
    if any(result.wrong for result in results):
        raise typer.Exit(EXIT_USAGE)


def _print(config: Path, results: list[Check]) -> None:
    from rich.table import Table

    table = Table("", "what", "found, and what to do", title=f"check of {config}", title_justify="left")
    table.columns[2].overflow = "fold"
    for result in results:
        state, style = ("WRONG", "red") if result.wrong else ("look", "yellow") if result.doubtful else ("ok", "")
        table.add_row(state, result.what, result.found, style=style)
    out.print(table)
    out.print(_conclusion(results), highlight=False)


def _conclusion(results: list[Check]) -> str:
    wrong, look = (sum(getattr(result, kind) for result in results) for kind in ("wrong", "doubtful"))
    if wrong:
        return f"{wrong} of {len(results)} wrong"
    return (
        f"{len(results) - look} of {len(results)} in order, {look} to look at"
        if look
        else f"all {len(results)} in order"
    )
