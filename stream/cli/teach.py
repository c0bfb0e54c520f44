"""`patchline teach`: a bundle from the parts that pass the camera now."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer


def teach(
    config: Annotated[Path, typer.Argument(help="The line's YAML file, see configs/line.yaml.", show_default=False)],
    camera: Annotated[str, typer.Argument(help="One of its cameras.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Bundle to write (.safetensors).")],
    parts: Annotated[int, typer.Option(min=2, help="Good parts to collect.")] = 200,
    station: Annotated[
        str | None, typer.Option(help="Whose region to learn, if the camera has several stations.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Folder for the pictures, to be kept; default: they are removed afterwards.")
    ] = None,
    false_reject_rate: Annotated[
        float, typer.Option(min=1e-6, max=0.999, help="Wanted share of good parts called defective.")
    ] = 0.01,
    backbone: Annotated[str, typer.Option(help="As for `fit`.")] = "efficientnet_lite0",
    size: Annotated[int, typer.Option(min=32, max=2048, help="Edge of the square network input in pixels.")] = 224,
    coreset: Annotated[float, typer.Option(min=1e-4, max=1.0, help="Share of the patches to remember.")] = 0.01,
    holdout: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of the pictures kept out of the bank to calibrate.")
    ] = 0.2,
) -> None:
    """Collect good parts from a camera, in use or not, and learn them. Let only good parts pass meanwhile.

    A line that runs goes on undisturbed. Ctrl-C stops without a bundle.

    Example: `patchline teach line.yaml top --parts 300 -o cap.safetensors`
    """
    from rich.console import Console

    from stream.cli.terminal import print_fit, tracking
    from stream.core.errors import DatasetError
    from stream.line.config import load
    from stream.training import fit as fitting
    from stream.training.collect import collect, region, station_of

    out, err = Console(), Console(stderr=True)
    line = load(config)
    name = station_of(line, camera, station)
    roi = region(line.stations[name])
    with tempfile.TemporaryDirectory(prefix="patchline-teach-") as scratch:
        folder = keep or Path(scratch)
        with tracking(err) as track:
            collected = collect(line, camera, folder, wanted=parts, track=track)
            where = f"kept in {keep}" if keep else "not kept (--keep DIR keeps them)"
            told = f"{collected.parts} of {parts} parts collected, {collected.skipped} frames skipped; {where}"
            if collected.ended == "interrupted":
                err.print(f"stopped: {told}; no bundle was made", soft_wrap=True)
                raise typer.Exit(130)
            if collected.parts < 2:
                raise DatasetError(f"camera {camera}: {told}: too few to learn from; {collected.ended}")
            options = fitting.FitOptions(
                backbone=backbone,
                size_px=size,
                roi=roi,
                coreset=coreset,
                holdout=holdout,
                false_reject_rate=false_reject_rate,
            )
            summary = fitting.fit(folder, output, options, track)
        print_fit(out, summary, output, track.seconds)
    out.print(told + (f"; {collected.ended}" if collected.ended else ""), soft_wrap=True)
    live = line.stations[name].bundle
    if output.resolve() == live.resolve():
        out.print(f"to put it live: patchline reload {config}", soft_wrap=True)
    else:
        out.print(
            f"to put it live: mv {output} {live} && patchline reload {config}; "
            f"or set stations.{name}.bundle to {output} and start the line again",
            soft_wrap=True,
        )
