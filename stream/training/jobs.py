"""The long work behind a station's change: a new bundle, and what it makes of the parts that people have marked.

Whoever asks for the work imports this; what does it is loaded where it is done.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import DatasetError, DiskError
from stream.line.config import LineConfig
from stream.model.bundle import Bundle, load_bundle
from stream.store.event_store import EventStore
from stream.training.progress import Track

if TYPE_CHECKING:
    from stream.training.fit import FitOptions

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
    from stream.training.collect import collect
    from stream.training.fit import fit

    options = options_like(load_bundle(live), line, station, false_reject_rate)
    camera = line.stations[station].camera

    def track_with_room(stage: str, done: int, total: int) -> None:
        if shutil.disk_usage(output.parent).free < _ROOM_BYTES:
            raise DiskError(f"{output.parent}: the disk is almost full after {done} parts; collect fewer, or make room")
        track(stage, done, total)

    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".teach-") as folder:
        pictures = Path(folder) / "good"
        # Never the camera itself: a process of the line that is just starting again must find it free.
        collected = collect(line, camera, pictures, wanted=parts, track=track_with_room, opens=False)
        if collected.ended == "interrupted":
            raise KeyboardInterrupt
        if collected.parts < 2:
            raise DatasetError(
                f"camera {camera}: {collected.parts} of {parts} parts collected: too few to learn from; "
                f"{collected.ended}"
            )
        made = fit(pictures, output, options, track)
    told = [f"{collected.parts} of {parts} parts collected; {collected.ended}"] if collected.ended else []
    if collected.skipped:
        told.append(f"{collected.skipped} frames were skipped: damaged, or faster than they could be kept")
    return BundleOutcome(told + made.warnings, *_compare(live, output, _network_inputs(store, marked), track))


def _network_inputs(store: Path, events: list[int]) -> list[Picture | None]:
    """Return (S, S, 3) uint8 RGB of each event, None where the store has none (any more); raises StoreError."""
    opened = EventStore.read(store)
    try:
        return [opened.network_input(number) for number in events]
    finally:
        opened.close()


def options_like(bundle: Bundle, line: LineConfig, station: str, false_reject_rate: float) -> FitOptions:
    """Return how to learn a station's parts in the way of the bundle that it has."""
    from stream.training.fit import FitOptions

    info = bundle.info
    own = line.stations[station].roi
    return FitOptions(
        backbone=info.spec.backbone,
        size_px=info.spec.size_px,
        roi=info.roi if own is None else own,
        coreset=info.coreset,
        neighbourhood=info.spec.neighbourhood,
        stride=info.spec.stride,
        false_reject_rate=false_reject_rate,
        precision="float32" if bundle.graph is None else "int8",
    )


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
