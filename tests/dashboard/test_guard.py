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
    def __init__(self, root_path: str) -> None:
        self.dashboard = DashboardOptions(root_path=root_path)


class Behind:
    """A dashboard of which the guard uses these."""

    def __init__(self, users: bool, root_path: str = "") -> None:
        self.config = Config(root_path)
        known = {"anna": {"role": "engineer", "password": HASH}} if users else {}
        self.access = Authenticator(DashboardOptions.model_validate({"users": known, "tokens": TOKENS}), b"secret")

    def identity_of(self, connection: Any) -> Identity | None:
        session = connection.cookies.get("patchline-test") == "SESSION"
        bearer = bearer_token(connection)
        if bearer is None and session and not self.access.open_to_all:
            return Identity("anna", "engineer")
        return self.access.identify(None, bearer, 0.0)


def status(path: str = CHANGE, **options: Any) -> int:
    """The status that a request gets: 200 where it passes; of a WebSocket 4000 more where it is closed."""
    return answer(path, **options)[0]


def answer(
    path: str = CHANGE,
    *,
    method: str = "POST",
    kind: str = "http",
    users: bool = True,
    root_path: str = "",
    **headers: str,
) -> tuple[int, str]:
    """The status and the body."""
    seen: list[int] = []
    body = bytearray()

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(200)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] in ("http.response.start", "websocket.close"):
            seen.append(message.get("status", message.get("code")))
        body.extend(message.get("body", b""))

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
    asyncio.run(Guard(app, cast(Dashboard, Behind(users, root_path)))(scope, receive, send))
    assert len(seen) == 1
    return seen[0], body.decode()


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


def test_a_change_that_is_too_long_by_its_own_word_is_refused():
    for length in (str(64 * 1024 + 1), "9" * 5000):
        assert status(**COOKIE, **OWN, content_length=length) == 413


def test_a_request_whose_length_is_ambiguous_is_refused():
    for length in ("", "-1", "x", "1, 2", "+5", "\u0665"):
        assert status(**COOKIE, **OWN, content_length=length) == 400
    for method in ("GET", "POST"):
        assert status(method=method, **COOKIE, **OWN, transfer_encoding="chunked") == 400


def test_below_a_sub_path_the_same_doors_are_closed():
    for path in ("/line1/api/v1/line", "/api/v1/line"):
        assert status(path, method="GET", root_path="/line1") == 401
        assert status(path, method="GET", root_path="/line1", **COOKIE) == 200
    assert status("/line1/api/v1/live", kind="websocket", root_path="/line1", **OWN) == 4401
    assert status("/line1", method="GET", root_path="/line1") == 308
    assert status("/line1/", method="GET", root_path="/line1") == 200


def test_a_host_without_the_port_of_the_page_is_refused_with_what_the_proxy_must_pass():
    seen = answer(**COOKIE, host="line.factory", origin="https://line.factory:8443")
    assert seen[0] == 403
    assert "proxy_set_header Host $http_host" in seen[1]
