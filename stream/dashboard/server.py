"""The web server: routes, guard and static files in one application, on one socket."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from stream import __version__
from stream.core.clock import boot_id
from stream.core.errors import ConfigError, ConflictError, PatchLineError, ReloadError, TransportError
from stream.dashboard.access import Authenticator
from stream.dashboard.connection import MOST_CONNECTIONS, Connection, Server
from stream.dashboard.guard import Guard
from stream.dashboard.live.hub import Hub
from stream.dashboard.login_record import FILE_NAME as LOGINS
from stream.dashboard.login_record import LoginRecord
from stream.dashboard.login_throttle import LoginThrottle
from stream.dashboard.passwords import PasswordCheck
from stream.dashboard.routes import alarms, events, live, sessions, strangest, threshold, tuning, verdict_changes
from stream.dashboard.services import Dashboard
from stream.dashboard.tuning.changes import BundleChanges
from stream.dashboard.tuning.jobs import Jobs
from stream.dashboard.tuning.marked_parts import MarkedParts
from stream.line.config import LineConfig
from stream.store.review_store import FILE_NAME, Review

log = logging.getLogger(__name__)

#: Name of the file with the key that signs sessions, below the line's state.
_KEY_FILE = "dashboard.secret"
_KEY_BYTES = 32
_STATIC = Path(__file__).parent / "static"
#: Grace period for open connections when the process ends, in seconds.
_GOODBYE_S = 1
#: Largest message of a browser on the live feed, in bytes: an acknowledgement.
_LARGEST_MESSAGE = 4096
#: Problems of one request that are listed.
_PROBLEMS = 20
#: Connections beyond which new requests are answered with 503: so many are open and none of them waits for a request.
_CONNECTIONS = MOST_CONNECTIONS + 100
#: Time after which a client that reads nothing is disconnected, in seconds, even if its TCP stack still acknowledges.
_UNREAD_S = 40.0


def serve(config: LineConfig, ready: Callable[[], None], stop: threading.Event) -> None:
    """Serve until `stop` is set; `ready` is called when browsers can connect. Raises PatchLineError."""
    options = config.dashboard
    listening = listen(*options.address)
    review = Review(config.store.path / FILE_NAME)
    hub = Hub(config, review)
    jobs, changes = Jobs(), BundleChanges(config, review)
    logins = _logins(config.state)
    dashboard = Dashboard(
        config,
        Authenticator(options, _secret(config.state), logins.ended, boot=boot_id()),
        LoginThrottle(),
        PasswordCheck(PasswordHasher()),
        logins,
        hub,
        review,
        MarkedParts(review),
        changes,
        jobs,
    )
    if not options.local and options.certificate is None:
        log.warning("dashboard.certificate: passwords and images travel unencrypted; give certificate and key")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        hub.start()
        threading.Thread(target=changes.resume, args=("dashboard",), name="resume", daemon=True).start()
        ready()
        log.info("dashboard at %s", options.url)
        yield
        jobs.close()
        dashboard.passwords.close()
        hub.close()
        review.close()

    try:
        settings = uvicorn.Config(
            application(dashboard, lifespan),
            loop="stream.dashboard.connection:event_loop",
            http=Connection,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GOODBYE_S,
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            ws_max_size=_LARGEST_MESSAGE,
            limit_concurrency=_CONNECTIONS,
            ssl_certfile=options.certificate,
            ssl_keyfile=options.key,
        )
        settings.load()
    except OSError as error:
        raise ConfigError(f"dashboard.certificate, dashboard.key: {error}") from None
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    Server(settings, stop).run(sockets=[listening])


def application(dashboard: Dashboard, lifespan: Callable[[FastAPI], object] | None = None) -> FastAPI:
    """Return the application."""
    app = FastAPI(
        title="PatchLine",
        version=__version__,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,  # type: ignore[arg-type]
        middleware=[Middleware(Guard, dashboard=dashboard)],
    )
    app.state.dashboard = dashboard
    for routes in (sessions, live, events, alarms, threshold, strangest, verdict_changes, tuning):
        app.include_router(routes.router, prefix="/api/v1")
    app.add_exception_handler(PatchLineError, _unavailable)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.mount("/", StaticFiles(directory=_STATIC, html=True))
    return app


async def _unavailable(_request: Request, error: Exception) -> JSONResponse:
    """Answer with the error: 409 for a conflict or a refusal by the line, else 503."""
    detail = str(error).encode(errors="replace").decode()  # names of files are any bytes
    return JSONResponse({"detail": detail}, 409 if isinstance(error, ConflictError | ReloadError) else 503)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    """Answer with what is wrong where, without the values of the request: not all of them can be sent back."""
    assert isinstance(error, RequestValidationError)
    problems = [{"loc": _place(problem["loc"]), "msg": str(problem["msg"])} for problem in error.errors()]
    return JSONResponse({"detail": problems[:_PROBLEMS]}, 422)


def _place(steps: Sequence[object]) -> list[str | int]:
    """Return the part of a location that is ours: after an index the request has its say."""
    return [step if isinstance(step, int) else ascii(step)[1:-1][:64] for step in steps]


def listen(host: str, port: int, unread_s: float = _UNREAD_S) -> socket.socket:
    """Listen for browsers; a connection whose data stays unread for `unread_s` is cut. Raises TransportError."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Closing waits until all data is sent, so the web server alone never gets rid of a client that does not read.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1e3 * unread_s))
        listening.bind(address)
        listening.listen(64)
    except OSError as error:
        raise TransportError(
            f"dashboard.listen: cannot listen on {host}:{port}: {error.strerror}; "
            "is another dashboard running? Choose another port or stop it"
        ) from None
    return listening


def _secret(state: Path) -> bytes:
    """Return the key that signs sessions, so that they outlive a restart; made at the first start, or if damaged."""
    path = state / _KEY_FILE
    try:
        state.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = path.read_bytes()
            if len(key) == _KEY_BYTES:
                return key
            log.warning("%s has %d bytes instead of %d: all users log in again", path, len(key), _KEY_BYTES)
            path.unlink()
            return _secret(state)
        with os.fdopen(file, "wb") as new:
            new.write(secrets.token_bytes(_KEY_BYTES))
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; check the rights of its folder") from None


def _logins(state: Path) -> LoginRecord:
    """Return the record of logins; where it is damaged, all users log in again, since it knew who has logged out."""
    path = state / LOGINS
    try:
        return LoginRecord(path)
    except ConfigError as error:
        log.error("%s; a new one is begun, all users must log in again", error)  # noqa: TRY400 - one line says it all
    try:
        (state / _KEY_FILE).unlink(missing_ok=True)
        path.unlink()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; check the rights of its folder") from None
    return LoginRecord(path)
