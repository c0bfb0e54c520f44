"""Terminal output of the commands: progress bars and tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from stream.cli.suggestion import length
from stream.core.log_lines import printable
from stream.model.bundle import Bundle
from stream.model.bundle_info import BundleInfo
from stream.model.patchcore.alignment import Alignment
from stream.model.patchcore.health import Reference, brightness_limits, focus_limit
from stream.model.patchcore.tiles import Tiles
from stream.model.patchcore.visibility import visibility_of
from stream.training.calibration import promise
from stream.training.fit import FitSummary

#: Strangest good images that are printed, and from which relative change of the threshold one stands out.
STRANGEST_SHOWN, _NOTABLE = 5, 0.03


class Tracker:
    """One progress bar for each stage of long work; call it with (stage, done, total).

    What is no terminal, such as a log, gets a line as each stage begins: rich would be silent until all is done.
    """

    def __init__(self, progress: Progress) -> None:
        """Draw on an open progress display."""
        self._progress = progress
        self._lines = not progress.console.is_terminal
        self._tasks: dict[str, TaskID] = {}
        self._begun_s = time.monotonic()
        self.seconds = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Move a stage's bar."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total)
            if self._lines:
                self._progress.console.print(f"{stage} …", soft_wrap=True)
        self._progress.update(self._tasks[stage], completed=done, total=total)
        self.seconds = time.monotonic() - self._begun_s


@contextmanager
def tracking(console: Console) -> Iterator[Tracker]:
    """Show progress bars while the block runs."""
    columns = (
        TextColumn("{task.description:<18}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Tracker(progress)


def print_fit(console: Console, summary: FitSummary, path: Path, seconds: float) -> None:
    """Print the result of a fit or calibration."""
    bundle = summary.bundle
    thresholds = bundle.info.thresholds
    assert thresholds is not None
    table = _table(f"bundle {path}")
    table.add_row("images", _images(summary))
    table.add_row("unreadable", _unreadable(summary))
    table.add_row("patches", f"{bundle.info.bank_patches:,}, {len(bundle.bank):,} in the bank × {bundle.bank.shape[1]}")
    table.add_row("image threshold", f"{thresholds.image:.4f}")
    table.add_row("pixel threshold", f"{thresholds.pixel:.4f}")
    table.add_row("false rejects", summary.promise)
    spec = bundle.info.spec
    table.add_row("backbone", f"{spec.backbone} at {_pixels(spec.network_px)} on {summary.device}")
    if spec.tiles is not None:
        table.add_row("tiles", _tiles(spec.tiles))
    table.add_row("smallest spot", _smallest_spot(bundle.info))
    table.add_row("seconds", f"{seconds:.1f}")
    console.print(table)
    console.print(_strange_table(summary))
    for note in summary.notes:
        console.print(Text(note), soft_wrap=True)
    for warning in summary.warnings:
        console.print(Text.assemble(("warning: ", "yellow"), warning), soft_wrap=True)


def _images(summary: FitSummary) -> str:
    if summary.bundle.info.cross:
        folds = len(set(summary.bundle.info.folds))
        return f"{summary.bank_images}, all in the bank, each scored without its fold of {folds} to calibrate"
    return f"{summary.bank_images} in the bank, {summary.calibration_images} others to calibrate"


def _strange_table(summary: FitSummary) -> Table:
    """Return the strangest good pictures, and what the image threshold would be without each."""
    table = Table("strangest good images", "score", "threshold without it", title_justify="left")
    thresholds = summary.bundle.info.thresholds
    assert thresholds is not None
    for strange in summary.strange[:STRANGEST_SHOWN]:
        moved = thresholds.image - strange.threshold_without > _NOTABLE * abs(thresholds.image)
        table.add_row(
            Text(strange.name),
            f"{strange.score:.4f}",
            f"{strange.threshold_without:.4f}",
            style="yellow" if moved else "",
        )
    table.caption = (
        "Look at them (`fit --review DIR`); one that is not good, or not of this product: `fit --leave-out NAME`."
    )
    table.caption_justify = "left"
    return table


def print_bundle(console: Console, path: Path, bundle: Bundle) -> None:
    """Print the metadata of a bundle."""
    info, spec = bundle.info, bundle.info.spec
    table = _table(f"bundle {path}")
    rows = {
        "file SHA-256": bundle.sha256,
        "format": info.format,
        "backbone": f"{spec.backbone}, levels {', '.join(spec.levels)}",
        "weights SHA-256": spec.weights_sha256,
        "precision": "int8, graph in the bundle" if spec.graph_sha256 else "float32",
        "input": f"{spec.input_px[0]}×{spec.input_px[1]} px, preprocessing {spec.preprocessing}",
        **({} if spec.tiles is None else {"tiles": _tiles(spec.tiles)}),
        "region": "whole image" if info.roi is None else "x {} y {} width {} height {}".format(*info.roi),
        **({} if info.masks is None else {"masks": "\n".join(info.masks.describe())}),
        "images of": "mixed sizes" if info.picture_px is None else "{}×{} px".format(*info.picture_px),
        **({} if info.alignment is None else {"alignment": _alignment(info.alignment)}),
        **({} if info.mm_per_px is None else {"ruler": f"{info.mm_per_px:.4g} mm per px"}),
        "smallest spot": _smallest_spot(info),
        "patches": f"{info.grid[0]}×{info.grid[1]} per image, neighbourhood {spec.neighbourhood}, stride {spec.stride}",
        "memory bank": f"{len(bundle.bank):,} × {bundle.bank.shape[1]} of {info.bank_patches:,} patches "
        f"from {len(info.bank_pictures)} images ({info.coreset:.2%} wanted)",
        "selection": f"greedy k-center in {info.projection_dims} projected dimensions, seed {info.seed}",
        "image score": "position-aware" if info.position_aware else f"plain, {info.reweight_neighbours} neighbours",
        "head": "none; it would be learned from marked defects"
        if info.head is None
        else f"learned from {info.head.defects} marked defects and {info.head.false_alarms} false alarms",
        "covering radius": f"{info.covering_radius:.6f}, the farthest of the patches at the fit",
        "calibration": f"{len(bundle.calibration_scores)} images, kept in the bundle, "
        + (f"each scored without its fold of {len(set(info.folds))}" if info.cross else "none of them in the bank"),
    }
    if info.thresholds is not None:
        thresholds = info.thresholds
        rows["image threshold"] = f"{thresholds.image:.6f}{', set by hand' if thresholds.by_hand else ''}"
        rows["pixel threshold"] = f"{thresholds.pixel:.6f}"
        rows["false rejects"] = (
            f"{thresholds.guaranteed_rate:.2%} go with the threshold set by hand"
            if thresholds.by_hand
            else f"wanted {thresholds.false_reject_rate:.2%}; "
            + promise(thresholds, len(bundle.calibration_scores), cross=info.out_of_fold)[0]
        )
    rows |= _reference_rows(info.reference)
    rows["made with"] = ", ".join(f"{name} {version}" for name, version in info.versions.items())
    for name, value in rows.items():
        table.add_row(name, Text("\n".join(map(printable, str(value).split("\n")))))
    console.print(table)


def _reference_rows(reference: Reference) -> dict[str, str]:
    """Return the light and focus of the good images, and the limits beyond which a frame is refused."""
    light, focus = reference.brightness, reference.focus
    darkest, brightest = brightness_limits(reference)
    return {
        "reference": f"{reference.pictures} good images, {'gray' if reference.is_gray else 'in colour'}",
        "brightness": f"{light.low:.0f} to {light.high:.0f}, median {light.median:.0f}; "
        f"refused below {max(0.0, darkest):.0f} and above {min(255.0, brightest):.0f}",
        "focus": f"{focus.low:.2f} to {focus.high:.2f}, median {focus.median:.2f}; "
        f"refused below {focus_limit(reference):.2f}",
    }


def _smallest_spot(info: BundleInfo) -> str:
    """Return what the network input cannot show, as far as its size decides that."""
    region_px = info.picture_px if info.roi is None else info.roi[2:]
    if region_px is None:
        return "unknown: images of mixed sizes"
    seen = visibility_of(region_px, info.spec.input_px)
    return (
        f"defects below about {length(seen.spot_px, info.mm_per_px)} of the image are likely to be missed: one pixel "
        f"of the input covers {seen.shrinking:.2g}"
    )


def _tiles(tiles: Tiles) -> str:
    banks = "own" if tiles.apart else "shared"
    return (
        f"{tiles.columns}×{tiles.rows} of {_pixels(tiles.tile_px)}, {tiles.overlap_px} px shared by neighbours; bank "
        f"{banks}"
    )


def _alignment(alignment: Alignment) -> str:
    fixtures = " and ".join("{},{},{},{}".format(*box) for box in alignment.boxes)
    turned = f" and {alignment.limit_deg:g}°" if alignment.rotates else ", not turned"
    return (
        f"by {alignment.by} of {fixtures} in {alignment.reference}; up to {alignment.limit_px:g} px{turned}; found "
        f"with a match of at least {alignment.least_match:.2f}"
    )


def _pixels(size_px: tuple[int, int]) -> str:
    return f"{size_px[0]}×{size_px[1]} px"


def _table(title: str) -> Table:
    table = Table(title=Text(printable(title)), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table


def _unreadable(summary: FitSummary) -> str:
    if not summary.unreadable:
        return "none"
    names = "\n".join(item.reason for item in summary.unreadable)
    return f"{len(summary.unreadable)} skipped:\n{names}"
