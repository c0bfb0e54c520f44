"""The kept parts whose verdict another threshold would change."""

from __future__ import annotations

import math
import time
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.requests import Request

from stream.core.parts import PartResult
from stream.core.verdict import Verdict, verdict_of
from stream.dashboard.routes.schemas import EventAnswer, event_answer
from stream.dashboard.services import dashboard_of_station
from stream.dashboard.tuning.marked_parts import comparable_to
from stream.model.bundle import live_bundle

router = APIRouter(tags=["tuning"])

#: Time in which the parts were exposed, in ns, and how many of each verdict are looked at and shown.
_RECENT_NS, _LOOKED_AT, _SHOWN = 7 * 86_400 * 10**9, 2000, 24


class VerdictChanges(BaseModel):
    """Parts of the last seven days that scores of the live bundle's kind decided, not rules on their spots.

    Attributes:
        threshold: the one asked about.
        to_good: parts called DEFECT that would pass, the latest.
        to_good_count: how many there are.
        to_defect: kept GOOD parts that would be rejected; all others are not known.
        to_defect_count: how many there are.
    """

    threshold: float
    to_good: list[EventAnswer]
    to_good_count: int
    to_defect: list[EventAnswer]
    to_defect_count: int


@router.get("/stations/{station}/verdict-changes")
def verdict_changes(
    request: Request, station: str, threshold: Annotated[float, Query(allow_inf_nan=False)]
) -> VerdictChanges:
    """Return the kept parts whose verdict a threshold would change."""
    dashboard = dashboard_of_station(request, station)
    bundle = live_bundle(dashboard.config.stations[station].bundle)
    comparable = comparable_to(bundle, dashboard.changes.archive.folder(station))
    bounds = {Verdict.DEFECT: (-math.inf, threshold), Verdict.GOOD: (threshold, math.inf)}
    found: dict[Verdict, list[EventAnswer]] = {}
    with dashboard.store() as store:
        for verdict, (above, up_to) in bounds.items():
            events = store.with_network_input(
                station,
                verdict=verdict,
                since_ns=time.time_ns() - _RECENT_NS,
                above=above,
                up_to=up_to,
                limit=_LOOKED_AT,
            )
            marks = dashboard.review.marks((station, event.part.seq) for event in events)
            found[verdict] = [
                event_answer(event, marks.get((station, event.part.seq)))
                for event in events
                if comparable(event) and _by_score(event.part)
            ]
    to_good, to_defect = found[Verdict.DEFECT], found[Verdict.GOOD]
    return VerdictChanges(
        threshold=threshold,
        to_good=to_good[:_SHOWN],
        to_good_count=len(to_good),
        to_defect=to_defect[:_SHOWN],
        to_defect_count=len(to_defect),
    )


def _by_score(part: PartResult) -> bool:
    """Whether the score decided: not a part within the specification, nor one with too many spots."""
    return part.score is None or part.threshold is None or verdict_of(part.score, part.threshold) is part.verdict
