"""What every request passes before any route sees it: closed unless opened, also for routes that come later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream.dashboard.access import Identity, genuine, is_local_host, same_origin
from stream.dashboard.services import FORGERY_HEADER, Dashboard

_SAFE = {"GET", "HEAD"}
#: Open to everybody: who am I, let me in, what is there.
_OPEN = {"/api/v1/me", "/api/v1/login", "/api/v1/openapi.json"}
_LOGIN = "/api/v1/login"
_LOGOUT = "/api/v1/logout"
_LARGEST_BODY = 64 * 1024

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """Refuses what must not come through, and puts security headers on every answer."""

    def __init__(self, app: ASGIApp, dashboard: Dashboard) -> None:
        """Stand before `app`."""
        self._app = app
        self._dashboard = dashboard
        self._headers = dict(_HEADERS)
        if dashboard.config.dashboard.certificate is not None:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with what is wrong."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        refused = self._refuse(connection, scope)
        if refused is None:
            await self._app(scope, receive, self._with_headers(send, connection.url.path))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4000 + refused[0], "reason": refused[1]})
        else:
            answer = JSONResponse({"detail": refused[1]}, refused[0])
            await answer(scope, receive, self._with_headers(send, connection.url.path))

    def _refuse(self, connection: HTTPConnection, scope: Scope) -> tuple[int, str] | None:
        """Return status and reason when the request must not come through."""
        changes = scope["type"] == "http" and scope["method"] not in _SAFE
        return self._refuse_form(connection, scope, changes) or self._refuse_person(connection, scope["path"], changes)

    def _refuse_form(self, connection: HTTPConnection, scope: Scope, changes: bool) -> tuple[int, str] | None:
        """Look at where a request comes from and how large it is."""
        host, origin = connection.headers.get("host"), connection.headers.get("origin")
        if self._dashboard.access.open_to_all and not is_local_host(host):
            return 403, "without users only http://127.0.0.1, localhost and [::1] are served"
        if (changes or scope["type"] == "websocket") and not same_origin(origin, host):
            return 403, "the request comes from a page of another server"
        if changes and not 0 <= _length(connection) <= _LARGEST_BODY:
            return 413, f"a body of at most {_LARGEST_BODY} bytes with its length is accepted"
        return None

    def _refuse_person(self, connection: HTTPConnection, path: str, changes: bool) -> tuple[int, str] | None:
        """Look at who asks, and whether he may and means it."""
        if not path.startswith("/api/"):
            return (405, "nothing can be changed here") if changes else None
        if path in _OPEN and not (changes and path != _LOGIN):
            return None
        who = self._dashboard.who(connection)
        if who is None:
            return 401, "log in first, or send a bearer token"
        return self._refuse_change(connection, path, who) if changes else None

    def _refuse_change(self, connection: HTTPConnection, path: str, who: Identity) -> tuple[int, str] | None:
        if not genuine(who, connection.headers.get(FORGERY_HEADER)):
            return 403, f"send the forgery_token of /api/v1/me as {FORGERY_HEADER}"
        if path != _LOGOUT and not who.may("operator"):
            return 403, f"{who.name} is a viewer and changes nothing"
        return None

    def _with_headers(self, send: Send, path: str) -> Callable[[Message], Awaitable[None]]:
        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = [(name.encode(), value.encode()) for name, value in self._headers.items()]
                given = {name for name, _ in message["headers"]}
                if b"cache-control" not in given:
                    headers.append((b"cache-control", b"no-store" if path.startswith("/api/") else b"no-cache"))
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        return send_with_headers


def _length(connection: HTTPConnection) -> int:
    try:
        return int(connection.headers.get("content-length", "-1"))
    except ValueError:
        return -1
