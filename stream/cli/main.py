"""The command `patchline`: every command is a thin function; errors become one line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from stream import __version__
from stream.cli import dashboard, learn, run
from stream.cli.actuate import actuate
from stream.cli.app import LEARN, LINE, ONE, SET_UP, app, err, out
from stream.cli.bench.command import bench
from stream.cli.cameras import cameras
from stream.cli.demo.command import demo
from stream.cli.reload import reload
from stream.cli.replay.command import replay
from stream.cli.snapshot.command import snapshot
from stream.cli.teach import teach
from stream.core.errors import EXIT_USAGE, PatchLineError
from stream.core.log_lines import printable

#: Every command with its panel in the help, in the order in which `--help` lists them.
COMMANDS = (
    (SET_UP, cameras),
    (SET_UP, snapshot),
    (SET_UP, actuate),
    (LEARN, learn.fit),
    (LEARN, learn.calibrate),
    (LEARN, learn.evaluate),
    (LEARN, learn.show),
    (LEARN, teach),
    (LINE, run.run),
    (LINE, reload),
    (LINE, demo),
    (LINE, bench),
    (LINE, replay),
    (LINE, run.keys),
    (LINE, dashboard.password),
    (ONE, run.capture),
    (ONE, run.infer),
    (ONE, run.sink),
    (ONE, dashboard.dashboard),
)


def _version(show: bool) -> None:
    if show:
        out.print(f"patchline {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Real-time defect inspection for factory cameras. Learn good parts with `fit`, inspect them with `run`."""


for panel, command in COMMANDS:
    app.command(rich_help_panel=panel)(command)


def main() -> NoReturn:
    """Run the command; errors meant for the user are one line on standard error."""
    # Read by OpenMP when torch or faiss is loaded: idle threads sleep instead of taking the line's cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = app(standalone_mode=False)
    except PatchLineError as error:
        err.print(f"[bold red]error:[/] {_escape(str(error))}", highlight=False, soft_wrap=True)
        code = error.exit_code
    except typer.Exit as done:
        code = done.exit_code
    except typer.Abort:
        code = 130
    except KeyboardInterrupt:
        err.print("interrupted")
        code = 130
    except Exception as error:
        # Typer's own errors about options and arguments print themselves.
        if not hasattr(error, "show"):
            raise
        error.show()
        code = EXIT_USAGE
    sys.stdout.flush()
    sys.exit(code if isinstance(code, int) else 0)


def _escape(text: str) -> str:
    from rich.markup import escape

    # Several errors are several lines; whatever else a file's text contains must not drive the terminal.
    return escape("\n".join(map(printable, text.split("\n"))))
