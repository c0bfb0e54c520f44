"""`patchline bench`: what this machine sustains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.app import err, out
from stream.core.errors import ConfigError


def bench(
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle to judge with; default: one of 1,176 patches, fitted on drawn parts.")
    ] = None,
    stations: Annotated[int, typer.Option(min=1, max=16, help="Stations; they share the rate.")] = 1,
    cameras: Annotated[
        int | None, typer.Option(min=1, max=16, help="Cameras that the stations share; default: one for each.")
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(metavar="HZ,HZ,…", help="Parts per second over all stations; default: the highest is searched."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="Of each trial, after 2 s of warm-up.")] = 10.0,
    deadline_ms: Annotated[float, typer.Option(min=1, help="From exposure to verdict.")] = 200.0,
    report: Annotated[Path | None, typer.Option(help="Write the numbers as JSON.")] = None,
) -> None:
    """Find out what this machine sustains: real processes, drawn parts, growing rates.

    A rate is kept when every part was judged by its deadline. `overhead` is a part's time without
    backbone, search and score. Stop everything else that runs here first.

    Example: `patchline bench --bundle cap.safetensors --stations 4 --deadline-ms 120`
    """
    import msgspec

    from stream.cli.bench.report import print_bench, run_bench

    found = run_bench(
        bundle=bundle,
        stations=stations,
        cameras=cameras,
        rates_hz=None if rates is None else _rates(rates),
        seconds=seconds,
        deadline_ms=deadline_ms,
        console=err,
    )
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    print_bench(out, found)


def _rates(text: str) -> list[float]:
    try:
        rates = [float(number) for number in text.split(",")]
    except ValueError:
        rates = []
    if not rates or min(rates) <= 0 or max(rates) > 10_000:
        raise ConfigError(f"--rates: expected parts per second such as 10,50,100, got '{text}'")
    return rates
