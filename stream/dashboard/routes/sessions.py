"""Logging in and out."""

from __future__ import annotations

import functools
import secrets
import threading
import time

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from fastapi import APIRouter, HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from stream.dashboard.access import SESSION_S, Identity
from stream.dashboard.routes.schemas import Credentials, Me
from stream.dashboard.services import Dashboard, dashboard_of

router = APIRouter(tags=["session"])
#: Each check by argon2 takes 64 MiB and a core.
_one_at_a_time = threading.Lock()


@router.get("/me")
def me(request: Request) -> Me:
    """Return the sender's name and role, and whether a login is needed."""
    dashboard = dashboard_of(request)
    return _me(dashboard, dashboard.identity_of(request))


@router.post("/login")
def login(request: Request, credentials: Credentials) -> JSONResponse:
    """Begin a session; the response sets its cookie."""
    dashboard = dashboard_of(request)
    address, now_s = request.client.host if request.client else "", time.time()
    for key in (f"address {address}", f"name {credentials.name}"):
        wait_s = dashboard.throttle.wait_s(key, now_s)
        if wait_s:
            raise HTTPException(429, "too many attempts", headers={"retry-after": str(int(wait_s) + 1)})
    if not _right_password(dashboard, credentials):
        dashboard.note(credentials.name[:64], "login refused", address)
        raise HTTPException(401, "name or password is wrong")
    dashboard.throttle.forget(f"address {address}")
    dashboard.throttle.forget(f"name {credentials.name}")
    dashboard.note(credentials.name, "login", address)
    cookie = dashboard.access.begin_session(credentials.name, now_s)
    response = JSONResponse(_me(dashboard, dashboard.access.identify(cookie, None, now_s)).model_dump())
    response.set_cookie(
        dashboard.cookie,
        cookie,
        max_age=SESSION_S,
        path="/",
        secure=dashboard.config.dashboard.certificate is not None,
        httponly=True,
        samesite="strict",
    )
    return response


@router.post("/logout")
def logout(request: Request) -> JSONResponse:
    """End the session, also for copies of its cookie."""
    dashboard = dashboard_of(request)
    cookie = request.cookies.get(dashboard.cookie)
    if cookie:
        dashboard.access.end_session(cookie)
    response = JSONResponse(_me(dashboard, None).model_dump())
    response.delete_cookie(dashboard.cookie, path="/")
    return response


def _right_password(dashboard: Dashboard, credentials: Credentials) -> bool:
    # An unknown name takes as long as a known one, so that the time does not tell which names exist.
    stored = dashboard.access.password_hash(credentials.name)
    with _one_at_a_time:
        try:
            right = dashboard.hasher.verify(stored or _hash_of_nobody(dashboard.hasher), credentials.password)
        except (Argon2Error, InvalidHashError):
            return False
    return right and stored is not None


@functools.cache
def _hash_of_nobody(hasher: PasswordHasher) -> str:
    return hasher.hash(secrets.token_hex())


def _me(dashboard: Dashboard, identity: Identity | None) -> Me:
    return Me(
        name=identity.name if identity else None,
        role=identity.role if identity else None,
        login=not dashboard.access.open_to_all,
    )
