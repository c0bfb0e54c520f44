"""The long work behind a change of a station's bundle: the new bundle, and its scores of the marked parts.

The dashboard imports this module and runs its jobs in a process; what they need is loaded only there.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import BundleError, DatasetError, DiskError
from stream.core.files import check_destination, weights_folder
from stream.line.config import LineConfig
from stream.model.bundle import Bundle, load_bundle
from stream.model.patchcore.preprocess import Size
from stream.store.event_reader import FILE_NAME, EventReader
from stream.training.progress import Track

if TYPE_CHECKING:
    from stream.line.rules import PartVerdict
    from stream.training.collect import Collected
    from stream.training.fit import FitSummary
    from stream.training.fit_options import FitOptions

#: (H, W, 3) uint8 RGB.
NetworkInput = NDArray[np.uint8]

#: Parts whose network inputs are in memory at once while bundles are compared.
_COMPARED = 500
#: Disk space in bytes that is left to the line while parts are collected.
_ROOM_BYTES = 500_000_000


class BundleOutcome(NamedTuple):
    """The result of a job: a new bundle, and what it changes.

    Attributes:
        warnings: what a user should know before it goes live.
        before: scores and verdicts of the marked parts by the old bundle; None if their network inputs do not fit it.
        after: by the new one.
        recent: (before, after) of recent parts likewise, by the number of their event.
    """

    warnings: list[str]
    before: list[PartVerdict | None]
    after: list[PartVerdict | None]
    recent: dict[int, tuple[PartVerdict | None, PartVerdict | None]] = {}  # noqa: RUF012 - never changed


def extend_job(
    track: Track, *, line: LineConfig, station: str, live: Path, output: Path, accepted: list[int], marked: list[int]
) -> BundleOutcome:
    """Write to `output` the bundle `live` with the patches of accepted parts in its bank; raises PatchLineError.

    `accepted` and `marked` are numbers of events in the line's event store.
    """
    from stream.training.extend import extend_bank

    width_px, height_px = load_bundle(live).info.spec.input_px
    stored = dict(zip(accepted, _network_inputs(line, accepted), strict=True))
    inputs = {
        number: pixels
        for number, pixels in stored.items()
        if pixels is not None and pixels.shape == (height_px, width_px, 3)
    }
    if len(inputs) < len(stored):
        unfit = ", ".join(str(number) for number in stored if number not in inputs)
        raise DatasetError(
            f"events {unfit}: no picture of {width_px}×{height_px} px is kept, as this bundle takes; accept others"
        )
    extended = extend_bank(live, output, np.stack(list(inputs.values())), track)
    return BundleOutcome(
        extended.warnings, *_compare(line, station, live, output, _network_inputs(line, marked), track)
    )


def leave_out_job(
    track: Track, *, line: LineConfig, station: str, live: Path, output: Path, names: list[str], marked: list[int]
) -> BundleOutcome:
    """Write to `output` the bundle `live` without some of its good pictures, by name; raises PatchLineError.

    `marked` are numbers of events in the line's event store.
    """
    from stream.training.calibration import promise
    from stream.training.leave_out import leave_out

    made = leave_out(live, output, names, track)
    assert made.info.thresholds is not None, "it was calibrated"
    _, warnings = promise(made.info.thresholds, len(made.calibration_scores), cross=made.info.cross)
    return BundleOutcome(warnings, *_compare(line, station, live, output, _network_inputs(line, marked), track))


def learn_marks_job(
    track: Track,
    *,
    line: LineConfig,
    station: str,
    live: Path,
    output: Path,
    defects: list[int],
    false_alarms: list[int],
    recent: list[int],
    marked: list[int],
) -> BundleOutcome:
    """Write to `output` the bundle `live` with a head learned from marked parts; raises PatchLineError.

    All numbers are of events in the line's event store; `recent` are parts that are scored by both bundles besides.
    """
    from stream.training.marks import learn_from_marks

    width_px, height_px = load_bundle(live).info.spec.input_px

    def fitting(events: list[int]) -> NDArray[np.uint8]:
        inputs = _network_inputs(line, events)
        shape = (height_px, width_px, 3)
        fits = [pixels for pixels in inputs if pixels is not None and pixels.shape == shape]
        return np.stack(fits) if fits else np.empty((0, *shape), np.uint8)

    learned = learn_from_marks(live, output, fitting(defects), fitting(false_alarms), track)
    numbers = list(dict.fromkeys([*marked, *recent]))
    before: list[PartVerdict | None] = []
    after: list[PartVerdict | None] = []
    for begin in range(0, len(numbers), _COMPARED):
        inputs = _network_inputs(line, numbers[begin : begin + _COMPARED])
        old, new = _compare(line, station, live, output, inputs, track)
        before, after = before + old, after + new
    verdicts = dict(zip(numbers, zip(before, after, strict=True), strict=True))
    return BundleOutcome(
        learned.notes,
        [verdicts[number][0] for number in marked],
        [verdicts[number][1] for number in marked],
        {number: verdicts[number] for number in recent},
    )


class FitOverrides(NamedTuple):
    """What a user chose for a fit; None: as in the live bundle."""

    backbone: str | None = None
    size_px: Size | None = None
    coreset: float | None = None
    false_reject_rate: float | None = None


class Relearned(NamedTuple):
    """What became of teaching.

    Attributes:
        collected: the parts.
        fitted: what the fit did; None: the user interrupted before it began.
        like: the live bundle whose options were taken; None: there was none that could be read.
    """

    collected: Collected
    fitted: FitSummary | None
    like: Path | None


def relearn(
    track: Track,
    *,
    line: LineConfig,
    station: str,
    live: Path,
    folder: Path,
    output: Path,
    parts: int,
    overrides: FitOverrides,
    opens: bool,
) -> Relearned:
    """Collect the parts that pass a station's camera now, and learn them as its live bundle was learned.

    Args:
        track: progress.
        line: whose station it is.
        station: its name.
        live: its bundle; where there is none, the defaults of `patchline fit` take its place.
        folder: new or empty, for the collected images.
        output: bundle to write.
        parts: to collect.
        overrides: options that the user chose instead.
        opens: open the camera if none of the line's processes has it.

    Raises:
        DatasetError: fewer than two parts came, or the folder is not empty.
        PatchLineError: see `collect` and `fit`.
    """
    from stream.training.collect import collect
    from stream.training.fit import fit

    check_destination(output)
    bundle = _load_if_readable(live)
    options = options_like(bundle, line, station, overrides)
    camera = line.stations[station].camera
    collected = collect(line, camera, folder, wanted=parts, track=track, opens=opens)
    like = None if bundle is None else live
    if collected.ended == "interrupted":
        return Relearned(collected, None, like)
    if collected.parts < 2:
        raise DatasetError(
            f"camera {camera}: {collected.parts} of {parts} parts collected, {collected.skipped} frames skipped: "
            f"too few to learn from; {collected.ended}"
        )
    return Relearned(collected, fit(folder, output, options, track), like)


def options_like(bundle: Bundle | None, line: LineConfig, station: str, overrides: FitOverrides) -> FitOptions:
    """Return the options by which a fit made a bundle, except for those that the user chose; None: the defaults."""
    from stream.model.mask_files import file_of, read_masks
    from stream.model.patchcore.tiles import tiling_of
    from stream.training.fit_options import FitOptions

    options = FitOptions()
    if bundle is not None:
        info = bundle.info
        options = FitOptions(
            backbone=info.spec.backbone,
            levels=info.spec.levels,
            size_px=info.spec.network_px,
            tiling=tiling_of(info.spec.tiles),
            roi=info.roi,
            coreset=info.coreset,
            neighbourhood=info.spec.neighbourhood,
            stride=info.spec.stride,
            score=info.wanted_score,
            calibration=info.wanted_calibration,
            precision="float32" if bundle.graph is None else "int8",
            masks=() if info.masks is None else (file_of(str(line.stations[station].bundle), info.masks),),
            alignment=info.alignment,
            mm_per_px=info.mm_per_px,
        )
        if info.thresholds is not None:
            options = replace(options, false_reject_rate=info.thresholds.false_reject_rate)
        # Weights that a fit was given as a file are kept by their hash; published ones are not.
        weights = weights_folder() / f"{info.spec.weights_sha256}.safetensors"
        if weights.is_file() and overrides.backbone in (None, options.backbone):
            options = replace(options, weights=weights)
        if overrides.backbone not in (None, options.backbone):
            options = replace(options, levels=())  # another network has other levels
    chosen = {name: value for name, value in overrides._asdict().items() if value is not None}
    own, drawn = line.stations[station].roi, line.stations[station].masks
    if drawn:
        options = replace(options, masks=tuple(read_masks(path) for path in drawn))
    return replace(options, roi=options.roi if own is None else own, **chosen)


def _load_if_readable(live: Path) -> Bundle | None:
    try:
        return load_bundle(live)
    except BundleError:
        return None  # absent, or about to be replaced by the bundle that is taught


def relearn_job(
    track: Track,
    *,
    line: LineConfig,
    station: str,
    live: Path,
    output: Path,
    parts: int,
    false_reject_rate: float | None,
    marked: list[int],
) -> BundleOutcome:
    """Write to `output` a bundle of the parts that pass a station now, learned as `live` was; raises PatchLineError."""
    from stream.training.collect import STAGE

    def track_with_room(stage: str, done: int, total: int) -> None:
        if stage == STAGE and shutil.disk_usage(output.parent).free < _ROOM_BYTES:
            raise DiskError(f"{output.parent}: the disk is almost full after {done} parts; collect fewer, or make room")
        track(stage, done, total)

    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".teach-") as folder:
        collected, fitted, _ = relearn(
            track_with_room,
            line=line,
            station=station,
            live=live,
            folder=Path(folder) / "good",
            output=output,
            parts=parts,
            overrides=FitOverrides(false_reject_rate=false_reject_rate),
            # Never the camera itself: a process of the line that is just starting again must find it free.
            opens=False,
        )
    if fitted is None:
        raise KeyboardInterrupt
    warnings = [f"{collected.parts} of {parts} parts collected; {collected.ended}"] if collected.ended else []
    if collected.skipped:
        warnings.append(f"{collected.skipped} frames were skipped: damaged, or faster than they could be kept")
    return BundleOutcome(
        warnings + fitted.warnings, *_compare(line, station, live, output, _network_inputs(line, marked), track)
    )


def _network_inputs(line: LineConfig, events: list[int]) -> list[NetworkInput | None]:
    """Return the network input of each event, None if the store has none, or no longer; raises StoreError."""
    with EventReader.open(line.store.path / FILE_NAME) as reader:
        return [reader.network_input(number) for number in events]


def _compare(
    line: LineConfig, station: str, live: Path, output: Path, marked: list[NetworkInput | None], track: Track
) -> tuple[list[PartVerdict | None], list[PartVerdict | None]]:
    before, after = (_verdicts(line, station, bundle, marked, track) for bundle in (live, output))
    return before, after


def _verdicts(
    line: LineConfig, station: str, path: Path, marked: list[NetworkInput | None], track: Track
) -> list[PartVerdict | None]:
    """Return what a bundle and the station's rules say of each part."""
    from stream.line.rules import verdict_on
    from stream.training.extend import inspected

    info = load_bundle(path).info
    width_px, height_px = info.spec.input_px
    shape = (height_px, width_px, 3)
    inputs = {row: pixels for row, pixels in enumerate(marked) if pixels is not None and pixels.shape == shape}
    verdicts: list[PartVerdict | None] = [None] * len(marked)
    if inputs:
        found = inspected(path, np.stack(list(inputs.values())), track)
        for row, score, distances in zip(inputs, found.scores, found.distances, strict=True):
            verdicts[row] = verdict_on(float(score), distances, info, station, line.stations[station])
    return verdicts
