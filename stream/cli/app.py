"""What all commands share: the application, the consoles, the panels of the help, common options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stream.cli.streams import TerminalConsole

if TYPE_CHECKING:
    from stream.line.config import LineConfig

app = typer.Typer(
    help="Real-time defect inspection for factory cameras. Learn good parts with `fit`, inspect them with `run`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = TerminalConsole()
err = TerminalConsole(stderr=True)
SET_UP = "Set up cameras and outputs"
LEARN = "Learn and measure"
LINE = "Run a line"
ONE = "One process of a line alone (each may run on its own host)"

DeviceOption = Annotated[
    Literal["auto", "cuda", "openvino", "torch-cpu"],
    typer.Option(help="auto: CUDA, else OpenVINO on the CPU, else torch on the CPU."),
]

ConfigArgument = Annotated[
    Path, typer.Argument(help="The line's YAML file, see configs/line.yaml.", show_default=False)
]

RateOption = Annotated[float, typer.Option(min=1e-6, max=0.999, help="Wanted share of good parts called defective.")]


def load_line(path: Path) -> LineConfig:
    """Read the line's configuration; raises ConfigError."""
    from stream.line.config import load

    return load(path)
