"""What the dashboard's routes share, and the dependencies through which they get it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from fastapi import HTTPException
from starlette.requests import HTTPConnection, Request

from stream.core.errors import StoreError
from stream.dashboard.access import Authenticator, Identity
from stream.dashboard.live.hub import Hub
from stream.dashboard.login_record import LoginRecord
from stream.dashboard.login_throttle import LoginThrottle
from stream.dashboard.passwords import PasswordCheck
from stream.dashboard.tuning.changes import BundleChanges
from stream.dashboard.tuning.jobs import Jobs
from stream.dashboard.tuning.marked_parts import MarkedPart, MarkedParts, comparable_to, verdicts_on
from stream.line.config import LineConfig
from stream.line.rules import PartVerdict
from stream.line.sections import AccessRole
from stream.model.bundle import Bundle
from stream.store.event_reader import FILE_NAME, EventReader
from stream.store.review_store import AuditEntry, Review

log = logging.getLogger(__name__)

NO_STATION = "no such station"


class Dashboard(NamedTuple):
    """One dashboard."""

    config: LineConfig
    access: Authenticator
    throttle: LoginThrottle
    passwords: PasswordCheck
    logins: LoginRecord
    hub: Hub
    review: Review
    marked: MarkedParts
    changes: BundleChanges
    jobs: Jobs

    def cookie(self, connection: HTTPConnection) -> str:
        """Name of the session's cookie: each line on a host has its own."""
        # Browsers take a cookie of these prefixes over TLS alone; the first also from this host and whole path alone.
        prefix = "" if not is_encrypted(connection) else "__Secure-" if connection.scope.get("root_path") else "__Host-"
        return f"{prefix}patchline-{self.config.line}"

    def browser_cookie(self, connection: HTTPConnection) -> str:
        """Name of the cookie by which a browser is known that has logged in before."""
        return f"{self.cookie(connection)}-browser"

    def store(self) -> EventReader:
        """Open the event store for one request, in a `with` block; raises StoreError."""
        return EventReader.open(self.config.store.path / FILE_NAME)

    def marked_parts(self, station: str) -> list[MarkedPart]:
        """Return the marked parts of a station; raises StoreError."""
        with self.store() as store:
            return self.marked.of(station, store)

    def verdicts_on(self, station: str, parts: list[MarkedPart], *bundles: Bundle) -> list[list[PartVerdict | None]]:
        """Return what bundles of one scale and a station's rules say of its marked parts; raises PatchLineError."""
        folder = self.changes.archive.folder(station)
        scores, comparable = self.marked.scores(parts, bundles[0], folder), comparable_to(bundles[0], folder)
        ruled = station, self.config.stations[station]
        with self.store() as store:
            return [verdicts_on(parts, scores, bundle, comparable, ruled, store) for bundle in bundles]

    def identity_of(self, connection: HTTPConnection) -> Identity | None:
        """Return the sender of a request; None where they are unknown."""
        return self.access.identify(
            connection.cookies.get(self.cookie(connection)), bearer_token(connection), time.monotonic()
        )

    def note(self, user: str, what: str, detail: str) -> None:
        """Add to the audit log; a full disk is logged and fails no request."""
        try:
            self.review.note(AuditEntry(at_s=time.time(), who=user, what=what, detail=detail))
        except StoreError as error:
            log.error("%s", error)  # noqa: TRY400 - one line says it all


def bearer_token(connection: HTTPConnection) -> str | None:
    """Return the bearer token that a program sends; None where it sends none."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else None


def is_encrypted(connection: HTTPConnection) -> bool:
    """Whether the browser sends its request over TLS, to this dashboard or to a proxy before it."""
    return connection.scope["scheme"] in ("https", "wss")


def dashboard_of(connection: HTTPConnection) -> Dashboard:
    """Return the dashboard that the application serves."""
    dashboard: Dashboard = connection.app.state.dashboard
    return dashboard


def dashboard_of_station(request: Request, station: str) -> Dashboard:
    """Return the dashboard that the application serves; 404 where its line has no such station."""
    dashboard = dashboard_of(request)
    if station not in dashboard.config.stations:
        raise HTTPException(404, NO_STATION)
    return dashboard


def require_role(role: AccessRole) -> Callable[[Request], Identity]:
    """Return a dependency that admits only this role or a higher one."""

    def require(request: Request) -> Identity:
        identity = dashboard_of(request).identity_of(request)
        if identity is None:
            raise HTTPException(401, "log in first")
        if not identity.may(role):
            raise HTTPException(403, f"this needs the role {role}; {identity.name} is {identity.role}")
        return identity

    return require
