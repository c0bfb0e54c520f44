"""No message about a configuration holds a password, whatever is wrong and whatever characters it has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.errors import ConfigError
from stream.line.config import parse

PASSWORDS = st.text(min_size=1, max_size=10).map(lambda text: f"hun{text}ter2")
#: Wrong in all sorts of ways; PASSWORD stands for one.
WRONG: list[tuple[str, Any]] = [
    ("cameras.top", {"kind": "rtsp", "url": "rtsp:/u:PASSWORD@h/a"}),
    ("cameras.top", {"kind": "rtsp", "url": "u:PASSWORD@h/a"}),
    ("cameras.top", {"kind": "http://u:PASSWORD@h/a"}),
    ("cameras.top", "rtsp://u:PASSWORD@h/a"),
    (
        "cameras.top",
        {"kind": "folder", "path": "parts", "trigger": {"kind": "mqtt", "host": "u:PASSWORD@h", "topic": "a"}},
    ),
    ("actuators.gate", {"kind": "webhook", "url": "https://u:PASSWORD@h/a"}),
    ("actuators.gate", {"kind": "mqtt", "host": "h", "topic": "a", "password": ["PASSWORD"]}),
    ("actuators.gate", {"kind": "mqtt", "host": "h", "topic": "a", "password": {"value": "PASSWORD"}}),
    ("actuators.gate", {"kind": "mqtt", "host": "mqtt://u:PASSWORD@h", "topic": "a"}),
    ("actuators.gate", {"kind": "mqtt", "host": "u:PASSWORD@h", "topic": "a"}),
    ("actuators.gate", {"kind": "modbus", "host": "u:PASSWORD@h", "coil": 1}),
    ("actuators.gate", {"kind": "opcua", "url": "opc.tcp://u:PASSWORD@h", "node": "i=1"}),
    ("dashboard.users", {"anna": {"password": "PASSWORD"}}),
    ("dashboard.users", {"anna": "PASSWORD"}),
    ("dashboard.tokens", {"mes": {"sha256": "PASSWORD"}}),
    ("dashboard.tokens", {"mes": "PASSWORD"}),
    ("transport.feed", "tcp://u:PASSWORD@h"),
    ("store", {"path": "events", "rtsp://u:PASSWORD@h": 1}),
]


def configuration(option: str, value: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "line": "a",
        "cameras": {"top": {"kind": "folder", "path": "parts"}},
        "stations": {"cap": {"camera": "top", "bundle": "b"}},
    }
    section = data
    *sections, last = option.split(".")
    for name in sections:
        section = section.setdefault(name, {})
    section[last] = value
    return data


@pytest.mark.parametrize(("option", "value"), WRONG, ids=str)
@given(password=PASSWORDS)
def test_an_error_names_the_option_and_no_password(option: str, value: Any, password: str):
    text = json.dumps(configuration(option, value)).replace("PASSWORD", json.dumps(password)[1:-1])
    with pytest.raises(ConfigError) as refused:
        parse(text, name="line.yaml", folder=Path())
    message = str(refused.value)
    assert message.startswith("line.yaml: ")
    assert "hun" not in message
    assert "ter2" not in message


@given(password=st.text(max_size=10), sign=st.sampled_from("*&!|>%@`#'\"{}[],:?- \t\\"))
def test_a_password_without_quotes_that_is_no_yaml_is_not_shown(password: str, sign: str):
    actuator = f"{{kind: mqtt, host: h, topic: t, password: {sign}hun{password}ter2}}"
    text = f"line: a\nactuators: {{gate: {actuator}}}\ncameras: 3\n"
    with pytest.raises(ConfigError) as refused:
        parse(text, name="line.yaml", folder=Path())
    assert "hun" not in str(refused.value)
    assert "ter2" not in str(refused.value)


@pytest.mark.parametrize(
    "value", ['!!int "hunter2"', "2001-99-99", '!!binary "hunter2"', "[" * 2000, "*hunter2", "!hunter2"]
)
def test_a_value_that_yaml_cannot_read_is_an_error_in_one_line(value: str):
    with pytest.raises(ConfigError, match=r"line\.yaml: ") as refused:
        parse(f"line: {value}\n", name="line.yaml", folder=Path())
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_anchor_that_is_used_again_shows_no_value(
    capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
):
    text = """\
line: bottling
cameras:
  top: {kind: rtsp, url: "rtsp://host/1", password: &p hunter2}
  side: {kind: rtsp, url: "rtsp://host/2", password: &p hunter3}
stations: {}
"""
    with pytest.raises(ConfigError) as error:
        parse(text, name="line.yaml", folder=Path("/line"))
    assert not recwarn.list
    assert "hunter" not in str(error.value) + "".join(capsys.readouterr())
