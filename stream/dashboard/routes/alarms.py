"""Alarms: active, past and acknowledged; and the audit log."""

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
    """Return one page of all alarms, latest first."""
    dashboard = dashboard_of(request)
    with dashboard.store() as store:
        page = list(store.alarms(before_id=before_id, newest_first=True, limit=limit))
    return AlarmPage(alarms=_answers(dashboard, page), older=page[-1].alarm_id if len(page) == limit else None)


@router.get("/alarms/active")
async def active(request: Request) -> list[AlarmAnswer]:
    """Return the active alarms."""
    dashboard = dashboard_of(request)
    state = dashboard.hub.latest.state
    raised = [] if state is None else state.alarms
    return _answers(
        dashboard, [AlarmRecord(alarm.raised_realtime_ns, alarm.kind, alarm.subject, alarm.text) for alarm in raised]
    )


@router.post("/alarms/acknowledge")
def acknowledge(
    request: Request, alarm: AlarmName, operator: Annotated[Identity, Depends(require_role("operator"))]
) -> dict[str, str]:
    """Acknowledge an alarm."""
    dashboard_of(request).review.acknowledge(alarm, operator.name, time.time())
    return {"acknowledged_by": operator.name}


@router.get("/audit")
def audit(
    request: Request,
    _engineer: Annotated[Identity, Depends(require_role("engineer"))],
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[AuditEntry]:
    """Return the audit log, latest entry first."""
    return dashboard_of(request).review.audit(limit)


def _answers(dashboard: Dashboard, alarms: list[AlarmRecord]) -> list[AlarmAnswer]:
    names = [(alarm.kind, alarm.subject, alarm.raised_realtime_ns) for alarm in alarms]
    acknowledged = dashboard.review.acknowledged(names)
    return [alarm_answer(alarm, acknowledged.get(name)) for alarm, name in zip(alarms, names, strict=True)]
