"""`patchline run`, the roles of a line one by one, and the keys of a line that spans hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.app import ConfigArgument, load_line, out
from stream.core.errors import ConfigError


def run(config: ConfigArgument) -> None:
    """Run all processes of a line until the cameras end or Ctrl-C."""
    from stream.cli.check.unfit_pictures import check_pictures
    from stream.line import supervisor
    from stream.line.rules import check_rules

    line = load_line(config)
    check_rules(line)
    check_pictures(line)
    supervisor.main(line, config)


def keys(
    folder: Annotated[Path, typer.Argument(help="Folder to write; copy it to every host.", show_default=False)],
) -> None:
    """Create the encryption keys of a line that spans several hosts (transport.keys)."""
    from stream.transport.sockets import make_keys

    out.print(f"written {make_keys(folder)}; keep it secret and copy the folder to every host of the line")


def capture(
    config: ConfigArgument,
    camera: Annotated[str | None, typer.Option(help="Which camera, if the line has several.")] = None,
) -> None:
    """Read one camera, announce its parts and send them to the workers."""
    from stream.capture import process as role

    line = load_line(config)
    if camera is None and len(line.cameras) == 1:
        camera = next(iter(line.cameras))
    if camera not in line.cameras:
        raise ConfigError(f"--camera: expected one of {', '.join(line.cameras)}, got {camera!r}")
    role.main(line, camera)


def infer(
    config: ConfigArgument,
    worker: Annotated[int, typer.Option(min=0, help="Which entry of `workers`, from 0.")] = 0,
) -> None:
    """Inspect the frames of all cameras: one worker."""
    from stream.inference import process as role

    line = load_line(config)
    if worker >= len(line.workers):
        raise ConfigError(f"--worker: {config} has workers 0 to {len(line.workers) - 1}, got {worker}")
    role.main(line, worker)


def sink(config: ConfigArgument) -> None:
    """Keep the ledger, fire rejects, raise alarms and store events."""
    from stream.sink import process as role

    role.main(load_line(config))
