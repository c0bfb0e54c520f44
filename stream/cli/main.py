"""The command `patchline`: every command is a thin function; errors become one line and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import Annotated, NoReturn

import typer
from rich.text import Text

from stream import __version__
from stream.cli import dashboard, learn, run
from stream.cli.actuate import actuate
from stream.cli.app import LEARN, LINE, ONE, SET_UP, app, err, out
from stream.cli.bench.command import bench
from stream.cli.cameras import cameras
from stream.cli.check.command import check
from stream.cli.demo.command import demo
from stream.cli.reload import reload
from stream.cli.replay.command import replay
from stream.cli.schema import schema
from stream.cli.snapshot.command import snapshot
from stream.cli.streams import discard_output, flush_output, prepare_streams
from stream.cli.teach import teach
from stream.core.errors import EXIT_USAGE, DiskError, PatchLineError
from stream.core.files import private_folder
from stream.core.log_lines import printable

log = logging.getLogger(__name__)

#: Exit code where the reader of a pipe has gone, as a shell reports it of other programs: 128 + SIGPIPE.
_OUTPUT_CLOSED = 141
#: Every command with its panel in the help, in the order in which `--help` lists them.
COMMANDS = (
    (SET_UP, cameras),
    (SET_UP, snapshot),
    (SET_UP, actuate),
    (SET_UP, schema),
    (LEARN, learn.fit),
    (LEARN, learn.calibrate),
    (LEARN, learn.evaluate),
    (LEARN, learn.show),
    (LEARN, teach),
    (LINE, check),
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
    prepare_streams()
    _give_home()
    try:
        try:
            code = _run()
            flush_output()
        except BrokenPipeError:  # whoever read the output has seen enough
            discard_output()
            code = _OUTPUT_CLOSED
        except OSError as error:
            discard_output()
            _complain(_reason(error))
            code = EXIT_USAGE
    except BrokenPipeError:  # nobody reads the errors either
        code = _OUTPUT_CLOSED
    sys.exit(code)


def _give_home() -> None:
    """Give a user without a home, as in a container that runs under a bare number, one for the libraries that need it.

    OpenVINO, torch and others look for their settings there as they are loaded.
    """
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - Path.expanduser raises where there is no home
        with suppress(DiskError, OSError):
            home = private_folder()
            home.mkdir(mode=0o700, exist_ok=True)
            os.environ["HOME"] = str(home)


def _run() -> int:
    """Run the command and return its exit code."""
    try:
        code = app(standalone_mode=False)
    except PatchLineError as error:
        _complain(str(error))
        code = error.exit_code
    except typer.Exit as done:
        code = done.exit_code
    except typer.Abort:
        code = 130
    except KeyboardInterrupt:
        err.print("interrupted")
        code = 130
    except OSError:
        raise
    except Exception as error:
        # Typer's own errors about options and arguments print themselves.
        if not hasattr(error, "show"):
            raise
        if isinstance(message := getattr(error, "message", None), str):
            error.message = printable(message)  # type: ignore[attr-defined]
        error.show()
        code = EXIT_USAGE
    return code if isinstance(code, int) else 0


def _complain(message: str) -> None:
    # Several errors are several lines; whatever else a file's text contains must not drive the terminal.
    shown = "\n".join(map(printable, message.split("\n")))
    err.print(Text.assemble(("error:", "bold red"), f" {shown}"), soft_wrap=True)


def _reason(error: OSError) -> str:
    """Return an error of the system that no room made one of its own, with the file if it names one."""
    log.debug("raised here", exc_info=error)
    if error.filename is None:
        return f"{error.strerror or error}; is a disk full, or the output closed? PATCHLINE_LOG=DEBUG shows where"
    return (
        f"{os.fsdecode(error.filename)}: {error.strerror}; check that it exists, its permissions and the disk's space"
    )
