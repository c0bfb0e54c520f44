from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from stream.core.errors import CameraError, ConfigError
from stream.core.redaction import without_password
from stream.devices.cameras.rtsp import OLDEST_NS, RtspCameraOptions, exposed_ns
from stream.line.config import parse

S = 1_000_000_000
#: Real time less monotonic time.
OFFSET = 1_700_000_000 * S


@pytest.mark.parametrize(
    ("sent_ns", "exposed"),
    [
        (None, 100 * S),
        (OFFSET + 100 * S - 40_000_000, 100 * S - 40_000_000),
        (OFFSET + 100 * S, 100 * S),
        (OFFSET + 100 * S - OLDEST_NS, 100 * S - OLDEST_NS),
        (OFFSET + 100 * S - OLDEST_NS - 1, 100 * S),
        (OFFSET + 100 * S + 1, 100 * S),
        (12 * S, 100 * S),
        (2 * OFFSET, 100 * S),
    ],
    ids=["none", "plausible", "now", "oldest", "too old", "in the future", "never set", "years ahead"],
)
def test_the_senders_clock_counts_where_it_can_be_right(sent_ns: int | None, exposed: int):
    assert exposed_ns(sent_ns, OFFSET, 100 * S) == exposed


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://user:secret@10.0.0.20/a", "rtsp://10.0.0.20/a"),
        ("rtsp://user:se/cr@et@10.0.0.20:554/a", "rtsp://10.0.0.20:554/a"),
        ("rtsp://10.0.0.20/user=a&password=secret&channel=1", "rtsp://10.0.0.20/user=a&password=…&channel=1"),
        ("rtsp://10.0.0.20/a?pwd=secret", "rtsp://10.0.0.20/a?pwd=…"),
        ("rtsp://10.0.0.20/a", "rtsp://10.0.0.20/a"),
        ("'ftp://u:p@h/' is wrong", "'ftp://h/' is wrong"),
    ],
)
def test_addresses_are_shown_without_passwords(text: str, shown: str):
    assert without_password(text) == shown


@pytest.mark.parametrize("url", ["http://camera/a", "rtsp://", "rtsp:///a", "rtsp://a b", "camera"])
def test_what_is_no_rtsp_address_is_refused(url: str):
    with pytest.raises(ValidationError):
        RtspCameraOptions(kind="rtsp", url=url)


def test_a_wrong_address_in_the_configuration_is_named_without_its_password():
    text = """
        line: a
        cameras: {top: {kind: rtsp, url: "http://user:secret@10.0.0.20/a"}}
        stations: {cap: {camera: top, bundle: b}}
    """
    with pytest.raises(ConfigError, match=r"cameras\.top\.url: .*http://10\.0\.0\.20/a") as refusal:
        parse(text, name="line.yaml", folder=Path())
    assert "secret" not in str(refusal.value)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def refusal(port: int) -> str:
    """What is said of a camera at this port that does not open."""
    options = RtspCameraOptions(kind="rtsp", url=f"rtsp://user:secret@127.0.0.1:{port}/a", open_timeout_ms=200)
    with pytest.raises(CameraError) as error:
        options.open()
    text = str(error.value)
    assert text.startswith(f"rtsp://127.0.0.1:{port}/a: does not open: ")
    assert "secret" not in text
    assert "\n" not in text
    return text


def test_a_camera_that_is_not_there_is_named_with_the_reason(listener: socket.socket):
    port = listener.getsockname()[1]
    listener.close()
    assert "Connection refused" in refusal(port)


def test_a_camera_that_accepts_and_says_nothing_does_not_hang_the_line(listener: socket.socket):
    assert "it answers, but with no stream" in refusal(listener.getsockname()[1])


def test_what_answers_but_is_no_camera_is_told_from_one_that_is_away(listener: socket.socket):
    def answer() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                if connection.recv(1000):
                    connection.sendall(b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\n\r\n")

    answering = threading.Thread(target=answer)
    answering.start()
    assert "check path, user and password of the URL" in refusal(listener.getsockname()[1])
    answering.join(timeout=10)
    assert not answering.is_alive()
