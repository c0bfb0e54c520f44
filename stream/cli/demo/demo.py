"""The demo: fits on good solar cells, runs the real processes and compares their verdicts with the labels.

The images are ELPV, 2,624 electroluminescence photographs of solar cells with labels (Buerhop et
al. 2018; Deitsch et al. 2019; CC BY-NC-SA 4.0), which come with the package elpv-dataset.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from stream.cli.app import err
from stream.cli.demo.numbers import measure, print_numbers
from stream.cli.terminal import print_fit, tracking
from stream.cli.trial_line import free_ports, ledger_of, run_trial
from stream.core.errors import LineFailed, PatchLineError
from stream.core.files import check_destination, write_atomically
from stream.core.parts import LedgerCounts
from stream.line.config import LineConfig, load
from stream.line.example import configs_folder
from stream.store.event_reader import FILE_NAME, EventReader
from stream.training.fit import fit
from stream.training.fit_options import FitOptions
from stream.training.folds import BY_FILE

TRAINING_IMAGES = 300
STATION = "cell"
#: Number of parts of a belt that repeats its images without end.
_WITHOUT_END = 10**9


def run_demo(folder: Path, *, parts: int | None, rate_hz: float, report: Path | None, console: Console) -> None:
    """Run the whole demo in `folder`; without `parts`, the belt goes on after all images until Ctrl-C or SIGTERM.

    The numbers are those of the first pass. Without the dashboard's packages the demo ends with it, as it does
    after `parts`.

    Raises:
        PatchLineError: it cannot run, or the ledger does not close.
    """
    begun_s = time.monotonic()
    if report is not None:
        check_destination(report, stream=True)
    # SIGTERM acts like Ctrl-C: the processes of the demo are stopped in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(os.path.realpath(folder))
    dataset = export_elpv(folder / "elpv")
    # Cells chosen at random, one image of each: their order means nothing.
    options = FitOptions(group_by=BY_FILE)
    with tracking(err) as track:
        summary = fit(dataset / "train" / "good", folder / "cell.safetensors", options, track)
    print_fit(console, summary, folder / "cell.safetensors", track.seconds)
    dashboard = importlib.util.find_spec("fastapi") is not None
    stays = parts is None and dashboard
    total = _image_count(folder / "parts") if parts is None else parts
    path, config = write_configuration(folder, parts=_WITHOUT_END if stays else total, rate_hz=rate_hz)
    where = config.dashboard.url if dashboard else "not installed; pip install 'patchline[dashboard]'"
    console.print(f"dashboard: {where}", soft_wrap=True)

    def first_pass() -> None:
        broken = {file.name for file in (dataset / "test" / "defect").iterdir()}
        numbers = measure(config, STATION, total=total, broken=broken)
        numbers["seconds"] = round(time.monotonic() - begun_s, 1)
        if report is not None:
            write_atomically(report, json.dumps(numbers, indent=2).encode() + b"\n")
        print_numbers(console, numbers, config)
        if not numbers["ledger_closed"]:
            raise LineFailed("the ledger did not close")
        if stays:
            console.print("The belt goes on with the same parts; these numbers are of the first pass.")
            console.print(f"dashboard: {config.dashboard.url}  (Ctrl-C ends the demo)", soft_wrap=True)

    run_line(path, config, total, first_pass)
    counts = ledger_of(config)[STATION]
    if not counts.closed or counts.pending:
        raise LineFailed(f"the ledger did not close: {counts.summary()}")
    if stays:
        console.print(f"the line has ended: {counts.summary()}", soft_wrap=True)


def export_elpv(target: Path) -> Path:
    """Lay out the monocrystalline cells as an MVTec-style data set, and the belt's parts beside it.

    Good cells (label 0) make `train/good` (300, chosen at random, seed 0) and `test/good`, broken ones
    (label 1.0) `test/defect`; cells that the annotators were unsure about are left out.

    Raises:
        PatchLineError: the package with the images is not installed.
    """
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise PatchLineError("the demo's images are not installed: pip install 'patchline[demo]'")
    data = Path(spec.origin).parent / "data"
    with (data / "labels.csv").open() as file:
        rows = [row for row in csv.reader(file, delimiter=" ", skipinitialspace=True) if row[2] == "mono"]
    good = [row[0] for row in rows if float(row[1]) == 0.0]
    broken = [row[0] for row in rows if float(row[1]) == 1.0]
    random.Random(0).shuffle(good)  # noqa: S311 - a split, not a secret
    shares = {
        target / "train" / "good": good[:TRAINING_IMAGES],
        target / "test" / "good": good[TRAINING_IMAGES:],
        target / "test" / "defect": broken,
        target.parent / "parts": good[TRAINING_IMAGES:] + broken,
    }
    for share, names in shares.items():
        shutil.rmtree(share, ignore_errors=True)
        share.mkdir(parents=True)
        for name in names:
            shutil.copyfile(data / name, share / Path(name).name)
    return target


def write_configuration(folder: Path, *, parts: int, rate_hz: float) -> tuple[Path, LineConfig]:
    """Write the demo's line for this folder: configs/demo.yaml with its paths and rate, on ports that are free."""
    config = load(configs_folder() / "demo.yaml")
    store = folder / "line"
    shutil.rmtree(store, ignore_errors=True)
    data = config.model_dump(mode="json")
    data["cameras"]["belt"] |= {"path": str(folder / "parts"), "rate_hz": rate_hz, "parts": parts}
    data["stations"][STATION]["bundle"] = str(folder / "cell.safetensors")
    data["actuators"]["gate"]["path"] = str(store / "rejects.jsonl")
    data["store"]["path"] = str(store)
    data["dashboard"]["listen"] = f"127.0.0.1:{free_ports(1, config.dashboard.address[1])}"
    data["metrics"]["listen"] = f"127.0.0.1:{free_ports(len(config.roles))}"
    path = folder / "line.yaml"
    text = "# Written by `patchline demo` from configs/demo.yaml.\n" + json.dumps(data, indent=2) + "\n"
    write_atomically(path, text.encode())
    return path, load(path)


def run_line(path: Path, config: LineConfig, total: int, first_pass: Callable[[], None]) -> None:
    """Run `patchline run` like a user and show its progress; Ctrl-C after the first pass ends it normally.

    `first_pass` is called once, when the first `total` parts have their verdicts and rejects, or at the line's end.

    Raises:
        LineFailed: the line failed.
        KeyboardInterrupt: Ctrl-C during the first pass.
    """
    columns = (
        TextColumn("{task.description:<18}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[verdicts]}", markup=False),
    )
    passed = False
    with Progress(*columns, console=err) as progress:
        task = progress.add_task("parts on the belt", total=total, verdicts="")

        def look(ledger: dict[str, LedgerCounts], _supervisor: int) -> None:
            nonlocal passed
            if passed or STATION not in ledger:
                return
            counts = ledger[STATION]
            progress.update(task, completed=min(counts.announced, total), verdicts=_verdicts(counts))
            if _through(config, counts, total):
                progress.stop()
                first_pass()
                passed = True

        try:
            run_trial(path, config, config.store.path / "line.log", look)
        except KeyboardInterrupt:
            if not passed:
                raise
    if not passed:
        first_pass()


def _through(config: LineConfig, counts: LedgerCounts, total: int) -> bool:
    """Return whether the first `total` parts have their verdicts and, if so decided, their rejects."""
    if counts.next_seq < total or any(seq < total for seq in counts.pending):
        return False
    with EventReader.open(config.store.path / FILE_NAME) as store:
        return not any(command.seq < total for commands in store.planned().values() for command in commands)


def _verdicts(counts: LedgerCounts) -> str:
    return f"good {counts.good}  defect {counts.defect}  uninspected {sum(counts.uninspected.values())}"


def _image_count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())
