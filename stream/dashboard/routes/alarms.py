"""Alarms: who has seen to them, and which there were."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request

from stream.dashboard.access import Identity
from stream.dashboard.routes.schemas import AlarmAnswer, AlarmPage, alarm_answer
from stream.dashboard.services import Dashboard, dashboard_of, require_role
from stream.store.records import AlarmRecord
from stream.store.review_store import AlarmName, AuditEntry

router = APIRouter(tags=["alarms"])


@router.get("/alarms")
def alarms(
    request: Request,
    before_id: Annotated[int, Query(ge=0, lt=2**62)] = 2**62 - 1,
    limit: Annotated[int, Query(ge=1, le=500)] = 60,
) -> AlarmPage:
    """Return one page of the alarms that were raised, the newest first."""
    found = dashboard_of(request)
    with found.store() as store:
        page = list(store.alarms(before_id=before_id, newest_first=True, limit=limit))
    return AlarmPage(alarms=_answers(found, page), older=page[-1].alarm_id if len(page) == limit else None)


@router.get("/alarms/active")
async def active(request: Request) -> list[AlarmAnswer]:
    """Return the alarms that stand."""
    found = dashboard_of(request)
    state = found.hub.newest.state
    standing = [] if state is None else state.alarms
    return _answers(
        found, [AlarmRecord(each.raised_realtime_ns, each.kind, each.subject, each.text) for each in standing]
    )


@router.post("/alarms/acknowledge")
def acknowledge(
    request: Request, alarm: AlarmName, who: Annotated[Identity, Depends(require_role("operator"))]
) -> dict[str, str]:
    """Note that somebody has seen to an alarm."""
    dashboard_of(request).review.acknowledge(alarm, who.name, time.time())
    return {"acknowledged_by": who.name}


@router.get("/audit")
def audit(
    request: Request,
    _who: Annotated[Identity, Depends(require_role("engineer"))],
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[AuditEntry]:
    """Return who changed what, the newest first."""
    return dashboard_of(request).review.audit(limit)


def _answers(found: Dashboard, alarms: list[AlarmRecord]) -> list[AlarmAnswer]:
    names = [(alarm.kind, alarm.subject, alarm.raised_realtime_ns) for alarm in alarms]
    seen = found.review.acknowledged(names)
    return [alarm_answer(alarm, seen.get(name)) for alarm, name in zip(alarms, names, strict=True)]
