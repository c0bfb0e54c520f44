"""The long work behind a station's change: a new bundle, and what it makes of the parts that people have marked.

Whoever asks for the work imports this; what does it is loaded where it is done.
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
from stream.core.files import weights_folder
from stream.line.config import LineConfig
from stream.model.bundle import Bundle, load_bundle
from stream.store.event_store import EventStore
from stream.training.progress import Track

if TYPE_CHECKING:
    from stream.training.collect import Collected
    from stream.training.fit import FitOptions, FitSummary

Picture = NDArray[np.uint8]

#: So much of the disk is left to the line while parts are collected.
_ROOM_BYTES = 500_000_000


class BundleOutcome(NamedTuple):
    """A new bundle.

    Attributes:
        warnings: what a person should know before it goes live.
        before: image scores of the marked parts by the old bundle; None where their pictures do not fit it.
        after: by the new one.
    """

    warnings: list[str]
    before: list[float | None]
    after: list[float | None]


def extend_job(
    track: Track, *, live: Path, output: Path, store: Path, accepted: list[int], marked: list[int]
) -> BundleOutcome:
    """Write to `output` the bundle `live` with the patches of accepted parts in its bank; raises PatchLineError.

    `accepted` and `marked` are numbers of events in the event store.
    """
    from stream.training.extend import extend_bank

    size_px = load_bundle(live).info.spec.size_px
    found = _network_inputs(store, accepted)
    pictures = [picture for picture in found if picture is not None and picture.shape[0] == size_px]
    if len(pictures) < len(found):
        unfit = [
            str(number) for number, each in zip(accepted, found, strict=True) if each is None or len(each) != size_px
        ]
        raise DatasetError(
            f"events {', '.join(unfit)}: no picture of {size_px} px any more, as this bundle takes; accept others"
        )
    made = extend_bank(live, output, np.stack(pictures), track)
    return BundleOutcome(made.warnings, *_compare(live, output, _network_inputs(store, marked), track))


class FitOverrides(NamedTuple):
    """What a user chose for a fit; None: as in the live bundle."""

    backbone: str | None = None
    size_px: int | None = None
    coreset: float | None = None
    holdout: float | None = None
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

    bundle = _readable(live)
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
    """Return how a fit made a station's bundle, except for what the user chose; without a bundle the defaults."""
    from stream.training.fit import FitOptions

    options = FitOptions()
    if bundle is not None:
        info = bundle.info
        options = FitOptions(
            backbone=info.spec.backbone,
            size_px=info.spec.size_px,
            roi=info.roi,
            coreset=info.coreset,
            neighbourhood=info.spec.neighbourhood,
            stride=info.spec.stride,
            precision="float32" if bundle.graph is None else "int8",
        )
        if info.thresholds is not None:
            options = replace(options, false_reject_rate=info.thresholds.false_reject_rate)
        # Weights that a fit was given as a file are kept by their hash; published ones are not.
        weights = weights_folder() / f"{info.spec.weights_sha256}.safetensors"
        if weights.is_file() and overrides.backbone in (None, options.backbone):
            options = replace(options, weights=weights)
    chosen = {name: value for name, value in overrides._asdict().items() if value is not None}
    own = line.stations[station].roi
    return replace(options, roi=options.roi if own is None else own, **chosen)


def _readable(live: Path) -> Bundle | None:
    try:
        return load_bundle(live)
    except BundleError:
        return None  # not there yet, or to be replaced by what is taught


def relearn_job(
    track: Track,
    *,
    line: LineConfig,
    station: str,
    live: Path,
    output: Path,
    parts: int,
    false_reject_rate: float,
    store: Path,
    marked: list[int],
) -> BundleOutcome:
    """Write to `output` what a station's running camera shows now, learned as `live` was; raises PatchLineError."""
    from stream.training.collect import STAGE

    def track_with_room(stage: str, done: int, total: int) -> None:
        if stage == STAGE and shutil.disk_usage(output.parent).free < _ROOM_BYTES:
            raise DiskError(f"{output.parent}: the disk is almost full after {done} parts; collect fewer, or make room")
        track(stage, done, total)

    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".teach-") as folder:
        collected, made, _ = relearn(
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
    if made is None:
        raise KeyboardInterrupt
    warnings = [f"{collected.parts} of {parts} parts collected; {collected.ended}"] if collected.ended else []
    if collected.skipped:
        warnings.append(f"{collected.skipped} frames were skipped: damaged, or faster than they could be kept")
    return BundleOutcome(warnings + made.warnings, *_compare(live, output, _network_inputs(store, marked), track))


def _network_inputs(store: Path, events: list[int]) -> list[Picture | None]:
    """Return (S, S, 3) uint8 RGB of each event, None where the store has none (any more); raises StoreError."""
    opened = EventStore.read(store)
    try:
        return [opened.network_input(number) for number in events]
    finally:
        opened.close()


def _compare(
    live: Path, output: Path, marked: list[Picture | None], track: Track
) -> tuple[list[float | None], list[float | None]]:
    before, after = (_scores(bundle, marked, track) for bundle in (live, output))
    return before, after


def _scores(path: Path, marked: list[Picture | None], track: Track) -> list[float | None]:
    from stream.training.extend import image_scores

    size_px = load_bundle(path).info.spec.size_px
    fitting = [row for row, picture in enumerate(marked) if picture is not None and picture.shape[0] == size_px]
    scores: list[float | None] = [None] * len(marked)
    if fitting:
        pictures = np.stack([picture for picture in (marked[row] for row in fitting) if picture is not None])
        for row, score in zip(fitting, image_scores(path, pictures, track), strict=True):
            scores[row] = float(score)
    return scores
