"""What passes the guard before any route: by where a request comes from, its size and its sender's identity."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, cast

import pytest

from stream.dashboard.access import Authenticator, Identity
from stream.dashboard.guard import Guard
from stream.dashboard.services import Dashboard, bearer_token
from stream.line.sections import DashboardOptions

HOST = "127.0.0.1:8080"
OWN = {"origin": f"http://{HOST}"}
COOKIE = {"cookie": "patchline-test=SESSION"}
HASH = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaA"
TOKENS = {"mes": {"sha256": hashlib.sha256(b"token").hexdigest(), "role": "operator"}}
CHANGE = "/api/v1/alarms/acknowledge"


class Config:
    dashboard = DashboardOptions()


class Behind:
    """A dashboard of which the guard uses these."""

    config = Config()

    def __init__(self, users: bool) -> None:
        known = {"anna": {"role": "engineer", "password": HASH}} if users else {}
        self.access = Authenticator(DashboardOptions.model_validate({"users": known, "tokens": TOKENS}), b"secret")

    def identity_of(self, connection: Any) -> Identity | None:
        session = connection.cookies.get("patchline-test") == "SESSION"
        bearer = bearer_token(connection)
        if bearer is None and session and not self.access.open_to_all:
            return Identity("anna", "engineer")
        return self.access.identify(None, bearer, 0.0)


def status(path: str = CHANGE, *, method: str = "POST", kind: str = "http", users: bool = True, **headers: str) -> int:
    """The status that a request gets: 200 where it passes; of a WebSocket 4000 more where it is closed."""
    seen: list[int] = []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(200)

    async def receive() -> dict[str, str]:
        return {}

    async def send(message: Any) -> None:
        if message["type"] in ("http.response.start", "websocket.close"):
            seen.append(message.get("status", message.get("code")))

    given = {"host": HOST, "content-length": "0"} | {name.replace("_", "-"): text for name, text in headers.items()}
    scope = {
        "type": kind,
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), text.encode()) for name, text in given.items()],
        "scheme": "http",
    }
    if kind == "http":
        scope["method"] = method
    asyncio.run(Guard(app, cast(Dashboard, Behind(users)))(scope, receive, send))
    assert len(seen) == 1
    return seen[0]


FOREIGN = [
    {},
    {"origin": "http://evil.example"},
    {"origin": "http://127.0.0.1:9090"},
    {"origin": "null"},
    {"sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "same-site"},
    {"sec_fetch_site": "same-site"} | OWN,
    {"sec_fetch_site": "same-origin", "origin": "http://evil.example"},
]
OURS = [OWN, {"sec_fetch_site": "same-origin"}, {"sec_fetch_site": "none"}, {"sec_fetch_site": "same-origin"} | OWN]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_no_other_page_changes_anything_with_our_cookie_or_from_this_host(method: str, headers: dict[str, str]):
    assert status(method=method, **COOKIE, **headers) == 403
    assert status(method=method, users=False, **headers) == 403


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_no_other_page_watches_logs_in_or_logs_out(headers: dict[str, str]):
    assert status("/api/v1/live", kind="websocket", **COOKIE, **headers) == 4403
    assert status("/api/v1/live", kind="websocket", users=False, **headers) == 4403
    assert status("/api/v1/login", **headers) == 403
    assert status("/api/v1/logout", **COOKIE, **headers) == 403


@pytest.mark.parametrize("headers", OURS, ids=str)
def test_pages_of_ours_change_and_watch(headers: dict[str, str]):
    assert status(**COOKIE, **headers) == 200
    assert status(users=False, **headers) == 200
    assert status("/api/v1/login", **headers) == 200
    assert status("/api/v1/live", kind="websocket", **COOKIE, **headers) == 200


def test_a_page_of_ours_without_a_session_is_nobody():
    assert status(**OWN) == 401
    assert status("/api/v1/live", kind="websocket", **OWN) == 4401


def test_a_program_with_a_bearer_token_needs_neither_header_but_is_no_cover_for_another_page():
    assert status(authorization="Bearer token") == 200
    assert status(users=False, authorization="Bearer token") == 200
    assert status("/api/v1/live", kind="websocket", authorization="Bearer token") == 200
    assert status(authorization="Bearer wrong") == 401
    assert status(users=False, authorization="Bearer wrong") == 401
    assert status(authorization="Bearer wrong", **COOKIE) == 401, "the cookie does not help"
    assert status(authorization="Basic token", **COOKIE) == 403
    assert status(authorization="Bearer token", origin="http://evil.example") == 403
    assert status(authorization="Bearer token", sec_fetch_site="cross-site") == 403


def test_reading_needs_no_header():
    assert status("/api/v1/line", method="GET", **COOKIE) == 200
    assert status("/api/v1/line", method="GET", users=False) == 200
    assert status("/api/v1/line", method="GET") == 401


def test_a_name_that_was_made_to_point_here_is_refused_on_an_open_dashboard():
    foreign = {"host": "evil.example:8080", "origin": "http://evil.example:8080", "sec_fetch_site": "same-origin"}
    assert status(users=False, **foreign) == 403
    assert status("/api/v1/line", method="GET", users=False, **foreign) == 403


def test_a_change_without_its_length_or_too_long_is_refused():
    for length in ("", "-1", "x", str(64 * 1024 + 1)):
        assert status(**COOKIE, **OWN, content_length=length) == 413
