from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stream.core.redaction import is_secret, shown, without_password

#: Passwords that no part of an address or message looks like.
PASSWORDS = st.text(min_size=1, max_size=12).map(lambda text: f"hun{text}ter2") | st.sampled_from(
    [f"hun{sign}ter2" for sign in ("", "#", "/", "@", " ", '"', "'", "%40", ":", "?", "&", "=")]
)
SCHEMES = st.sampled_from(["rtsp", "rtsps", "http", "https", "mqtt", "mqtts", "opc.tcp", "RTSP"])


def parts(password: str) -> set[str]:
    """What must not be seen: the password, and the pieces into which a reader of addresses may take it apart."""
    return {password, quote(password, safe=""), "hun", "ter2"}


@given(SCHEMES, PASSWORDS, st.booleans(), st.sampled_from(["", "user", "us er", "u@s"]))
def test_no_password_of_an_address_is_shown_whatever_its_characters(
    scheme: str, password: str, encoded: bool, user: str
):
    given_password = quote(password, safe="") if encoded else password
    text = f"{scheme}://{user}:{given_password}@10.0.0.20:554/stream"
    for message in (without_password(text), str(shown(text)), without_password(repr(text))):
        assert not [part for part in parts(password) if part in message]
        assert "10.0.0.20" in message


@given(PASSWORDS)
def test_an_address_that_is_none_shows_no_password_either(password: str):
    assume("@" not in password)
    for text in (
        f"user:{password}@10.0.0.20/a",
        f"rtsp:/user:{password}@10.0.0.20/a",
        f"rtsp://user:{password}",
        f"rtsp://user:{password}%40host/a",
        f"rtsp://user:{password}\N{FULLWIDTH COMMERCIAL AT}host/a",
        f"password:{password}",
        f"password={password}",
        f"rtsp://10.0.0.20/user=admin&password={password}",
        f"rtsp://10.0.0.20/a?token={password}#x",
    ):
        assert not [part for part in parts(password) if part in str(shown(text))], text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("rtsp://10.0.0.20:554/a", "'rtsp://10.0.0.20:554/a'"),
        ("rtsp://[fe80::1]:554/a", "'rtsp://[fe80::1]:554/a'"),
        ("fast", "'fast'"),
        ("", "''"),
        (3, "3"),
        (True, "True"),
        (None, "None"),
        ([1, 2], "[1, 2]"),
        (["hunter2"], None),
        ({"a": "hunter2"}, None),
        ("token hunter2", None),
    ],
)
def test_a_value_is_shown_unless_it_may_hold_a_secret(value: object, text: str | None):
    assert shown(value) == text


@pytest.mark.parametrize("name", ["password", "secret_file", "token", "sha256", "api_key", "Passwort_password"])
def test_an_option_is_secret_by_its_name(name: str):
    assert is_secret(name)
    assert not is_secret("url")
