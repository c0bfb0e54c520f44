"""Logging in and out."""

from __future__ import annotations

import logging
import time

from fastapi import APIRouter, HTTPException
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse

from stream.core.errors import DiskError
from stream.dashboard.access import KNOWN_S, SESSION_S, Identity
from stream.dashboard.login_throttle import Sender
from stream.dashboard.passwords import TooManyLogins
from stream.dashboard.proxies import throttled
from stream.dashboard.routes.schemas import Credentials, Me
from stream.dashboard.services import Dashboard, dashboard_of, is_encrypted

log = logging.getLogger(__name__)

router = APIRouter(tags=["session"])


@router.get("/me")
def me(request: Request) -> Me:
    """Return the sender's name and role, and whether a login is needed."""
    dashboard = dashboard_of(request)
    return _me(dashboard, dashboard.identity_of(request))


@router.post("/login")
async def login(request: Request, credentials: Credentials) -> JSONResponse:
    """Begin a session; the response sets its cookie."""
    dashboard, name = dashboard_of(request), credentials.name
    address, now_s = request.client.host if request.client else "", time.time()
    sender = _sender(dashboard, request, name, address, now_s)
    wait_s = dashboard.throttle.wait_s(sender, name, time.monotonic())
    if wait_s:
        raise HTTPException(429, "too many attempts", headers={"retry-after": str(int(wait_s) + 1)})
    try:
        stored = dashboard.access.password_hash(name)
        right = await dashboard.passwords.right(stored, credentials.password, known=sender.known)
    except TooManyLogins:
        raise HTTPException(503, "too many logins at once; try again", headers={"retry-after": "1"}) from None
    if not right:
        await run_in_threadpool(dashboard.note, name, "login refused", address)
        raise HTTPException(401, "name or password is wrong")
    dashboard.throttle.forget(sender, name)
    await run_in_threadpool(_record, dashboard, name, address)
    cookie = dashboard.access.begin_session(name, time.monotonic())
    response = JSONResponse(_me(dashboard, dashboard.access.identify(cookie, None, time.monotonic())).model_dump())
    known = dashboard.access.known_browser(name, now_s)
    for cookie_name, value, age_s in (
        (dashboard.cookie(request), cookie, SESSION_S),
        (dashboard.browser_cookie(request), known, KNOWN_S),
    ):
        response.set_cookie(
            cookie_name,
            value,
            max_age=age_s,
            path=_cookie_path(request),
            secure=is_encrypted(request),
            httponly=True,
            samesite="strict",
        )
    return response


@router.post("/logout")
def logout(request: Request) -> JSONResponse:
    """End the session, also for copies of its cookie and after a restart of the dashboard."""
    dashboard = dashboard_of(request)
    cookie = request.cookies.get(dashboard.cookie(request))
    ended = dashboard.access.end_session(cookie, time.monotonic()) if cookie else None
    if ended is not None:
        dashboard.logins.end(ended, time.time())
    response = JSONResponse(_me(dashboard, None).model_dump())
    response.delete_cookie(dashboard.cookie(request), path=_cookie_path(request), secure=is_encrypted(request))
    return response


def _sender(dashboard: Dashboard, request: Request, name: str, address: str, now_s: float) -> Sender:
    browser = dashboard.access.browser_of(name, request.cookies.get(dashboard.browser_cookie(request)), now_s)
    if browser is not None:
        return Sender(f"browser {browser}", known=True)
    return Sender(throttled(address), known=dashboard.logins.knows(name, throttled(address)))


def _record(dashboard: Dashboard, name: str, address: str) -> None:
    dashboard.note(name, "login", address)
    try:
        dashboard.logins.add_address(name, throttled(address))
    except DiskError as error:
        log.error("%s", error)  # noqa: TRY400 - one line says it all


def _cookie_path(request: Request) -> str:
    return f"{request.scope.get('root_path', '')}/"


def _me(dashboard: Dashboard, identity: Identity | None) -> Me:
    return Me(
        name=identity.name if identity else None,
        role=identity.role if identity else None,
        login=not dashboard.access.open_to_all,
    )
