"""The ways to another bundle of a station: accept marked parts, move the threshold, teach; and what becomes of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, Field
from starlette.requests import Request

from stream.core.errors import ConflictError, StoreError
from stream.core.verdict import Verdict
from stream.dashboard.access import Identity
from stream.dashboard.services import Dashboard, dashboard_of, require_role, services_of
from stream.dashboard.tuning.bundle_archive import remove
from stream.dashboard.tuning.changes import Change, ChangeDraft, ChangeKind
from stream.dashboard.tuning.jobs import Job, JobKind
from stream.dashboard.tuning.marked_parts import MarkedPart, compared, scale_of
from stream.line.install import camera_runs_here, sharing
from stream.model.bundle import live_bundle
from stream.store.event_store import FILE_NAME
from stream.store.review_store import AuditEntry
from stream.training.jobs import BundleOutcome, extend_job, relearn_job

router = APIRouter(tags=["tuning"])

Engineer = Annotated[Identity, Depends(require_role("engineer"))]
Note = Annotated[str, Field(max_length=1000)]
#: Kind of a change, who wants it, note.
Whose = tuple[ChangeKind, str, str]
_MADE = "made.safetensors"


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
    from stream.training.extend import with_threshold

    found = services_of(request, station)
    kept, before = found.changes.kept.keep_live(station)
    scratch_dir = found.changes.kept.scratch_dir(station)
    try:
        made = scratch_dir / _MADE
        with_threshold(kept, made, wanted.threshold)
        parts = found.marked_parts(station)
        scores = found.marked.scores(parts, before, kept.parent)
        known = [*before.calibration_scores, *(score for score in scores if score is not None)]
        warnings = []
        if wanted.threshold >= max(known):
            warnings.append(
                "no part that is known, good or marked, scores above this threshold: hardly any would be DEFECT"
            )
        whose: Whose = ("threshold", who.name, wanted.note)
        number = _offer(found, station, whose, kept, made, parts, BundleOutcome(warnings, scores, scores))
    finally:
        remove(scratch_dir)
    return _change(found, number)


@router.post("/stations/{station}/accept")
def accept(request: Request, station: str, wanted: Accepting, who: Engineer) -> Job:
    """Begin to make a bundle that remembers marked false alarms as good."""
    found = services_of(request, station)
    parts = found.marked_parts(station)
    by_number = {part.event_id: part for part in parts}
    numbers = list(dict.fromkeys(wanted.event_ids))
    for number in numbers:
        part = by_number.get(number)
        if part is None or part.mark.mark != "false_alarm" or part.picture is None:
            raise HTTPException(409, f"event {number} of {station} is no marked false alarm with a picture")
    seqs = ", ".join(str(by_number[number].event.part.seq) for number in numbers)
    return _begin(
        found, station, ("accept", who.name, wanted.note), parts, f"parts {seqs}", extend_job, {"accepted": numbers}
    )


@router.post("/stations/{station}/teach")
def teach(request: Request, station: str, wanted: Teaching, who: Engineer) -> Job:
    """Begin to learn the parts that pass the station's camera now."""
    found = services_of(request, station)
    if not camera_runs_here(found.config, station):
        camera = found.config.stations[station].camera
        raise ConflictError(f"camera {camera}: its process does not run on this host; start the line to teach from it")
    said = f"{wanted.parts} parts, false-reject rate {wanted.false_reject_rate:.4g}"
    options: dict[str, Any] = {
        "line": found.config,
        "station": station,
        "parts": wanted.parts,
        "false_reject_rate": wanted.false_reject_rate,
    }
    parts = found.marked_parts(station)
    return _begin(found, station, ("teach", who.name, wanted.note), parts, said, relearn_job, options)


@router.get("/jobs")
def jobs(request: Request) -> list[Job]:
    """Return the last jobs, the newest first."""
    return dashboard_of(request).jobs.all()


@router.post("/jobs/{number}/stop")
def stop(request: Request, number: int, who: Engineer) -> Job:
    """End a job; nothing comes of it."""
    found = dashboard_of(request)
    job = next((each for each in found.jobs.all() if each.id == number), None)
    if job is None:
        raise HTTPException(404, f"no job {number}")
    if job.state == "running":
        found.note(who.name, f"stop {job.kind}", f"{job.station}: begun by {job.who}")
    return found.jobs.stop(number) or job


@router.post("/changes/{number}/{step}")
def step(request: Request, number: int, step: Literal["live", "undo", "discard"], who: Engineer) -> Change:
    """Put a change live, undo it, or offer it no longer."""
    found = dashboard_of(request).changes
    if found.get(number) is None:
        raise HTTPException(404, f"no change {number}")
    steps = {"live": found.put_live, "undo": found.undo, "discard": found.discard}
    return steps[step](number, who.name)


def _begin(
    found: Dashboard,
    station: str,
    whose: tuple[JobKind, str, str],
    parts: list[MarkedPart],
    said: str,
    work: Callable[..., BundleOutcome],
    options: dict[str, Any],
) -> Job:
    """Begin a job that makes a bundle of the live one; `said` is what the audit log says of its options."""
    kind, who, note = whose
    kept, _ = found.changes.kept.keep_live(station)
    scratch_dir = found.changes.kept.scratch_dir(station)
    made = scratch_dir / _MADE
    store = found.config.store.path / FILE_NAME
    arguments = {"live": kept, "output": made, "store": store, "marked": [part.event_id for part in parts]}
    finish = functools.partial(_offer, found, station, whose, kept, made, parts)
    job = found.jobs.begin(kind, station, who, work, arguments | options, finish, scratch_dir)
    detail = f"{station}: {said} {note}".strip()
    try:
        found.review.note(AuditEntry(at_s=job.begun_s, who=who, what=f"begin {kind}", detail=detail))
    except StoreError:  # what cannot be put down in the audit log is not done
        found.jobs.stop(job.id)
        raise
    return job


def _offer(
    found: Dashboard,
    station: str,
    whose: Whose,
    kept: Path,
    made: Path,
    parts: list[MarkedPart],
    outcome: BundleOutcome,
) -> int:
    """Keep a new bundle as a change, with the marked parts' scores by both; returns the change's number."""
    kind, who, note = whose
    before, after = live_bundle(kept), live_bundle(made)
    assert before.info.thresholds is not None, "live bundles are calibrated"
    assert after.info.thresholds is not None, "live bundles are calibrated"
    thresholds = (before.info.thresholds.image, after.info.thresholds.image)
    for bundle, scores in ((before, outcome.before), (after, outcome.after)):
        seqs = [part.event.part.seq for part in parts]
        known = [(seq, score) for seq, score in zip(seqs, scores, strict=True) if score is not None]
        found.review.add_scores(station, scale_of(bundle), known)
    table = compared(parts, outcome.before, outcome.after, thresholds)
    others = [name for name in sharing(found.config, found.config.stations[station].bundle) if name != station]
    missed = sum(
        row.mark == "true_defect" and row.verdict_before is Verdict.DEFECT and row.verdict_after is Verdict.GOOD
        for row in table
    )
    warnings = [*outcome.warnings]
    if missed:
        warnings.append(f"{missed} of the marked true defects would be GOOD")
    if others:
        warnings.append(f"the same bundle file is used by {', '.join(others)}, which changes with it")
    draft = ChangeDraft(
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


def _change(found: Dashboard, number: int) -> Change:
    change = found.changes.get(number)
    if change is None:
        raise ConflictError(f"there is no change {number}")
    return change
