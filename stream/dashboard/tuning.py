"""The ways to another bundle of a station: accept marked parts, move the threshold, teach; and what becomes of them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, Field
from starlette.requests import Request

from stream.bundle import live_bundle
from stream.dashboard.access import Who
from stream.dashboard.changes import Change, ChangeKind, Draft
from stream.dashboard.jobs import Job
from stream.dashboard.reviewed import MarkedPart, compared, scale_of
from stream.dashboard.services import Services, needs, services, services_of
from stream.errors import ReloadError
from stream.messages import Verdict
from stream.retuning import Outcome, accepting, teaching

router = APIRouter(tags=["tuning"])

Engineer = Annotated[Who, Depends(needs("engineer"))]
Note = Annotated[str, Field(max_length=1000)]


class Accepting(BaseModel):
    """Which marked parts are to be remembered as good."""

    event_ids: Annotated[list[int], Field(min_length=1, max_length=200)]
    note: Note = ""


class NewThreshold(BaseModel):
    """Image scores above it are DEFECT."""

    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    note: Note = ""


class Teaching(BaseModel):
    """How many parts to learn from, and the wanted share of good parts called defective."""

    parts: Annotated[int, Field(ge=2, le=20_000)] = 200
    false_reject_rate: Annotated[float, Field(gt=1e-6, lt=0.999)] = 0.01
    note: Note = ""


@router.get("/stations/{station}/changes")
def changes(request: Request, station: str) -> list[Change]:
    """Return the last changes of a station's bundle, the newest first."""
    return services_of(request, station).changes.of(station)


@router.post("/stations/{station}/threshold")
def threshold(request: Request, station: str, wanted: NewThreshold, who: Engineer) -> Change:
    """Offer the station's bundle with another threshold."""
    from stream.accept import with_threshold

    found = services_of(request, station)
    kept, before = found.changes.keep_live(station)
    made = found.changes.new_file(station)
    with_threshold(kept, made, wanted.threshold)
    parts = found.marked_parts(station)
    scores = found.marked.scores(parts, before, kept.parent)
    whose: tuple[ChangeKind, str, str] = ("threshold", who.name, wanted.note)
    number = _offer(found, station, whose, kept, made, parts, Outcome([], scores, scores))
    return _change(found, number)


@router.post("/stations/{station}/accept")
def accept(request: Request, station: str, wanted: Accepting, who: Engineer) -> Job:
    """Begin to make a bundle that remembers marked false alarms as good."""
    found = services_of(request, station)
    parts = found.marked_parts(station)
    by_number = {part.event_id: part for part in parts}
    for number in wanted.event_ids:
        part = by_number.get(number)
        if part is None or part.mark.mark != "false_alarm" or part.picture is None:
            raise HTTPException(409, f"event {number} of {station} is no marked false alarm with a picture")
    marked = found.pictures_of(parts)
    accepted = [
        picture
        for part, picture in zip(parts, marked, strict=True)
        if part.event_id in wanted.event_ids and picture is not None
    ]
    kept, before = found.changes.keep_live(station)
    size_px = before.info.spec.size_px
    if any(picture.shape[0] != size_px for picture in accepted):
        raise HTTPException(409, f"a picture was cut for another bundle: this one takes {size_px} px")
    made = found.changes.new_file(station)
    whose: tuple[ChangeKind, str, str] = ("accept", who.name, wanted.note)
    return found.jobs.begin(
        "accept",
        station,
        who.name,
        accepting,
        {"live": kept, "output": made, "accepted": accepted, "marked": marked},
        functools.partial(_offer, found, station, whose, kept, made, parts),
    )


@router.post("/stations/{station}/teach")
def teach(request: Request, station: str, wanted: Teaching, who: Engineer) -> Job:
    """Begin to learn the parts that pass the station's camera now."""
    found = services_of(request, station)
    parts = found.marked_parts(station)
    kept, _ = found.changes.keep_live(station)
    made = found.changes.new_file(station)
    whose: tuple[ChangeKind, str, str] = ("teach", who.name, wanted.note)
    arguments = {
        "line": found.config,
        "station": station,
        "live": kept,
        "output": made,
        "parts": wanted.parts,
        "false_reject_rate": wanted.false_reject_rate,
        "marked": found.pictures_of(parts),
    }
    finish = functools.partial(_offer, found, station, whose, kept, made, parts)
    return found.jobs.begin("teach", station, who.name, teaching, arguments, finish)


@router.get("/jobs")
def jobs(request: Request) -> list[Job]:
    """Return the last jobs, the newest first."""
    return services(request).jobs.all()


@router.post("/jobs/{number}/stop")
def stop(request: Request, number: int, _who: Engineer) -> Job:
    """End a job; nothing comes of it."""
    job = services(request).jobs.stop(number)
    if job is None:
        raise HTTPException(404, f"no job {number}")
    return job


@router.post("/changes/{number}/{step}")
def step(request: Request, number: int, step: Literal["live", "undo", "discard"], who: Engineer) -> Change:
    """Put a change live, undo it, or offer it no longer."""
    found = services(request).changes
    if found.get(number) is None:
        raise HTTPException(404, f"no change {number}")
    steps = {"live": found.put_live, "undo": found.undo, "discard": found.discard}
    return steps[step](number, who.name)


def _offer(
    found: Services,
    station: str,
    whose: tuple[ChangeKind, str, str],
    kept: Path,
    made: Path,
    parts: list[MarkedPart],
    outcome: Outcome,
) -> int:
    """Keep a new bundle as a change, with the marked parts' scores by both; returns the change's number."""
    kind, who, note = whose
    before, after = live_bundle(kept), live_bundle(made)
    assert before.info.thresholds is not None, "live bundles are calibrated"
    assert after.info.thresholds is not None, "live bundles are calibrated"
    thresholds = (before.info.thresholds.image, after.info.thresholds.image)
    for bundle, scores in ((before, outcome.before), (after, outcome.after)):
        seqs = [part.event.seq for part in parts]
        known = [(seq, score) for seq, score in zip(seqs, scores, strict=True) if score is not None]
        found.review.add_scores(station, scale_of(bundle), known)
    table = compared(parts, outcome.before, outcome.after, thresholds)
    target = found.config.stations[station].bundle
    sharing = [name for name, each in found.config.stations.items() if each.bundle == target and name != station]
    missed = sum(
        row.mark == "true_defect" and row.verdict_before is Verdict.DEFECT and row.verdict_after is Verdict.GOOD
        for row in table
    )
    warnings = [*outcome.warnings]
    if missed:
        warnings.append(f"{missed} of the marked true defects would be GOOD")
    if sharing:
        warnings.append(f"{', '.join(sharing)} uses the same bundle file and changes with it")
    draft = Draft(
        station=station,
        kind=kind,
        who=who,
        note=note,
        base=before.sha256,
        bundle=after.sha256,
        threshold_before=thresholds[0],
        threshold_after=thresholds[1],
        patches_before=len(before.bank),
        patches_after=len(after.bank),
        warnings=warnings,
        table=table,
    )
    return found.changes.offer(draft, made)


def _change(found: Services, number: int) -> Change:
    change = found.changes.get(number)
    if change is None:
        raise ReloadError(f"there is no change {number}")
    return change
