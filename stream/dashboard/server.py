"""The web server: routes, guard and static files in one application, on one socket."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from argon2 import PasswordHasher
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from stream import __version__
from stream.core.errors import ConfigError, ConflictError, PatchLineError, ReloadError, TransportError
from stream.dashboard.access import Authenticator, LoginThrottle
from stream.dashboard.guard import Guard
from stream.dashboard.live.hub import Hub
from stream.dashboard.routes import alarms, events, live, sessions, threshold, tuning
from stream.dashboard.services import Dashboard
from stream.dashboard.tuning.changes import BundleChanges
from stream.dashboard.tuning.jobs import Jobs
from stream.dashboard.tuning.marked_parts import MarkedParts
from stream.line.config import LineConfig
from stream.store.review_store import FILE_NAME, Review

log = logging.getLogger(__name__)

_STATIC = Path(__file__).parent / "static"
#: A browser that is slow to leave does not keep the process.
_GOODBYE_S = 1
#: Of what a browser says over the live feed, in bytes: acknowledgements.
_LARGEST_WORD = 4096
_CONNECTIONS = 300
#: Who takes nothing of what was sent to him for so long has gone, also if his computer still answers.
_UNTAKEN_S = 40.0


def serve(config: LineConfig, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; `ready` is called when browsers can connect. Raises PatchLineError."""
    options = config.dashboard
    listening = listen(*options.address)
    review = Review(config.store.path / FILE_NAME)
    hub = Hub(config, review)
    jobs, changes = Jobs(), BundleChanges(config, review)
    found = Dashboard(
        config,
        Authenticator(options, _secret(config.state)),
        LoginThrottle(),
        PasswordHasher(),
        hub,
        review,
        MarkedParts(review),
        changes,
        jobs,
    )
    if not options.local and options.certificate is None:
        log.warning("dashboard.certificate: passwords and pictures travel unencrypted; give certificate and key")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        hub.start()
        threading.Thread(target=changes.resume, args=("dashboard",), name="resume", daemon=True).start()
        ready()
        log.info("dashboard at %s", options.url)
        yield
        jobs.close()
        hub.close()
        review.close()

    try:
        settings = uvicorn.Config(
            application(found, lifespan),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GOODBYE_S,
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            ws_max_size=_LARGEST_WORD,
            limit_concurrency=_CONNECTIONS,
            ssl_certfile=options.certificate,
            ssl_keyfile=options.key,
        )
        settings.load()
    except OSError as error:
        raise ConfigError(f"dashboard.certificate, dashboard.key: {error}") from None
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    uvicorn.Server(settings).run(sockets=[listening])


def application(found: Dashboard, lifespan: Callable[[FastAPI], object] | None = None) -> FastAPI:
    """Return the application."""
    app = FastAPI(
        title="PatchLine",
        version=__version__,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,  # type: ignore[arg-type]
        middleware=[Middleware(Guard, dashboard=found)],
    )
    app.state.dashboard = found
    for routes in (sessions, live, events, alarms, threshold, tuning):
        app.include_router(routes.router, prefix="/api/v1")
    app.add_exception_handler(PatchLineError, _unavailable)
    app.mount("/", StaticFiles(directory=_STATIC, html=True))
    return app


async def _unavailable(_request: Request, error: Exception) -> JSONResponse:
    """Say what is wrong: 409 where something else was done meanwhile or the line refuses, else 503."""
    return JSONResponse({"detail": str(error)}, 409 if isinstance(error, ConflictError | ReloadError) else 503)


def listen(host: str, port: int, untaken_s: float = _UNTAKEN_S) -> socket.socket:
    """Listen for browsers; connections whose data stay untaken for `untaken_s` are cut. Raises TransportError."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Closing waits for what is still to be sent, so the web server alone never gets rid of who does not read.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1e3 * untaken_s))
        listening.bind(address)
        listening.listen(64)
    except OSError as error:
        raise TransportError(
            f"dashboard.listen: cannot listen on {host}:{port}: {error.strerror}; "
            "is another dashboard running? Choose another port or stop it"
        ) from None
    return listening


def _secret(state: Path) -> bytes:
    """Return what sessions are signed with, so that they outlive a restart; made at the first start."""
    path = state / "dashboard.secret"
    try:
        state.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_bytes()
        with os.fdopen(file, "wb") as new:
            new.write(secrets.token_bytes(32))
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; check the rights of its folder") from None
