"""Who may do what: roles, sessions, browsers that are known, and requests forged by other pages.

Pure: secrets, parts of requests and the clock's value in, answers out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import NamedTuple

from itsdangerous import BadSignature, TimestampSigner

from stream.line.sections import AccessRole, DashboardOptions

#: Length of a session.
SESSION_S = 12 * 3600
#: Time for which a browser counts as known after a login, in seconds.
KNOWN_S = 90 * 86_400
#: Values of Sec-Fetch-Site that no page of another server can cause; `same-site` is another port or subdomain.
_OWN_SITES = ("same-origin", "none")
_RANKS: dict[AccessRole, int] = {"viewer": 0, "operator": 1, "engineer": 2}


class Identity(NamedTuple):
    """A user or program that is let in.

    Attributes:
        name: as in the configuration; `local` where no login is needed.
        role: what they may do.
    """

    name: str
    role: AccessRole

    def may(self, role: AccessRole) -> bool:
        """Whether their role is this one or above it."""
        return _RANKS[self.role] >= _RANKS[role]


class Authenticator:
    """The users, tokens and sessions of one dashboard."""

    def __init__(self, options: DashboardOptions, secret: bytes, ended: Iterable[str] = (), *, boot: str = "") -> None:
        """Sign sessions with `secret`, which stays on this host; those `ended` are what `end_session` has returned.

        The times of sessions are those of the monotonic clock, so that a step of real time neither ends nor prolongs
        them; `boot` names the host's boot to which that clock belongs, and with which sessions end.
        """
        self._boot = boot
        self._options = options
        self._secret = secret
        self._ended = set(ended)

    @property
    def open_to_all(self) -> bool:
        """Whether no login is needed."""
        return not self._options.users

    def password_hash(self, name: str) -> str | None:
        """Return the argon2 hash of a user's password, or None for an unknown name."""
        user = self._options.users.get(name)
        return user.password if user else None

    def begin_session(self, name: str, now_s: float) -> str:
        """Return the session cookie of a user who has just given the right password."""
        text = f"{name}|{secrets.token_urlsafe(16)}"
        return self._signer(self._options.users[name].password, now_s).sign(text).decode()

    def end_session(self, cookie: str, now_s: float) -> str | None:
        """Accept this cookie no longer; returns the id by which the session stays ended, None where it was none."""
        if self._session_user(cookie, now_s) is None:
            return None
        ended = _session_id(cookie)
        self._ended.add(ended)
        return ended

    def known_browser(self, name: str, now_s: float) -> str:
        """Return the cookie by which a browser of this user is known at its next login."""
        return self._browser_signer(self._options.users[name].password, now_s).sign(secrets.token_hex(16)).decode()

    def browser_of(self, name: str, cookie: str | None, now_s: float) -> str | None:
        """Return the id of a browser in which this user has logged in before; None: its cookie does not show that."""
        user = self._options.users.get(name)
        if user is None or cookie is None:
            return None
        try:
            return self._browser_signer(user.password, now_s).unsign(cookie, max_age=KNOWN_S).decode()
        except BadSignature:
            return None

    def identify(self, cookie: str | None, bearer: str | None, now_s: float) -> Identity | None:
        """Return the sender of a request with this cookie and this bearer token; None where they are unknown."""
        if bearer is not None:
            return self._program(bearer)
        if self.open_to_all:
            return Identity("local", "engineer")
        return self._session_user(cookie, now_s) if cookie else None

    def _program(self, bearer: str) -> Identity | None:
        digest = hashlib.sha256(bearer.encode()).hexdigest()
        for name, token in self._options.tokens.items():
            if hmac.compare_digest(token.sha256, digest):
                return Identity(name, token.role)
        return None

    def _session_user(self, cookie: str, now_s: float) -> Identity | None:
        name = cookie.partition("|")[0]
        user = self._options.users.get(name)
        if user is None:
            return None
        try:
            # An age of SESSION_S seconds is too old, while `max_age` is the oldest that is accepted.
            self._signer(user.password, now_s).unsign(cookie, max_age=SESSION_S - 1)
        except BadSignature:
            return None
        return None if _session_id(cookie) in self._ended else Identity(name, user.role)

    def _signer(self, password: str, now_s: float) -> TimestampSigner:
        """Return the signer of a user's sessions; a changed password ends the sessions that began with the old one."""
        return _SignerAt(now_s, self._secret, f"session|{password}|{self._boot}")

    def _browser_signer(self, password: str, now_s: float) -> TimestampSigner:
        return _SignerAt(now_s, self._secret, f"browser|{password}")


def _session_id(cookie: str) -> str:
    # Of the text alone: a signature in base64 has several spellings.
    return hashlib.sha256(cookie.rsplit(".", 2)[0].encode()).hexdigest()


class _SignerAt(TimestampSigner):
    """Signs and checks at a given time."""

    def __init__(self, now_s: float, secret: bytes, salt: str) -> None:
        super().__init__(secret, salt, key_derivation="hmac", digest_method=hashlib.sha256)
        self._now_s = int(now_s)

    def get_timestamp(self) -> int:
        return self._now_s


def from_another_page(fetch_site: str | None, origin: str | None, host: str | None) -> bool:
    """Whether a browser says that a request comes from a page of another server, or of another port of this one.

    Args:
        fetch_site: header Sec-Fetch-Site; browsers send it over TLS and to the local host.
        origin: header Origin; browsers send it with every change and every WebSocket.
        host: header Host.
    """
    foreign_site = fetch_site is not None and fetch_site not in _OWN_SITES
    return foreign_site or (origin is not None and _authority(origin) != _with_default_port(origin, host))


def _authority(origin: str) -> str:
    return _with_default_port(origin, origin.partition("://")[2]) or ""


def _with_default_port(origin: str, host: str | None) -> str | None:
    """Return a host without the port that the origin's scheme implies: some proxies add it, no browser does."""
    return host and host.removesuffix({"http": ":80", "https": ":443"}.get(origin.partition("://")[0], " "))


def from_own_page(fetch_site: str | None, origin: str | None, host: str | None) -> bool:
    """Whether a browser says that a request comes from a page of this server, or was typed in by its user."""
    named = fetch_site is not None or origin is not None
    return named and not from_another_page(fetch_site, origin, host)


def is_local_host(host: str | None) -> bool:
    """Whether a Host header names this host itself, so that no foreign name was made to point here."""
    name = (host or "").rpartition(":")[0] if ":" in (host or "").rpartition("]")[2] else host
    return name in ("127.0.0.1", "localhost", "[::1]")
