"""A station's threshold, and the effect of another one."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import BaseModel
from starlette.requests import Request

from stream.core.verdict import Verdict
from stream.dashboard.services import Dashboard, dashboard_of_station
from stream.dashboard.tuning.marked_parts import MarkedPart
from stream.line.install import camera_runs_here
from stream.line.rules import PartVerdict
from stream.model.bundle import Bundle, live_bundle
from stream.model.patchcore.head import MIN_DEFECTS
from stream.store.review_store import DEFECTIVE, MarkKind
from stream.training.operating_curve import Curve, KnownScores, curve, thresholds_around
from stream.transport.messages import SettledPart

router = APIRouter(tags=["tuning"])

_DAY_S = 86_400


class ReviewedPart(BaseModel):
    """A marked part; `score` is by the live bundle, None where none was computed.

    `verdict` is by this bundle and the station's rules, None without a score, and where rules may decide but the part's
    patch distances are not known; `within_spec` tells that it is GOOD only because rules let its spots pass.
    `picture` tells whether its network input is stored, so that it can be accepted, and `accepted` whether that is in
    the memory bank.
    """

    event_id: int
    seq: int
    part_id: str | None
    captured_s: float
    mark: MarkKind
    note: str
    who: str
    score: float | None
    verdict: Verdict | None
    within_spec: bool
    picture: bool
    accepted: bool


class ThresholdCurve(BaseModel):
    """The expected effect of each threshold, in columns of one length."""

    threshold: list[float]
    false_reject_share: list[float]
    false_rejects_per_day: list[float | None]
    misses_per_day: list[float | None]
    false_alarms_passing: list[int]
    true_defects_passing: list[int]


class Learnable(BaseModel):
    """What marks can teach.

    Attributes:
        defects: marked true and missed defects with a network input.
        false_alarms: likewise.
        needed: so many defects at least.
        learned_defects: from how many the live bundle's head was learned; None: it has none.
    """

    defects: int
    false_alarms: int
    needed: int
    learned_defects: int | None


class Tuning(BaseModel):
    """What is known of a station's threshold.

    `at` is the index of the present threshold in the curve; `running` tells whether the process of the station's camera
    runs on this host.
    """

    station: str
    bundle_sha256: str
    threshold: float
    by_hand: bool
    false_reject_rate: float
    calibration: list[float]
    parts_per_day: float | None
    running: bool
    reviewed: list[ReviewedPart]
    learnable: Learnable
    curve: ThresholdCurve
    at: int
    counted: dict[MarkKind, int]
    assumes: str


class _Rates(NamedTuple):
    """Present rates of one station, per day; None while no parts come."""

    parts: float | None
    defects: float | None


@router.get("/stations/{station}/tuning")
async def tuning(request: Request, station: str) -> Tuning:
    """Return what is known of a station's threshold."""
    dashboard = dashboard_of_station(request, station)
    latest = dashboard.hub.latest
    now = latest.state.stations.get(station) if latest.state else None
    return await asyncio.to_thread(
        _tuning, dashboard, station, now.rate_hz if now else None, list(latest.history[station])
    )


def _rates(rate_hz: float | None, history: list[SettledPart], present: float) -> _Rates:
    if not rate_hz:
        return _Rates(None, None)
    # Verdicts by another threshold do not count.
    judged = [part.part.verdict for part in history if part.part.threshold == present and part.part.score is not None]
    share = judged.count(Verdict.DEFECT) / len(judged) if judged else None
    parts = rate_hz * _DAY_S
    return _Rates(parts, None if share is None else parts * share)


def _tuning(dashboard: Dashboard, station: str, rate_hz: float | None, history: list[SettledPart]) -> Tuning:
    bundle = live_bundle(dashboard.config.stations[station].bundle)
    thresholds = bundle.info.thresholds
    assert thresholds is not None, "live bundles are calibrated"
    rates = _rates(rate_hz, history, thresholds.image)
    parts = dashboard.marked_parts(station)
    (verdicts,) = dashboard.verdicts_on(station, parts, bundle)
    scores = [None if each is None else each.score for each in verdicts]
    kinds_of: dict[MarkKind, tuple[MarkKind, ...]] = {"false_alarm": ("false_alarm",), "true_defect": DEFECTIVE}
    marked: dict[MarkKind, NDArray[np.float64]] = {
        kind: np.array(
            [score for part, score in zip(parts, scores, strict=True) if score is not None and part.mark.mark in kinds],
            dtype=np.float64,
        )
        for kind, kinds in kinds_of.items()
    }
    known = KnownScores(
        bundle.calibration_scores, marked["false_alarm"], marked["true_defect"], rates.parts, rates.defects
    )
    thresholds_shown = thresholds_around(known, thresholds.image)
    return Tuning(
        station=station,
        bundle_sha256=bundle.sha256,
        threshold=thresholds.image,
        by_hand=thresholds.by_hand,
        false_reject_rate=thresholds.false_reject_rate,
        calibration=sorted(float(score) for score in bundle.calibration_scores),
        parts_per_day=rates.parts,
        running=camera_runs_here(dashboard.config, station),
        reviewed=[_reviewed(part, verdict, bundle) for part, verdict in zip(parts, verdicts, strict=True)],
        learnable=_learnable(parts, bundle),
        curve=_columns(curve(thresholds_shown, known, thresholds.image)),
        at=int(np.searchsorted(thresholds_shown, thresholds.image)),
        counted={kind: len(scores) for kind, scores in marked.items()},
        assumes=(
            f"{len(bundle.calibration_scores)} calibration images, which cannot resolve shares below "
            f"{1 / (len(bundle.calibration_scores) + 1):.2%}; the present rate, day and night; among all parts called "
            "DEFECT the same share of true defects as among the marked ones; misses among parts that pass already are "
            "unknown and come on top"
        ),
    )


def _learnable(parts: list[MarkedPart], bundle: Bundle) -> Learnable:
    marks = [part.mark.mark for part in parts if part.picture is not None]
    return Learnable(
        defects=sum(mark in DEFECTIVE for mark in marks),
        false_alarms=marks.count("false_alarm"),
        needed=MIN_DEFECTS,
        learned_defects=None if bundle.info.head is None else bundle.info.head.defects,
    )


def _reviewed(part: MarkedPart, verdict: PartVerdict | None, bundle: Bundle) -> ReviewedPart:
    return ReviewedPart(
        event_id=part.event_id,
        seq=part.event.part.seq,
        part_id=part.event.part.part_id,
        captured_s=part.event.captured_realtime_ns / 1e9,
        mark=part.mark.mark,
        note=part.mark.note,
        who=part.mark.who,
        score=None if verdict is None else verdict.score,
        verdict=None if verdict is None else verdict.verdict,
        within_spec=verdict is not None and verdict.within_spec,
        picture=part.picture is not None,
        accepted=part.picture in bundle.info.bank_pictures,
    )


def _columns(curve: Curve) -> ThresholdCurve:
    def optional(column: NDArray[np.float64] | None) -> list[float | None]:
        return [None] * len(curve.threshold) if column is None else [float(value) for value in column]

    return ThresholdCurve(
        threshold=curve.threshold.tolist(),
        false_reject_share=curve.false_reject_share.tolist(),
        false_rejects_per_day=optional(curve.false_rejects_per_day),
        misses_per_day=optional(curve.misses_per_day),
        false_alarms_passing=curve.false_alarms_passing.tolist(),
        true_defects_passing=curve.true_defects_passing.tolist(),
    )
