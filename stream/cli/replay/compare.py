"""Inspects a recording again as capture and worker do, and compares the results with those of the line."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import numpy as np

from stream.capture.recording import Recorded, Recording
from stream.core.csv_cells import csv_cell
from stream.core.errors import ConfigError, FrameFault
from stream.core.files import check_destination, partial_file, write_atomically
from stream.core.spots import Ruling
from stream.core.verdict import Cause, Verdict
from stream.model.patchcore.geometry import Geometry
from stream.model.patchcore.health import measure
from stream.model.station_model import StationModel, inspect_batch
from stream.store.records import Event
from stream.training.progress import Track, silent

#: Largest difference in exposure between an event and a recorded frame of the same number that are the same part.
_SAME_PART_NS = 1_000_000_000

Comparison = Literal["same", "differs", "other_bundle", "not_judged", "unknown"]


class ReplayCrop(Protocol):
    """How a station's part is cropped from a frame: capture's own cropper."""

    @property
    def name(self) -> str:
        """The station."""
        ...

    @property
    def geometry(self) -> Geometry:
        """From the frame to the network input."""
        ...


class Replayed(msgspec.Struct, frozen=True):
    """One part, inspected again.

    Attributes:
        within_spec, rule: of the ruling, by the station's rules on spots.
        line_verdict, line_score, line_rule: the results of the line, if its store has them.
        compared: `same` and `differs` bit for bit; `other_bundle`: the line had another one; `not_judged`: the
            line gave no score; `unknown`: the store does not have the part.
    """

    station: str
    seq: int
    part_id: str | None
    realtime_ns: int
    verdict: Verdict
    within_spec: bool
    rule: str | None
    cause: Cause | None
    detail: str
    score: float | None
    threshold: float
    line_verdict: Verdict | None
    line_score: float | None
    line_rule: str | None
    compared: Comparison


class Summary(msgspec.Struct, frozen=True):
    """How many parts of one station had which verdict, and how they compare with the line's.

    `within_spec` of the GOOD ones are so only because rules let them pass.
    """

    station: str
    verdicts: dict[Verdict, int]
    within_spec: int
    compared: dict[Comparison, int]


def replay(
    recording: Recording,
    croppers: Sequence[ReplayCrop],
    models: dict[str, StationModel],
    event_of: Callable[[str, int], Event | None],
    track: Track = silent,
) -> Iterator[Replayed]:
    """Yield every station's part of every frame, in the order of the numbers.

    Args:
        recording: is read frame by frame.
        croppers: one for each station of the camera.
        models: by station.
        event_of: looks (station, number) up in the line's store.
        track: progress.
    """
    for done, recorded in enumerate(recording.frames(), start=1):
        if recorded is not None:
            for cropper in croppers:
                yield _part(recorded, cropper, models[cropper.name], event_of(cropper.name, recorded.seq))
        track("inspect frames", done, len(recording))


def _part(recorded: Recorded, cropper: ReplayCrop, model: StationModel, event: Event | None) -> Replayed:
    thresholds = model.bundle.info.thresholds
    assert thresholds is not None, "live bundles are calibrated"
    frame, score = recorded.frame, None
    cause: Cause | None = None
    try:
        if frame.image is None:
            raise frame.fault or FrameFault(Cause.CAMERA_FAULT, "the camera gave no picture")
        region = cropper.geometry.region(frame.image)
        pixels = cropper.geometry.network_input(region)
        fault_detail = model.fault_of(measure(pixels))
        if fault_detail is not None:
            raise FrameFault(Cause.BAD_FRAME, fault_detail)
        (part,) = inspect_batch([model], pixels[None])
        if not np.isfinite(part.inspection.score):
            raise FrameFault(Cause.WORKER_ERROR, f"the score is {part.inspection.score}")
        score, ruling = part.inspection.score, model.judge(part.inspection, (region.shape[1], region.shape[0]))
    except FrameFault as fault:
        ruling, cause = Ruling(Verdict.UNINSPECTED, fault.detail), fault.cause
    if event is not None and abs(event.captured_realtime_ns - recorded.realtime_ns) > _SAME_PART_NS:
        event = None
    return Replayed(
        station=cropper.name,
        seq=recorded.seq,
        part_id=frame.part_id,
        realtime_ns=recorded.realtime_ns,
        verdict=ruling.verdict,
        within_spec=ruling.within_spec,
        rule=ruling.rule,
        cause=cause,
        detail=ruling.detail,
        score=score,
        threshold=thresholds.image,
        line_verdict=None if event is None else event.part.verdict,
        line_score=None if event is None else event.part.score,
        line_rule=None if event is None else event.part.rule,
        compared=_compare(event, model.bundle.sha256, ruling, score),
    )


def _compare(event: Event | None, bundle_sha256: str, ruling: Ruling, score: float | None) -> Comparison:
    if event is None:
        return "unknown"
    if event.part.score is None:
        return "not_judged"
    if event.bundle_sha256 != bundle_sha256:
        return "other_bundle"
    # A verdict that came too late was UNINSPECTED(timeout), whatever its score.
    late = event.part.verdict is Verdict.UNINSPECTED
    of_line = event.part.verdict, event.part.within_spec, event.part.rule
    agrees = late or of_line == (ruling.verdict, ruling.within_spec, ruling.rule)
    return "same" if score == event.part.score and agrees else "differs"


def summarise(parts: Sequence[Replayed]) -> list[Summary]:
    """Count the parts of each station."""
    summaries = []
    for station in dict.fromkeys(part.station for part in parts):
        own = [part for part in parts if part.station == station]
        verdicts = Counter(part.verdict for part in own)
        compared = Counter(part.compared for part in own)
        within_spec = sum(part.within_spec for part in own)
        summaries.append(Summary(station, dict(verdicts), within_spec, dict(compared)))
    return summaries


def check_report(path: Path) -> None:
    """Raise ConfigError or DiskError unless a report can be written under this name."""
    if path.suffix not in (".csv", ".json"):
        raise ConfigError(f"--report: expected a name that ends with .csv or .json, got '{path}'")
    check_destination(path, stream=True)


def write_report(path: Path, parts: Sequence[Replayed]) -> None:
    """Write all parts as a table (.csv), or with the summary (.json)."""
    check_report(path)
    if path.suffix == ".json":
        content = {"summary": summarise(parts), "parts": parts}
        write_atomically(path, msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
        return
    with partial_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Replayed.__struct_fields__)
        writer.writerows([csv_cell(value) for value in msgspec.structs.astuple(part)] for part in parts)
