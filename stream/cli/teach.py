"""`patchline teach`: a bundle from the parts that pass the camera now."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

_LIKE = "default: as in the live bundle"


def teach(
    config: Annotated[Path, typer.Argument(help="The line's YAML file, see configs/line.yaml.", show_default=False)],
    camera: Annotated[str, typer.Argument(help="One of its cameras.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Bundle to write (.safetensors).")],
    parts: Annotated[int, typer.Option(min=2, help="Good parts to collect.")] = 200,
    station: Annotated[
        str | None, typer.Option(help="The station to learn for, if the camera has several.", show_default=False)
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="New folder in which the images are kept; default: they are removed.", show_default=False),
    ] = None,
    false_reject_rate: Annotated[
        float | None,
        typer.Option(min=1e-6, max=0.999, help=f"Wanted share of good parts called defective; {_LIKE}."),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help=f"As for `fit`; {_LIKE}.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="PX|WxH", help=f"Network input in pixels, as for `fit`; {_LIKE}.")
    ] = None,
    coreset: Annotated[
        float | None, typer.Option(min=1e-4, max=1.0, help=f"Share of the patches to remember; {_LIKE}.")
    ] = None,
    bank_max: Annotated[int | None, typer.Option(min=1, help=f"Most patches to remember; {_LIKE}.")] = None,
) -> None:
    """Collect good parts from a camera, in use or not, and learn them. Let only good parts pass meanwhile.

    They are learned as the station's live bundle was, like *Teach* on the dashboard: with its region, backbone, input
    size, coreset, limit of the bank, neighbourhood, stride, precision and false-reject rate. Options given here take
    precedence. A station without a bundle gets the defaults of `fit`.

    A running line is not disturbed. Ctrl-C stops without a bundle.

    Example: `patchline teach line.yaml top --parts 300 -o cap.safetensors`
    """
    from stream.cli.app import err, load_line, out
    from stream.cli.input_options import network_size
    from stream.cli.terminal import print_fit, tracking
    from stream.training.collect import station_of
    from stream.training.jobs import FitOverrides, relearn

    line = load_line(config)
    name = station_of(line, camera, station)
    live = line.stations[name].bundle
    with tempfile.TemporaryDirectory(prefix="patchline-teach-") as scratch, tracking(err) as track:
        collected, fitted, like = relearn(
            track,
            line=line,
            station=name,
            live=live,
            folder=keep or Path(scratch),
            output=output,
            parts=parts,
            overrides=FitOverrides(
                backbone, None if size is None else network_size(size), coreset, false_reject_rate, bank_max
            ),
            opens=True,
        )
    where = f"kept in {keep}" if keep else "not kept (--keep DIR keeps them)"
    summary = f"{collected.parts} of {parts} parts collected, {collected.skipped} frames skipped; {where}"
    if fitted is None:
        err.print(f"stopped: {summary}; no bundle was made", soft_wrap=True)
        raise typer.Exit(130)
    print_fit(out, fitted, output, track.seconds)
    out.print(summary + (f"; {collected.ended}" if collected.ended else ""), soft_wrap=True)
    out.print(f"learned like {like}" if like else f"no live bundle at {live}: defaults of `fit`", soft_wrap=True)
    if os.path.realpath(output) == os.path.realpath(live):
        out.print(f"to put it live: patchline reload {config}", soft_wrap=True)
    else:
        out.print(
            f"to put it live: mv {output} {live} && patchline reload {config}; "
            f"or set stations.{name}.bundle to {output} and start the line again",
            soft_wrap=True,
        )
