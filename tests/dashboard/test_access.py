from __future__ import annotations

import hashlib
from typing import Any

import pytest
from itsdangerous.encoding import base64_encode, int_to_bytes

from stream.dashboard.access import (
    SESSION_S,
    Authenticator,
    Identity,
    from_another_page,
    from_own_page,
    is_local_host,
)
from stream.line.sections import DashboardOptions

HASH = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaA"
NOW_S = 1_800_000_000.0


def access(secret: bytes = b"secret", ended: tuple[str, ...] = (), **users: dict[str, Any]) -> Authenticator:
    tokens = {"mes": {"sha256": hashlib.sha256(b"token").hexdigest(), "role": "operator"}}
    return Authenticator(DashboardOptions.model_validate({"users": users, "tokens": tokens}), secret, ended)


def anna(role: str = "viewer", password: str = HASH) -> dict[str, Any]:
    return {"role": role, "password": password}


def test_without_users_whoever_is_at_the_host_may_do_everything():
    who = access().identify(None, None, NOW_S)
    assert who is not None
    assert who.may("engineer")


def test_with_users_nobody_comes_in_without_session_or_token():
    door = access(anna=anna())
    assert door.identify(None, None, NOW_S) is None
    assert door.identify("anna|9999999999|x|" + "0" * 64, None, NOW_S) is None
    assert door.identify("|||", None, NOW_S) is None
    assert door.identify("", "wrong", NOW_S) is None


def test_a_session_ends_with_time_logout_and_a_new_password():
    door = access(anna=anna("operator"))
    cookie = door.begin_session("anna", NOW_S)
    who = door.identify(cookie, None, NOW_S + SESSION_S - 1)
    assert who is not None
    assert (who.name, who.role) == ("anna", "operator")
    assert door.identify(cookie, None, NOW_S + SESSION_S) is None
    assert access(anna=anna("operator", HASH + "x")).identify(cookie, None, NOW_S) is None
    assert door.end_session(cookie, NOW_S)
    assert door.identify(cookie, None, NOW_S) is None


def test_a_session_outlives_a_restart_but_not_another_secret():
    cookie = access(anna=anna()).begin_session("anna", NOW_S)
    assert access(anna=anna()).identify(cookie, None, NOW_S) is not None
    assert access(b"another", anna=anna()).identify(cookie, None, NOW_S) is None


def test_a_session_cannot_be_made_another_persons_or_longer():
    door = access(anna=anna(), otto=anna("engineer"))
    cookie = door.begin_session("anna", NOW_S)
    assert door.identify(cookie.replace("anna", "otto"), None, NOW_S) is None
    text, began, signature = cookie.rsplit(".", 2)
    assert base64_encode(int_to_bytes(int(NOW_S))).decode() == began
    later = base64_encode(int_to_bytes(int(NOW_S) + 1)).decode()
    assert door.identify(".".join((text, later, signature)), None, NOW_S + 2) is None
    assert door.identify(cookie, None, NOW_S + 2) is not None


def test_a_session_that_was_ended_stays_so_however_its_signature_is_spelled():
    door = access(anna=anna())
    cookie = door.begin_session("anna", NOW_S)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spellings = [cookie[:-1] + last for last in alphabet]
    assert sum(door.identify(each, None, NOW_S) is not None for each in spellings) > 1, "base64 has some bits to spare"
    assert door.end_session(cookie, NOW_S)
    assert not any(door.identify(each, None, NOW_S) for each in spellings)


def test_a_session_that_was_ended_stays_so_after_a_restart():
    door = access(anna=anna())
    cookie, other = door.begin_session("anna", NOW_S), door.begin_session("anna", NOW_S)
    ended = door.end_session(cookie, NOW_S)
    assert ended is not None
    restarted = access(ended=(ended,), anna=anna())
    assert restarted.identify(cookie, None, NOW_S) is None
    assert restarted.identify(other, None, NOW_S) is not None


def test_only_a_session_can_be_ended():
    door = access(anna=anna())
    assert door.end_session("anna|x.y.z", NOW_S) is None
    assert door.end_session("", NOW_S) is None


def test_a_browser_is_known_by_the_cookie_of_its_last_login_to_its_user_alone():
    door = access(anna=anna(), otto=anna(password=HASH + "x"))
    cookie = door.known_browser("anna", NOW_S)
    assert door.browser_of("anna", cookie, NOW_S) == access(anna=anna()).browser_of("anna", cookie, NOW_S + 1)
    assert door.browser_of("anna", cookie, NOW_S) is not None
    assert door.browser_of("otto", cookie, NOW_S) is None
    assert door.browser_of("anna", cookie + "x", NOW_S) is None
    assert door.browser_of("anna", None, NOW_S) is None
    assert door.browser_of("nobody", cookie, NOW_S) is None
    assert door.browser_of("anna", door.begin_session("anna", NOW_S), NOW_S) is None, "a session is none"
    assert door.identify(cookie, None, NOW_S) is None, "and it is no session"


def test_a_role_is_that_of_the_configuration_not_of_the_moment_of_the_login():
    cookie = access(anna=anna("engineer")).begin_session("anna", NOW_S)
    who = access(anna=anna("viewer")).identify(cookie, None, NOW_S)
    assert who is not None
    assert not who.may("operator")


def test_a_program_with_a_bearer_token_has_the_tokens_role():
    who = access(anna=anna()).identify(None, "token", NOW_S)
    assert who is not None
    assert (who.name, who.role) == ("mes", "operator")


def test_a_wrong_bearer_token_is_nobody_even_where_nobody_logs_in():
    assert access().identify(None, "wrong", NOW_S) is None


@pytest.mark.parametrize(("role", "may"), [("viewer", 1), ("operator", 2), ("engineer", 3)])
def test_a_role_includes_those_below_it(role: Any, may: int):
    who = Identity("anna", role)
    assert [who.may(each) for each in ("viewer", "operator", "engineer")] == [True] * may + [False] * (3 - may)


@pytest.mark.parametrize(
    ("site", "origin", "host", "own", "foreign"),
    [
        (None, None, "127.0.0.1:8080", False, False),
        (None, "http://127.0.0.1:8080", "127.0.0.1:8080", True, False),
        (None, "https://line.factory", "line.factory", True, False),
        (None, "http://evil.example", "127.0.0.1:8080", False, True),
        (None, "http://127.0.0.1:9090", "127.0.0.1:8080", False, True),
        (None, "null", "127.0.0.1:8080", False, True),
        (None, "http://evil.example", None, False, True),
        ("same-origin", None, "line.factory", True, False),
        ("same-origin", "https://line.factory", "line.factory", True, False),
        ("none", None, "line.factory", True, False),
        ("same-site", None, "line.factory", False, True),
        ("cross-site", None, "line.factory", False, True),
        ("", None, "line.factory", False, True),
        ("same-site", "https://line.factory", "line.factory", False, True),
        ("cross-site", "https://line.factory", "line.factory", False, True),
        ("same-origin", "http://evil.example", "line.factory", False, True),
        ("none", "null", "line.factory", False, True),
        (None, "https://line.factory", "line.factory:443", True, False),
        (None, "http://line.factory", "line.factory:80", True, False),
        (None, "https://line.factory", "line.factory:80", False, True),
        (None, "https://line.factory:8443", "line.factory", False, True),
    ],
)
def test_pages_of_other_servers_are_told_from_ours(
    site: str | None, origin: str | None, host: str | None, own: bool, foreign: bool
):
    assert from_own_page(site, origin, host) == own
    assert from_another_page(site, origin, host) == foreign


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *(("127.0.0.1:8080", True), ("localhost:8080", True), ("localhost", True), ("[::1]:8080", True)),
        *(("evil.example:8080", False), ("127.0.0.1.evil.example", False), ("", False), (None, False)),
    ],
)
def test_a_foreign_name_that_points_here_is_not_this_host(host: str | None, local: bool):
    assert is_local_host(host) == local


def test_sessions_end_with_the_boot_whose_clock_dates_them():
    options, secret = DashboardOptions.model_validate({"users": {"anna": anna()}}), b"secret"
    cookie = Authenticator(options, secret, boot="monday").begin_session("anna", 5.0)
    assert Authenticator(options, secret, boot="monday").identify(cookie, None, 6.0) is not None
    assert Authenticator(options, secret, boot="tuesday").identify(cookie, None, 6.0) is None
