"""Changes of a bundle: from marked parts, without strange pictures, another threshold, teaching; live, undone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, Field
from starlette.requests import Request

from stream.core.errors import ConfigError, ConflictError, StoreError
from stream.core.verdict import Verdict
from stream.dashboard.access import Identity
from stream.dashboard.services import Dashboard, dashboard_of, dashboard_of_station, require_role
from stream.dashboard.tuning.bundle_archive import remove
from stream.dashboard.tuning.change_record import Change, ChangeDraft, ChangeKind, Step
from stream.dashboard.tuning.jobs import Job, JobKind
from stream.dashboard.tuning.marked_parts import MarkedPart, comparison, recent_comparison, scale_of
from stream.line.install import camera_runs_here, sharing
from stream.model.bundle import live_bundle
from stream.model.patchcore.head import MIN_DEFECTS
from stream.store.records import Event
from stream.store.review_store import DEFECTIVE, AuditEntry
from stream.training.jobs import BundleOutcome, extend_job, learn_marks_job, leave_out_job, relearn_job

router = APIRouter(tags=["tuning"])

Engineer = Annotated[Identity, Depends(require_role("engineer"))]
Note = Annotated[str, Field(max_length=1000)]
_MADE = "made.safetensors"
#: Parts by which a new bundle is tried besides the marked ones: of this time, in ns, and so many at most.
_RECENT_NS, _RECENT = 86_400 * 10**9, 1000


class Accepting(BaseModel):
    """Marked parts to add to the memory bank as good."""

    event_ids: Annotated[list[Annotated[int, Field(ge=1, lt=2**62)]], Field(min_length=1, max_length=200)]
    note: Note = ""


class LeavingOut(BaseModel):
    """Good pictures, by the names that the live bundle has of them, to be taken out of its calibration and its bank."""

    names: Annotated[list[Annotated[str, Field(max_length=1000)]], Field(min_length=1, max_length=50)]
    note: Note = ""


class LearningFromMarks(BaseModel):
    """Which marks to learn from is no choice: all that have a network input."""

    note: Note = ""


class NewThreshold(BaseModel):
    """Image scores above it are DEFECT; negative only in a position-aware bundle, or one with a head."""

    threshold: Annotated[float, Field(allow_inf_nan=False)]
    note: Note = ""


class Teaching(BaseModel):
    """Number of parts to learn from, and the wanted share of good parts called defective (None: the live bundle's)."""

    parts: Annotated[int, Field(ge=2, le=20_000)] = 200
    false_reject_rate: Annotated[float, Field(gt=1e-6, lt=0.999)] | None = None
    note: Note = ""


class _Order(NamedTuple):
    """A bundle that is to be made for a station.

    Attributes:
        station: its name.
        kind: of the change.
        user: who ordered it.
        note: why.
        marked: the station's marked parts, to be compared under both bundles.
        live: archived file of the live bundle.
        scratch_dir: folder in which the new bundle is made.
        recent: parts of the last day to be compared likewise, latest first.
        recent_left_out: how many older ones of that day are not.
    """

    station: str
    kind: ChangeKind
    user: str
    note: str
    marked: list[MarkedPart]
    live: Path
    scratch_dir: Path
    recent: list[Event] = []  # noqa: RUF012 - never changed
    recent_left_out: int = 0

    @property
    def made(self) -> Path:
        """File of the new bundle."""
        return self.scratch_dir / _MADE


@router.get("/stations/{station}/changes")
def changes(request: Request, station: str) -> list[Change]:
    """Return the last changes of a station's bundle, latest first."""
    return dashboard_of_station(request, station).changes.of(station)


@router.post("/stations/{station}/threshold")
def threshold(request: Request, station: str, wanted: NewThreshold, engineer: Engineer) -> Change:
    """Offer the station's bundle with another threshold."""
    from stream.training.extend import with_threshold

    dashboard = dashboard_of_station(request, station)
    live, before = dashboard.changes.archive.keep_live(station)
    scratch_dir = dashboard.changes.archive.scratch_dir(station)
    try:
        marked = dashboard.marked_parts(station)
        order = _Order(station, "threshold", engineer.name, wanted.note, marked, live, scratch_dir)
        try:
            after = with_threshold(live, order.made, wanted.threshold)
        except ConfigError as error:
            raise HTTPException(422, str(error)) from None
        old, new = dashboard.verdicts_on(station, marked, before, after)
        known = [*before.calibration_scores, *(each.score for each in old if each is not None)]
        warnings = []
        if wanted.threshold >= max(known):
            warnings.append("no known part, good or marked, scores above this threshold: hardly any would be DEFECT")
        return _offer(dashboard, order, BundleOutcome(warnings, old, new))
    finally:
        remove(scratch_dir)


@router.post("/stations/{station}/accept")
def accept(request: Request, station: str, wanted: Accepting, engineer: Engineer) -> Job:
    """Begin to make a bundle whose memory bank has marked false alarms as good."""
    dashboard = dashboard_of_station(request, station)
    marked = dashboard.marked_parts(station)
    by_number = {part.event_id: part for part in marked}
    numbers = list(dict.fromkeys(wanted.event_ids))
    for number in numbers:
        part = by_number.get(number)
        if part is None or part.mark.mark != "false_alarm" or part.picture is None:
            raise HTTPException(409, f"event {number} of {station} is no marked false alarm with a network input")
    seqs = ", ".join(str(by_number[number].event.part.seq) for number in numbers)
    order = _order(dashboard, station, "accept", engineer, wanted.note, marked)
    return _begin(dashboard, order, "accept", f"parts {seqs}", extend_job, {"accepted": numbers})


@router.post("/stations/{station}/leave-out")
def leave_out(request: Request, station: str, wanted: LeavingOut, engineer: Engineer) -> Job:
    """Begin to make a bundle as if it had never been given some of its good pictures."""
    dashboard = dashboard_of_station(request, station)
    names = list(dict.fromkeys(wanted.names))
    known = set(live_bundle(dashboard.config.stations[station].bundle).info.calibration_names)
    for name in names:
        if name not in known:
            raise HTTPException(409, f"the live bundle of {station} does not keep all of these good pictures")
    order = _order(dashboard, station, "leave_out", engineer, wanted.note, dashboard.marked_parts(station))
    return _begin(dashboard, order, "leave_out", f"pictures {', '.join(names)}", leave_out_job, {"names": names})


@router.post("/stations/{station}/learn-from-marks")
def learn(request: Request, station: str, wanted: LearningFromMarks, engineer: Engineer) -> Job:
    """Begin to make a bundle that has learned from all marked defects what they have in common."""
    dashboard = dashboard_of_station(request, station)
    marked = dashboard.marked_parts(station)
    defects = [part.event_id for part in marked if part.mark.mark in DEFECTIVE and part.picture]
    alarms = [part.event_id for part in marked if part.mark.mark == "false_alarm" and part.picture]
    if len(defects) < MIN_DEFECTS:
        raise ConflictError(
            f"{station}: {len(defects)} marked defects with a network input; it takes {MIN_DEFECTS} to learn what "
            "they have in common: mark more true and missed defects"
        )
    since_ns = time.time_ns() - _RECENT_NS
    with dashboard.store() as store:
        events = store.with_network_input(station, since_ns=since_ns)
    recent = events[:_RECENT]
    order = _order(dashboard, station, "marks", engineer, wanted.note, marked)
    order = order._replace(recent=recent, recent_left_out=len(events) - len(recent))
    numbers = {"defects": defects, "false_alarms": alarms, "recent": [event.event_id for event in recent]}
    detail = f"{len(defects)} defects, {len(alarms)} false alarms"
    return _begin(dashboard, order, "marks", detail, learn_marks_job, numbers)


@router.post("/stations/{station}/teach")
def teach(request: Request, station: str, wanted: Teaching, engineer: Engineer) -> Job:
    """Begin to learn from the parts that pass the station's camera from now on."""
    dashboard = dashboard_of_station(request, station)
    if not camera_runs_here(dashboard.config, station):
        camera = dashboard.config.stations[station].camera
        raise ConflictError(f"camera {camera}: its process does not run on this host; start the line to teach from it")
    options: dict[str, Any] = {
        "parts": wanted.parts,
        "false_reject_rate": wanted.false_reject_rate,
    }
    order = _order(dashboard, station, "teach", engineer, wanted.note, dashboard.marked_parts(station))
    rate = "as before" if wanted.false_reject_rate is None else f"{wanted.false_reject_rate:.4g}"
    detail = f"{wanted.parts} parts, false-reject rate {rate}"
    return _begin(dashboard, order, "teach", detail, relearn_job, options)


@router.get("/jobs")
def jobs(request: Request) -> list[Job]:
    """Return the last jobs, latest first."""
    return dashboard_of(request).jobs.all()


@router.post("/jobs/{number}/stop")
def stop(request: Request, number: int, engineer: Engineer) -> Job:
    """Stop a job; it makes no change."""
    dashboard = dashboard_of(request)
    job = next((job for job in dashboard.jobs.all() if job.id == number), None)
    if job is None:
        raise HTTPException(404, "no such job")
    if job.state == "running":
        dashboard.note(engineer.name, f"stop {job.kind}", f"{job.station}: begun by {job.who}")
    return dashboard.jobs.stop(number) or job


@router.post("/changes/{number}/{step}")
def step(request: Request, number: int, step: Step, engineer: Engineer) -> Change:
    """Put a change live, undo it or discard it."""
    changes = dashboard_of(request).changes
    if not 0 < number < 2**62 or changes.get(number) is None:
        raise HTTPException(404, "no such change")
    return changes.apply(number, step, engineer.name)


def _order(
    dashboard: Dashboard, station: str, kind: ChangeKind, engineer: Identity, note: str, marked: list[MarkedPart]
) -> _Order:
    live, _ = dashboard.changes.archive.keep_live(station)
    scratch_dir = dashboard.changes.archive.scratch_dir(station)
    return _Order(station, kind, engineer.name, note, marked, live, scratch_dir)


def _begin(
    dashboard: Dashboard,
    order: _Order,
    kind: JobKind,
    detail: str,
    work: Callable[..., BundleOutcome],
    options: dict[str, Any],
) -> Job:
    """Begin a job that makes a bundle from the live one; `detail` is for the audit log."""
    arguments = {
        "line": dashboard.config,
        "station": order.station,
        "live": order.live,
        "output": order.made,
        "marked": [part.event_id for part in order.marked],
    }

    def finish(outcome: BundleOutcome) -> int:
        return _offer(dashboard, order, outcome).id

    job = dashboard.jobs.begin(kind, order.station, order.user, work, arguments | options, finish, order.scratch_dir)
    detail = f"{order.station}: {detail} {order.note}".strip()
    try:
        dashboard.review.note(AuditEntry(at_s=job.begun_s, who=order.user, what=f"begin {kind}", detail=detail))
    except StoreError:  # what cannot be written to the audit log is not done
        dashboard.jobs.stop(job.id)
        raise
    return job


def _offer(dashboard: Dashboard, order: _Order, outcome: BundleOutcome) -> Change:
    """Store a new bundle as a change, with what both bundles say of the marked parts."""
    before, after = live_bundle(order.live), live_bundle(order.made)
    assert before.info.thresholds is not None, "live bundles are calibrated"
    assert after.info.thresholds is not None, "live bundles are calibrated"
    thresholds = (before.info.thresholds.image, after.info.thresholds.image)
    for bundle, verdicts in ((before, outcome.before), (after, outcome.after)):
        seqs = [part.event.part.seq for part in order.marked]
        known = [(seq, each.score) for seq, each in zip(seqs, verdicts, strict=True) if each is not None]
        dashboard.review.add_scores(order.station, scale_of(bundle), known)
    table = comparison(order.marked, outcome.before, outcome.after)
    users = sharing(dashboard.config, dashboard.config.stations[order.station].bundle)
    others = [name for name in users if name != order.station]
    missed = sum(
        row.mark in DEFECTIVE and row.verdict_before is Verdict.DEFECT and row.verdict_after is Verdict.GOOD
        for row in table
    )
    warnings = [*outcome.warnings]
    if missed:
        warnings.append(f"{missed} of the marked defects would be GOOD")
    if others:
        warnings.append(f"the same bundle file is used by {', '.join(others)}, which changes with it")
    draft = ChangeDraft(
        station=order.station,
        kind=order.kind,
        who=order.user,
        note=order.note,
        base_sha256=before.sha256,
        bundle_sha256=after.sha256,
        threshold_before=thresholds[0],
        threshold_after=thresholds[1],
        patches_before=len(before.bank),
        patches_after=len(after.bank),
        warnings=warnings,
        table=table,
        recent=recent_comparison(order.recent, outcome.recent, order.recent_left_out) if order.recent else None,
    )
    return dashboard.changes.offer(draft, order.made)
