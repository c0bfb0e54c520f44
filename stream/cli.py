"""The command `patchline`: thin, every command calls one function."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from rich.console import Console

from stream import __version__
from stream.commands import dashboard
from stream.commands.actuate import actuate
from stream.commands.cameras import cameras
from stream.commands.reload import reload
from stream.commands.replay import replay
from stream.commands.snapshot import snapshot
from stream.commands.teach import teach
from stream.errors import EXIT_USAGE, ConfigError, PatchLineError

if TYPE_CHECKING:
    from stream.config import LineConfig
    from stream.patchcore.preprocess import Roi

app = typer.Typer(
    help="Real-time defect inspection for factory cameras. Learn good parts with `fit`, judge them with `run`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console()
err = Console(stderr=True)

SET_UP = "Set up cameras and outputs"
LEARN = "Learn and measure"
LINE = "Run a line"
ONE = "One role alone (each on its own host, if you like)"

DeviceOption = Annotated[
    Literal["auto", "cuda", "openvino", "torch-cpu"],
    typer.Option(help="auto: CUDA, else OpenVINO on the CPU, else torch on the CPU."),
]
ConfigArgument = Annotated[
    Path, typer.Argument(help="The line's YAML file, see configs/line.yaml.", show_default=False)
]
RateOption = Annotated[float, typer.Option(min=1e-6, max=0.999, help="Wanted share of good parts called defective.")]


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
    """Real-time defect inspection for factory cameras. Learn good parts with `fit`, judge them with `run`."""


app.command(rich_help_panel=SET_UP)(cameras)
app.command(rich_help_panel=SET_UP)(snapshot)


@app.command(rich_help_panel=LEARN)
def fit(
    good_dir: Annotated[Path, typer.Argument(help="Folder of pictures of good parts.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Bundle to write (.safetensors).")],
    backbone: Annotated[
        str,
        typer.Option(help="efficientnet_lite0/1/2, resnet18, resnet50, wide_resnet50_2 or any timm model."),
    ] = "efficientnet_lite0",
    size: Annotated[int, typer.Option(min=32, max=2048, help="Edge of the square network input in pixels.")] = 224,
    roi: Annotated[
        str | None,
        typer.Option(metavar="X,Y,W,H", help="Region of the picture to inspect; default: all of it."),
    ] = None,
    coreset: Annotated[float, typer.Option(min=1e-4, max=1.0, help="Share of the patches to remember.")] = 0.01,
    neighbourhood: Annotated[
        int, typer.Option(min=1, max=15, help="p: odd edge of the neighbourhood a patch feature averages.")
    ] = 3,
    stride: Annotated[int, typer.Option(min=1, max=8, help="s: take every s-th patch.")] = 1,
    holdout: Annotated[
        float,
        typer.Option(min=0.01, max=0.9, help="Share of the pictures kept out of the bank to calibrate."),
    ] = 0.2,
    false_reject_rate: RateOption = 0.01,
    seed: Annotated[int, typer.Option(help="Of split, projection and first pick.")] = 0,
    device: DeviceOption = "auto",
    weights: Annotated[
        Path | None,
        typer.Option(help="State dict (.safetensors, .pth) of the backbone instead of the published weights."),
    ] = None,
    precision: Annotated[
        Literal["float32", "int8"],
        typer.Option(help="int8: the network about twice as fast in OpenVINO, in the bundle itself; needs NNCF."),
    ] = "float32",
    max_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory of the whole process, e.g. 2GiB; default: half of what is free. What does not fit goes to "
            "disk beside the bundle meanwhile; the bundle is the same.",
        ),
    ] = None,
) -> None:
    """Learn a folder of good parts and write the calibrated bundle.

    Example: `patchline fit photos/good -o cap.safetensors --roi 120,80,512,512`
    """
    from stream import fit as fitting
    from stream.terminal import print_fit, tracking

    if neighbourhood % 2 == 0:
        raise ConfigError(f"--neighbourhood: {neighbourhood} has no middle; give an odd number")
    options = fitting.FitOptions(
        backbone=backbone,
        size_px=size,
        roi=_roi(roi),
        coreset=coreset,
        neighbourhood=neighbourhood,
        stride=stride,
        holdout=holdout,
        false_reject_rate=false_reject_rate,
        seed=seed,
        device=device,
        weights=weights,
        max_memory_bytes=_bytes("--max-memory", max_memory),
        precision=precision,
    )
    with tracking(err) as track:
        summary = fitting.fit(good_dir, output, options, track)
    print_fit(out, summary, output, track.seconds)


@app.command(rich_help_panel=LEARN)
def calibrate(
    bundle: Annotated[Path, typer.Argument(help="Bundle to calibrate anew; it is replaced.", show_default=False)],
    good_dir: Annotated[Path, typer.Argument(help="Good pictures that are not in its bank.", show_default=False)],
    false_reject_rate: RateOption = 0.01,
    device: DeviceOption = "auto",
) -> None:
    """Set the thresholds of a bundle from other good pictures."""
    from stream import fit as fitting
    from stream.terminal import print_fit, tracking

    with tracking(err) as track:
        summary = fitting.calibrate(bundle, good_dir, false_reject_rate=false_reject_rate, device=device, track=track)
    print_fit(out, summary, bundle, track.seconds)


@app.command(rich_help_panel=LEARN)
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Bundle to measure.", show_default=False)],
    dataset_dir: Annotated[
        Path,
        typer.Argument(
            help="Folder in MVTec layout: test/good, test/TYPE and, optional, ground_truth/TYPE/NAME_mask.png.",
            show_default=False,
        ),
    ],
    report: Annotated[Path | None, typer.Option(help="Write the numbers as JSON.")] = None,
    overlays: Annotated[Path | None, typer.Option(help="Write a picture with heat map and mask for each.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Measure a bundle on labelled pictures: AUROC, AUPRO, F1, false rejects and misses, milliseconds."""
    from stream import evaluate as evaluation
    from stream.report import report_table, write_report
    from stream.terminal import tracking

    with tracking(err) as track:
        result = evaluation.evaluate(bundle, dataset_dir, overlays=overlays, device=device, track=track)
    if report is not None:
        write_report(result, report)
    out.print(report_table(result))


@app.command(rich_help_panel=LEARN)
def show(bundle: Annotated[Path, typer.Argument(help="Bundle to look into.", show_default=False)]) -> None:
    """Print what is in a bundle."""
    from stream.bundle import load_bundle
    from stream.terminal import print_bundle

    print_bundle(out, bundle, load_bundle(bundle))


@app.command(rich_help_panel=LINE)
def run(config: ConfigArgument) -> None:
    """Run all processes of a line until the cameras end or Ctrl-C."""
    from stream.processes import supervisor

    supervisor.main(_load(config), config)


app.command(rich_help_panel=LINE)(reload)
app.command(rich_help_panel=LEARN)(teach)


@app.command(rich_help_panel=LINE)
def demo(
    parts: Annotated[
        int | None,
        typer.Option(min=1, help="End after so many parts; default: all, and on until Ctrl-C."),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=200, help="Parts per second.")] = 10.0,
    report: Annotated[Path | None, typer.Option(help="Write the numbers as JSON.")] = None,
    folder: Annotated[Path, typer.Option("--dir", help="Where pictures, bundle, events and overlays go.")] = Path(
        "demo"
    ),
) -> None:
    """Fit on good solar cells, then let good and broken ones pass a camera and reject the broken ones.

    When all have passed once the numbers are printed, and written to `--report`. The belt then goes on with the
    same parts, for whoever looks at the dashboard, until Ctrl-C or SIGTERM; only `--parts` makes the demo end by
    itself. Its ports are free ones: 8080 for the dashboard, unless something else listens there.
    """
    from stream import demo as demonstration

    demonstration.run_demo(folder, parts=parts, rate_hz=rate, report=report, console=out)


@app.command(rich_help_panel=LINE)
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

    from stream.bench_report import print_bench, run_bench

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


app.command(rich_help_panel=SET_UP)(actuate)


@app.command(rich_help_panel=LINE)
def keys(
    folder: Annotated[Path, typer.Argument(help="Folder to write; copy it to every host.", show_default=False)],
) -> None:
    """Make the encryption keys of a line that spans several hosts (transport.keys)."""
    from stream.transport.sockets import make_keys

    out.print(f"written {make_keys(folder)}; keep it secret and copy the folder to every host of the line")


@app.command(rich_help_panel=ONE)
def capture(
    config: ConfigArgument,
    camera: Annotated[str | None, typer.Option(help="Which camera, if the line has several.")] = None,
) -> None:
    """Read one camera and announce its parts."""
    from stream.processes import capture as role

    line = _load(config)
    if camera is None and len(line.cameras) == 1:
        camera = next(iter(line.cameras))
    if camera not in line.cameras:
        raise ConfigError(f"--camera: expected one of {', '.join(line.cameras)}, got {camera!r}")
    role.main(line, camera)


@app.command(rich_help_panel=ONE)
def infer(
    config: ConfigArgument,
    worker: Annotated[int, typer.Option(min=0, help="Which entry of `workers`, from 0.")] = 0,
) -> None:
    """Judge the frames of all cameras."""
    from stream.processes import infer as role

    line = _load(config)
    if worker >= len(line.workers):
        raise ConfigError(f"--worker: {config} has workers 0 to {len(line.workers) - 1}, got {worker}")
    role.main(line, worker)


@app.command(rich_help_panel=ONE)
def sink(config: ConfigArgument) -> None:
    """Keep the ledger: verdicts, rejects, alarms, events."""
    from stream.processes import sink as role

    role.main(_load(config))


app.command(rich_help_panel=ONE)(dashboard.dashboard)
app.command(rich_help_panel=LINE)(dashboard.password)
app.command(rich_help_panel=LINE)(replay)


def main() -> NoReturn:
    """Run the command; errors meant for a person are one line on standard error."""
    # Read by OpenMP when torch or faiss are loaded: idle threads sleep instead of taking the line's cores.
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
        # Typer's own errors about options and arguments know how to show themselves.
        if not hasattr(error, "show"):
            raise
        error.show()
        code = EXIT_USAGE
    sys.stdout.flush()
    sys.exit(code if isinstance(code, int) else 0)


def _load(path: Path) -> LineConfig:
    from stream.config import load

    return load(path)


def _roi(text: str | None) -> Roi | None:
    if text is None:
        return None
    try:
        x, y, width, height = (int(number) for number in text.split(","))
    except ValueError:
        raise ConfigError(f"--roi: expected X,Y,WIDTH,HEIGHT in pixels, got '{text}'") from None
    if min(x, y) < 0 or min(width, height) < 1:
        raise ConfigError(f"--roi: offsets must not be negative and sizes at least 1, got '{text}'")
    return x, y, width, height


def _rates(text: str) -> list[float]:
    try:
        rates = [float(number) for number in text.split(",")]
    except ValueError:
        rates = []
    if not rates or min(rates) <= 0 or max(rates) > 10_000:
        raise ConfigError(f"--rates: expected parts per second such as 10,50,100, got '{text}'")
    return rates


def _bytes(option: str, text: str | None) -> int | None:
    from pydantic import ByteSize, TypeAdapter, ValidationError

    if text is None:
        return None
    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        raise ConfigError(f"{option}: expected a size such as 800MB or 2GiB, got '{text}'") from None


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
