"""`patchline bench`: the rate that this machine sustains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.app import err, out
from stream.core.errors import ConfigError


def bench(
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle to inspect with; default: one of 1,176 patches, fitted on drawn parts.")
    ] = None,
    stations: Annotated[int, typer.Option(min=1, max=16, help="Stations; they share the rate.")] = 1,
    cameras: Annotated[
        int | None, typer.Option(min=1, max=16, help="Cameras that the stations share; default: one for each.")
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(metavar="HZ,HZ,…", help="Parts per second over all stations; default: the highest is searched."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=1, max=3600, help="Duration of each trial, after 2 s of warm-up.")
    ] = 10.0,
    deadline_ms: Annotated[float, typer.Option(min=1, help="From exposure to verdict.")] = 200.0,
    report: Annotated[Path | None, typer.Option(help="Write the numbers as JSON.")] = None,
) -> None:
    """Measure the rate that this machine sustains, with real processes and drawn parts.

    A rate is kept if every part was inspected by its deadline. `overhead` is the time of a part without
    backbone, search and score. First stop everything else that runs here.

    Example: `patchline bench --bundle cap.safetensors --stations 4 --deadline-ms 120`
    """
    import msgspec

    from stream.cli.bench.report import print_bench, run_bench
    from stream.core.files import check_destination, write_atomically

    if report is not None:
        check_destination(report, stream=True)
    result = run_bench(
        bundle=bundle,
        stations=stations,
        cameras=cameras,
        rates_hz=None if rates is None else _rates(rates),
        seconds=seconds,
        deadline_ms=deadline_ms,
        console=err,
    )
    if report is not None:
        write_atomically(report, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    print_bench(out, result)


def _rates(text: str) -> list[float]:
    try:
        rates = [float(number) for number in text.split(",")]
    except ValueError:
        rates = []
    if not rates or min(rates) <= 0 or max(rates) > 10_000:
        raise ConfigError(f"--rates: expected parts per second such as 10,50,100, got '{text}'")
    return rates
