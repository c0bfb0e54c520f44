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
#: argon2 takes 64 MiB and a core for each guess.
_one_at_a_time = threading.Lock()


@router.get("/me")
def me(request: Request) -> Me:
    """Say who asks, and whether one has to log in."""
    found = dashboard_of(request)
    return _me(found, found.who(request))


@router.post("/login")
def login(request: Request, credentials: Credentials) -> JSONResponse:
    """Begin a session: the answer sets its cookie."""
    found = dashboard_of(request)
    address, now_s = request.client.host if request.client else "", time.time()
    for key in (f"address {address}", f"name {credentials.name}"):
        wait_s = found.guesses.wait_s(key, now_s)
        if wait_s:
            raise HTTPException(429, "too many attempts", headers={"retry-after": str(int(wait_s) + 1)})
    if not _right_password(found, credentials):
        found.note(credentials.name[:64], "login refused", address)
        raise HTTPException(401, "name or password is wrong")
    found.guesses.forget(f"address {address}")
    found.guesses.forget(f"name {credentials.name}")
    found.note(credentials.name, "login", address)
    cookie = found.access.begin_session(credentials.name, now_s)
    answer = JSONResponse(_me(found, found.access.identify(cookie, None, now_s)).model_dump())
    answer.set_cookie(
        found.cookie,
        cookie,
        max_age=SESSION_S,
        path="/",
        secure=found.config.dashboard.certificate is not None,
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/logout")
def logout(request: Request) -> JSONResponse:
    """End the session for good."""
    found = dashboard_of(request)
    cookie = request.cookies.get(found.cookie)
    if cookie:
        found.access.end_session(cookie)
    answer = JSONResponse(_me(found, None).model_dump())
    answer.delete_cookie(found.cookie, path="/")
    return answer


def _right_password(found: Dashboard, credentials: Credentials) -> bool:
    # An unknown name takes as long as a known one, so that nobody learns which there are.
    stored = found.access.password_hash(credentials.name)
    with _one_at_a_time:
        try:
            return found.hasher.verify(stored or _nobodys(found.hasher), credentials.password) and stored is not None
        except (Argon2Error, InvalidHashError):
            return False


@functools.cache
def _nobodys(hasher: PasswordHasher) -> str:
    return hasher.hash(secrets.token_hex())


def _me(found: Dashboard, who: Identity | None) -> Me:
    return Me(
        name=who.name if who else None,
        role=who.role if who else None,
        login=not found.access.open_to_all,
    )
