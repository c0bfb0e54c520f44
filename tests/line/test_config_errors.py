"""All mistakes of a configuration at once, each with file, line, field and what to write instead."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import pytest

from stream.core.errors import ConfigError
from stream.line.config import load, parse

LINE = """\
line: bottling
cameras:
  top: {kind: folder, path: parts}
stations:
  cap:
    camera: top
    bundle: cap.safetensors
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        parse(text, name="line.yaml", folder=Path("/line"))
    lines = str(error.value).splitlines()
    # `file: … (line 7)` as `file:7: …`, which is shorter here
    return [re.sub(r"^line\.yaml: (.*) \(line (\d+)\)$", r"line.yaml:\2: \1", line) for line in lines]


def test_all_mistakes_are_named_in_the_order_of_the_file():
    assert mistakes(
        """\
line: bottling 3
cameras:
  top: {kind: foldre, path: parts}
  side:
    kind: rtsp
stations:
  cap:
    camra: top
    bundle: cap.safetensors
    deadline_ms: 12 ms
    watch: maybe
store:
  keep_days: -1
"""
    ) == [
        "line.yaml:1: line: expected a name of 1 to 64 letters, digits, _ . or -, not beginning with a dot, "
        "got 'bottling 3'",
        "line.yaml:3: cameras.top.kind: unknown kind 'foldre'; kinds: folder, video, conveyor, rtsp, v4l2, genicam; "
        "did you mean 'folder'?",
        "line.yaml:4: cameras.side.url: is required: rtsp://…; messages show it without user and password",
        "line.yaml:7: stations.cap.camera: is required: one of `cameras`",
        "line.yaml:8: stations.cap: unknown key 'camra'; did you mean 'camera'?",
        "line.yaml:10: stations.cap.deadline_ms: expected a number of ms, got '12 ms'; the unit is in the option's "
        "name: give 12",
        "line.yaml:11: stations.cap.watch: expected true or false, got 'maybe'",
        "line.yaml:13: store.keep_days: expected more than 0 days, got -1",
    ]


@pytest.mark.parametrize(
    ("option", "given", "instead"),
    [
        ("deadline_ms", "0.2 s", "give 200"),
        ("deadline_ms", "1,5", "1.5"),
        ("deadline_ms", "300ms", "give 300"),
    ],
)
def test_a_value_with_a_unit_is_answered_with_the_number_to_give(option: str, given: str, instead: str):
    (line,) = mistakes(LINE + f"    {option}: {given}\n")
    assert line.startswith(f"line.yaml:8: stations.cap.{option}: expected a number of ms, got '{given}'; ")
    assert line.endswith(instead)


def test_references_to_what_is_not_there_are_named_together():
    text = (
        LINE + "    reject: {actuator: gaet, transport_delay_ms: 600}\n" + "actuators: {gate: {kind: log, path: g}}\n"
    )
    assert mistakes(text.replace("camera: top", "camera: tpo")) == [
        "line.yaml:6: stations.cap.camera: no camera 'tpo'; known: top; did you mean 'top'?",
        "line.yaml:8: stations.cap.reject.actuator: no actuator 'gaet'; known: gate; did you mean 'gate'?",
    ]


def test_a_key_in_the_wrong_section_is_sent_to_the_right_one():
    assert mistakes(LINE + "deadline_ms: 300\n") == [
        "line.yaml:8: unknown key 'deadline_ms'; it belongs below stations.NAME"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LINE.replace("bottling", "2024-01-01"), "line.yaml:1: line: expected text, got the date 2024-01-01; put it"),
        (LINE.replace("top:", "2024-01-01:"), "line.yaml:2: cameras: expected a name of 1 to 64 letters"),
        (
            LINE.replace("bottling", "2024-13-45"),
            "line.yaml: not YAML: line 1: a date or time that does not exist",
        ),
        (LINE + "    backlog: 1" + "0" * 5_000, "line.yaml: not YAML: line 8: a whole number that is too long or none"),
        (LINE + "    backlog: 1" + "0" * 500, "got a number of more than 20 digits"),
        (LINE + "    deadline_ms: 1.0e+400", "line.yaml:8: stations.cap.deadline_ms: expected a number of ms, got inf"),
        (LINE + "    deadline_ms: 1.0e+300", "expected at most 86,400,000 ms, got 1e+300"),
        (LINE + "alarms: {defect: {of: 1.0e+25}}", "alarms.defect.of: expected a "),
        ("[" * 3_000 + "]" * 3_000, "line.yaml: nested too deeply; is it the right file?"),
        ("{a: " * 3_000 + "}" * 3_000, "line.yaml: nested too deeply; is it the right file?"),
        ("line: &a [*a]\ncameras: *a\n", "line.yaml:1: line: expected text, got a list of 1 entries"),
        (
            LINE.replace("cap.safetensors", '"a\\0b"'),
            "line.yaml:7: stations.cap.bundle: expected a path without control",
        ),
        (LINE + "    roi: [1, 2, 3]", "line.yaml:8: stations.cap.roi: expected more than 3 entries"),
        (LINE + "    roi: 12", "line.yaml:8: stations.cap.roi: expected a list such as [0, 0, 640, 480], got 12"),
    ],
    ids=range(14),
)
def test_what_yaml_makes_of_a_slip_is_one_line_and_no_traceback(text: str, expected: str):
    assert expected in "\n".join(mistakes(text))


def test_a_value_that_may_be_of_several_types_has_one_message():
    text = LINE.replace("{kind: folder, path: parts}", "{kind: folder, path: parts, record: {path: r, keep: some}}")
    (line,) = mistakes(text)
    assert line.startswith("line.yaml:3: cameras.top.record.keep: expected ")
    assert "a whole number" in line
    assert "'all'" in line


def test_a_password_is_not_shown():
    users = "dashboard: {users: {anna: {password: hunter2}}}\n"
    (line,) = mistakes(LINE + users)
    assert "hunter2" not in line
    assert "the hash that `patchline password` prints" in line


@pytest.mark.parametrize(
    "section",
    [
        "metrics: {listen: '10..0.0.5:9464'}",
        "dashboard: {listen: 'a..b:8080'}",
        f"dashboard: {{listen: '{'x' * 64}.example:8080'}}",
        "actuators: {gate: {kind: modbus, host: 10..0.0.5}}",
        f"actuators: {{gate: {{kind: webhook, url: 'http://{'x' * 64}/hook'}}}}",
        "transport: {results: 'tcp://10..0.0.5:7000'}",
    ],
)
def test_a_host_that_cannot_be_looked_up_is_a_mistake_of_its_option(section: str):
    assert any(
        "expected a host of names with 1 to 63 letters" in mistake for mistake in mistakes(LINE + section + "\n")
    )


@pytest.mark.parametrize("path", ["x" * 300, "/".join(["folder"] * 800)], ids=["a long name", "a long path"])
def test_a_path_that_no_file_can_have_is_a_mistake_of_its_option(path: str):
    (mistake,) = mistakes(LINE.replace("path: parts", f"path: {path}"))
    assert "expected a path of at most 3,800 bytes" in mistake


def test_an_empty_section_is_nothing_and_no_secret():
    assert all("got nothing" in mistake for mistake in mistakes("line: bottling\ncameras:\nstations:\n"))


def test_a_tab_is_named():
    assert mistakes("line: bottling\ncameras:\n\ttop: {kind: folder}\n") == [
        "line.yaml: not YAML: line 3: a tab, where YAML takes spaces only"
    ]


#: Three thousand mistakes, each of its kind.
MANY = range(3_000)
FLOODS = {
    "unknown keys": LINE + "".join(f"key_{number}: {number}\n" for number in MANY),
    "unknown keys of one camera": LINE.replace(
        "parts}", f"parts, {', '.join(f'key_{number}: 1' for number in MANY)}}}"
    ),
    "keys that are no names": LINE + "actuators:\n" + "".join(f"  'a {number}': {{}}\n" for number in MANY),
    "unknown cameras": LINE + "".join(f"  s{number}: {{camera: c{number}, bundle: b}}\n" for number in MANY),
    "entries of a list": LINE + "workers:\n" + "".join("  - {devise: cpu}\n" for _ in MANY),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_of_thousands_of_mistakes_the_first_are_named_and_the_others_counted(flood: str):
    *named, rest = mistakes(FLOODS[flood])
    assert len(named) == 20
    lines = [int(mistake.split(":")[1]) for mistake in named]
    assert lines == sorted(lines)
    assert re.fullmatch(r"… and \d,\d{3} more", rest)
    assert max(map(len, named)) < 400


def test_of_thousands_of_mistakes_only_those_shown_are_looked_into(monkeypatch: pytest.MonkeyPatch):
    looked_up: list[str] = []
    similar = difflib.get_close_matches

    def counted(word: str, *arguments: Any, **options: Any) -> list[str]:
        looked_up.append(word)
        return similar(word, *arguments, **options)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    for flood in ("unknown keys", "unknown cameras"):
        looked_up.clear()
        mistakes(FLOODS[flood])
        assert len(looked_up) == 20


def test_a_message_lists_some_of_many_names():
    cameras = "".join(f"  c{number}: {{kind: folder, path: parts}}\n" for number in range(100))
    stations = "".join(f"  s{number}: {{camera: c{number}, bundle: b}}\n" for number in range(100))
    text = LINE.replace("stations:\n", cameras + "stations:\n" + stations).replace("camera: top", "camera: tpo")
    (mistake, *_) = mistakes(text)
    assert "no camera 'tpo'; known: c0, c1, c10, c11, c12" in mistake
    assert " … and 81 more; did you mean 'top'?" in mistake
    assert len(mistake) < 300


@pytest.mark.parametrize("key", ['"\\e[2J\\e[31mred"', '"two\\nline.yaml: forged (line 1)"', '"\\u202Eright to left"'])
@pytest.mark.parametrize("indent", ["", "  "])
def test_a_key_cannot_drive_the_terminal_or_forge_a_line(key: str, indent: str):
    head = "cameras:\n" if indent else ""
    for text in (f"{head}{indent}{key}: 1\n", f"{head}{indent}{key}: 1\n{indent}{key}: 2\n"):
        with pytest.raises(ConfigError) as error:
            parse(text, name="line.yaml", folder=Path("/line"))
        assert all(line.isprintable() for line in str(error.value).split("\n"))
        assert not any(line.startswith("line.yaml: forged") for line in str(error.value).split("\n"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (LINE.replace("bottling", "abfüllung").encode("latin-1"), "line 1: byte 0xfc is not UTF-8; save the file as"),
        (LINE.replace("cap:", "prüfung:").encode("latin-1"), "line 5: byte 0xfc is not UTF-8; save the file as UTF-8"),
        (LINE.encode("utf-16"), "line 1: UTF-16 text; save the file as UTF-8"),
        (LINE.encode("utf-16-be"), "not YAML: line 1: the control character U+0000; save the file as UTF-8"),
        (LINE.replace("parts", "pa\0rts").encode(), "not YAML: line 3: the control character U+0000; save the file"),
        (LINE.replace("parts", "pa\x1brts").encode(), "not YAML: line 3: the control character U+001B; save the file"),
        (LINE.encode() + b"\n" * 600_000, "longer than the 524,288 bytes that are read; is it the right file?"),
        (LINE.replace("bottling", "!!float x").encode(), "not YAML: line 1: a value cannot be read; put texts in"),
        (LINE.replace("parts", "2024-02-30").encode(), "not YAML: line 3: a date or time that does not exist; put"),
    ],
    ids=range(9),
)
def test_a_file_that_is_no_text_is_refused_in_one_line_with_its_place(tmp_path: Path, content: bytes, expected: str):
    path = tmp_path / "line.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: {expected}")
    assert "\n" not in str(error.value)


def test_a_mark_of_utf_8_at_the_start_is_no_mistake(tmp_path: Path):
    (tmp_path / "line.yaml").write_bytes(b"\xef\xbb\xbf" + LINE.encode())
    assert load(tmp_path / "line.yaml").line == "bottling"


def test_a_field_that_is_merged_in_has_the_line_where_it_is_written():
    text = LINE.replace("{kind: folder, path: parts}", "&top {kind: folder, path: parts, rate_hz: fast}")
    text = text.replace("stations:", "  side:\n    <<: *top\nstations:")
    lines = [mistake.split(":")[1] for mistake in mistakes(text) if "rate_hz" in mistake]
    assert lines == ["3", "3"]


HOST = "expected a host of names with 1 to 63 letters between its dots, or an IP address"
PORT = "expected a port from 1 to 65535 behind the host's colon"


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("10..0.0.5", HOST),
        ("10. 0.0.5", HOST),
        ("256.1.1.1", HOST),
        ("", "expected a host behind "),
        (":554", HOST),
        ("10.0.0.5:99999", PORT),
        ("10.0.0.5:0", PORT),
        ("10.0.0.5:port", PORT),
        ("10.0.0.5:554:554", PORT),
        ("[fe80::1", "expected an IPv6 address in the brackets"),
        ("[fe80::1]:x", PORT),
    ],
)
@pytest.mark.parametrize("login", ["", "operator:hunter2@"])
@pytest.mark.parametrize("device", ["camera", "webhook"])
def test_a_wrong_host_or_port_is_named_as_such(device: str, login: str, place: str, expected: str):
    if device == "camera":
        text = LINE.replace("{kind: folder, path: parts}", f'{{kind: rtsp, url: "rtsp://{login}{place}/stream"}}')
    else:
        text = f'{LINE}actuators: {{gate: {{kind: webhook, url: "http://{login}{place}/hook"}}}}\n'
    found = [mistake for mistake in mistakes(text) if ".url: " in mistake]
    assert len(found) == 1
    assert f".url: {expected}" in found[0]
    assert not any(secret in found[0] for secret in ("hunter2", "operator", "%40"))


@pytest.mark.parametrize("sign", "/?#")
def test_a_password_that_hides_the_host_is_named_as_such(sign: str):
    url = f"rtsp://operator:hun{sign}ter2@10.0.0.5/stream"
    (mistake,) = mistakes(LINE.replace("{kind: folder, path: parts}", f'{{kind: rtsp, url: "{url}"}}'))
    assert "host and port cannot be told from user and password: in user and password write @ : / ? #" in mistake
    assert not any(secret in mistake for secret in ("hun", "ter2", "operator"))


@pytest.mark.parametrize(
    "place", ["10.0.0.5", "camera_1.local:554", "[fe80::1]:554", "u:p%40x@10.0.0.5", "u:p@x@h", "u:a:b@h", "h/a@b"]
)
def test_an_address_that_can_be_reached_is_no_mistake(place: str):
    text = LINE.replace("{kind: folder, path: parts}", f'{{kind: rtsp, url: "rtsp://{place}/stream"}}')
    assert parse(text, name="line.yaml", folder=Path("/line")).line == "bottling"
