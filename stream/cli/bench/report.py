"""`patchline bench`: trials at growing rates, what they come to, and their JSON."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from stream.cli.bench.rate_search import Tried, next_given_hz, next_rate_hz, sustained
from stream.cli.bench.standstill import Disturbance
from stream.cli.bench.trial import Trial, inspector_hz, machine, make_bundle, make_images, run_rate
from stream.cli.terminal import tracking
from stream.core.errors import ConfigError
from stream.model.bundle import live_bundle

#: First rate of the search for the highest one: slow for a production line.
FIRST_HZ = 10.0
#: Share of the parts that must be in time for a rate to be kept.
SHARE = 0.999


class BenchReport(msgspec.Struct, frozen=True):
    """The result of a bench.

    Attributes:
        stations, cameras, deadline_ms, seconds, share: the conditions of every trial.
        bank_patches: size of each station's memory bank.
        tiles: of each part; 1: the network takes it whole.
        machine: processor, cores and versions.
        inspector_hz: network inputs per second of the inspector alone in a loop, before the trials.
        sustained_hz: highest rate that most of its trials kept, below every rate that most did not.
        sustained_low_hz, sustained_high_hz: its spread: the highest rate that no trial failed to keep, and the highest
            that any trial kept.
        trials: in the order in which they ran.
    """

    stations: int
    cameras: int
    deadline_ms: float
    seconds: float
    share: float
    bank_patches: int
    tiles: int
    machine: dict[str, str]
    inspector_hz: float
    sustained_hz: float | None
    sustained_low_hz: float | None
    sustained_high_hz: float | None
    trials: list[Trial]


def run_bench(
    *,
    bundle: Path | None,
    stations: int,
    cameras: int | None,
    rates_hz: Sequence[float] | None,
    seconds: float,
    deadline_ms: float,
    share: float = SHARE,
    console: Console,
) -> BenchReport:
    """Try rates, those given or growing ones until too many parts are late; raises PatchLineError.

    Args:
        bundle: to inspect drawn images with; None: one is fitted on them.
        stations: number of stations; they share the rate.
        cameras: number of cameras that they share; None: each station has its own.
        rates_hz: parts per second over all stations; None: find the highest.
        seconds: of each trial that count, after the warm-up.
        deadline_ms: from exposure to verdict.
        share: of the parts that must be in time, 0 to 1.
        console: for progress.
    """
    cameras = stations if cameras is None else cameras
    if cameras > stations:
        raise ConfigError(f"--cameras: {cameras} cameras need as many stations, there are {stations}")
    with tempfile.TemporaryDirectory(prefix="patchline-bench-") as scratch:
        folder = Path(scratch)
        if bundle is None:
            with tracking(console) as track:
                bundle = make_bundle(folder, track)
        loaded = live_bundle(bundle)
        images = make_images(folder / "images", size_px=loaded.info.picture_px)
        console.print("inspector alone …")
        alone_hz = inspector_hz(loaded, images, min(seconds, 5.0))
        trials: list[Trial] = []
        columns = (TextColumn("{task.description:<24}", markup=False), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            while (rate_hz := _next(trials, rates_hz)) is not None:
                task = progress.add_task(f"{rate_hz:g} parts/s", total=None)
                if not console.is_terminal:
                    console.print(f"{rate_hz:g} parts/s …", highlight=False)
                trial = run_rate(
                    folder / "line",
                    bundle,
                    images,
                    stations=stations,
                    cameras=cameras,
                    rate_hz=rate_hz,
                    seconds=seconds,
                    deadline_ms=deadline_ms,
                    share=share,
                    track=lambda done, total, task=task: progress.update(task, completed=done, total=total),  # type: ignore[misc]
                )
                if trial.disturbed and not trial.kept:
                    progress.console.print(f"{rate_hz:g} parts/s: {disturbance_of(trial).text}", highlight=False)
                trials.append(trial)
    found = sustained(_tried(trials))
    return BenchReport(
        stations=stations,
        cameras=cameras,
        deadline_ms=deadline_ms,
        seconds=seconds,
        share=share,
        bank_patches=len(loaded.bank),
        tiles=1 if loaded.info.spec.tiles is None else loaded.info.spec.tiles.count,
        machine=machine(),
        inspector_hz=alone_hz,
        sustained_hz=found and found.hz,
        sustained_low_hz=found and found.low_hz,
        sustained_high_hz=found and found.high_hz,
        trials=trials,
    )


def _next(trials: list[Trial], rates_hz: Sequence[float] | None) -> float | None:
    tried = _tried(trials)
    return next_rate_hz(tried, FIRST_HZ) if rates_hz is None else next_given_hz(tried, rates_hz)


def _tried(trials: list[Trial]) -> list[Tried]:
    return [Tried(trial.offered_hz, trial.kept, trial.disturbed) for trial in trials]


def disturbance_of(trial: Trial) -> Disturbance:
    """Return what disturbed the machine during a trial."""
    return Disturbance(trial.standstill_ms, trial.steal_percent, trial.others_percent)
