"""The checks that every request passes before a route: closed unless opened, also for routes that are added later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream.dashboard.access import from_another_page, from_own_page, is_local_host
from stream.dashboard.proxies import origin_of, route_of
from stream.dashboard.request_body import BodyRefused, discard, has_body, read_body, refuse_framing
from stream.dashboard.services import Dashboard, bearer_token

_SAFE = {"GET", "HEAD"}
#: Open without a login.
_OPEN = {"/api/v1/me", "/api/v1/login", "/api/v1/openapi.json"}
_LOGIN = "/api/v1/login"
_LOGOUT = "/api/v1/logout"
#: Longest reason with which a WebSocket is closed, in bytes (RFC 6455, section 5.5).
_LONGEST_REASON = 123

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
    """Refuses forbidden requests, and adds security headers to every response."""

    def __init__(self, app: ASGIApp, dashboard: Dashboard) -> None:
        """Guard `app`."""
        self._app = app
        self._dashboard = dashboard
        self._headers = dict(_HEADERS)
        if dashboard.config.dashboard.certificate is not None:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with the reason."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._read_origin(scope)
        # The routes' own path: what a guard checks and what a router takes must be the same.
        path = route_of(scope["path"], scope["root_path"])
        send = self._with_headers(send, path or "/")
        if refusal is None and path is None and scope["type"] == "http":
            await RedirectResponse(f"{scope['root_path']}/", 308)(scope, receive, send)
            return
        refusal = refusal or refuse_framing(scope["headers"])
        unread = scope["type"] == "http" and has_body(scope["headers"])
        if refusal is None:
            refusal = self._refuse(HTTPConnection(scope), scope, path or "/")
            if unread:
                # Also of a request that is refused: a connection that is closed on a body loses the answer.
                try:
                    receive = await read_body(receive)
                    unread = False
                except BodyRefused as error:
                    refusal = error.status, error.reason
        if refusal is None:
            scope["path"] = scope["root_path"] + (path or "/")
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            reason = refusal[1].encode()[:_LONGEST_REASON].decode(errors="ignore")
            await send({"type": "websocket.close", "code": 4000 + refusal[0], "reason": reason})
        else:
            if unread:
                await discard(receive)
            await _refused(*refusal, close=unread)(scope, receive, send)

    def _read_origin(self, scope: Scope) -> tuple[int, str] | None:
        """Put the client's address, scheme and sub-path into the scope; returns a refusal, None: all is well."""
        options = self._dashboard.config.dashboard
        peer = scope["client"][0] if scope.get("client") else ""
        websocket = scope["type"] == "websocket"
        scheme = "https" if scope["scheme"] in ("https", "wss") else "http"
        origin = origin_of(peer, scheme, scope["headers"], options.proxies, options.root_path)
        if origin is None:
            scope["root_path"] = ""
            return 400, "the proxy's X-Forwarded-Prefix must be a path like /line1, and none of the page's own"
        if origin.address != peer:
            scope["client"] = origin.address, 0
        secure, plain = ("wss", "ws") if websocket else ("https", "http")
        scope["scheme"] = secure if origin.scheme == "https" else plain
        scope["root_path"] = origin.root_path
        return None

    def _refuse(self, connection: HTTPConnection, scope: Scope, path: str) -> tuple[int, str] | None:
        """Return the status and the reason of a refusal; None: the request may pass."""
        changes = scope["type"] == "http" and scope["method"] not in _SAFE
        return self._refuse_origin(connection, changes or scope["type"] == "websocket") or self._refuse_identity(
            connection, path, changes
        )

    def _refuse_origin(self, connection: HTTPConnection, guarded: bool) -> tuple[int, str] | None:
        """Check the host, and that a change or WebSocket is not the work of a page of another server.

        Browsers add a cookie, and the authority of being on this host, to any page's requests, but never a bearer
        token.
        """
        host = connection.headers.get("host")
        if self._dashboard.access.open_to_all and not is_local_host(host):
            return 403, "without users only http://127.0.0.1, localhost and [::1] are served"
        sender = connection.headers.get("sec-fetch-site"), connection.headers.get("origin"), host
        if guarded and from_another_page(*sender):
            return 403, (
                "the request comes from a page of another server; behind a proxy, that must pass the header Host with "
                "its port, as the browser sent it (nginx: proxy_set_header Host $http_host)"
            )
        if guarded and bearer_token(connection) is None and not from_own_page(*sender):
            return 403, "send a bearer token, or the header Origin with the address of this dashboard"
        return None

    def _refuse_identity(self, connection: HTTPConnection, path: str, changes: bool) -> tuple[int, str] | None:
        """Authenticate, and check that a viewer changes nothing."""
        if not path.startswith("/api/"):
            return (405, "nothing can be changed here") if changes else None
        if path in _OPEN and not (changes and path != _LOGIN):
            return None
        identity = self._dashboard.identity_of(connection)
        if identity is None:
            return 401, "log in first, or send a bearer token"
        if changes and path != _LOGOUT and not identity.may("operator"):
            return 403, f"{identity.name} is a viewer and changes nothing"
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


def _refused(status: int, reason: str, *, close: bool) -> Response:
    # No connection is kept for what is left of a body.
    return JSONResponse({"detail": reason}, status, headers={"connection": "close"} if close else None)
