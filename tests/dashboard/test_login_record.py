from __future__ import annotations

from pathlib import Path

import pytest

from stream.core.errors import ConfigError
from stream.dashboard.login_record import LoginRecord

DAY_S = 86_400.0


def test_ended_sessions_and_known_addresses_outlive_the_process(tmp_path: Path):
    record = LoginRecord(tmp_path / "logins.json")
    record.end("session", 1e9)
    record.add_address("anna", "10.0.0.7")
    again = LoginRecord(tmp_path / "logins.json")
    assert again.ended == ["session"]
    assert again.knows("anna", "10.0.0.7")
    assert not again.knows("otto", "10.0.0.7")
    assert not again.knows("anna", "10.0.0.8")


def test_an_ended_session_is_forgotten_long_after_it_has_expired(tmp_path: Path):
    record = LoginRecord(tmp_path / "logins.json")
    record.end("old", 1e9)
    record.end("new", 1e9 + 29 * DAY_S)
    assert set(record.ended) == {"old", "new"}
    record.end("newest", 1e9 + 31 * DAY_S)
    assert set(record.ended) == {"new", "newest"}


def test_the_latest_addresses_of_a_user_are_remembered(tmp_path: Path):
    record = LoginRecord(tmp_path / "logins.json")
    for host in range(40):
        record.add_address("anna", f"10.0.0.{host}")
    assert record.knows("anna", "10.0.0.39")
    assert not record.knows("anna", "10.0.0.0")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"[]", b'{"ended": 3}', b"\xff"])
def test_a_damaged_record_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "logins.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"logins\.json: cannot be read"):
        LoginRecord(tmp_path / "logins.json")
