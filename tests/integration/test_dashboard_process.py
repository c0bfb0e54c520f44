"""The dashboard's process beside the line: it may die, lack its port, or run alone, and nothing else notices."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
from support.dashboards import USERS, client_of, log_in, watched_line
from support.programs import needs_program
from support.running import Line

from stream.core.errors import EXIT_USAGE

MakeLine = Callable[..., Line]


def test_on_this_host_nobody_logs_in_but_foreign_names_and_pages_are_refused(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    line = make_line(watched_line(parts_folder, small_bundle))
    line.start()
    with closing(client_of(line)) as client:
        origin = client.headers.pop("origin")
        me = client.get("/api/v1/me").json()
        assert (me["name"], me["role"], me["login"]) == ("local", "engineer", False)
        assert client.get("/api/v1/line", headers={"host": "evil.example"}).status_code == 403
        active = line.wait_for(lambda: client.get("/api/v1/alarms/active").json(), "alarm")[0]
        foreign = {"host": "evil.example", "origin": "http://evil.example"}  # a name that was made to point here
        for headers in ({}, {"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, foreign):
            assert client.post("/api/v1/alarms/acknowledge", json=active, headers=headers).status_code == 403, headers
        own = {"origin": origin}
        assert client.post("/api/v1/alarms/acknowledge", json=active, headers=own).status_code == 200


def test_a_dashboard_that_dies_again_and_again_stops_nothing(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    configuration = watched_line(parts_folder, small_bundle) | {"restarts": {"limit": 0}}
    line = make_line(configuration)
    process = line.start()
    for _ in range(2):
        line.wait_for(lambda: line.metric("supervisor", "patchline_role_up", role="dashboard") == 1, "dashboard")
        os.kill(line.child("dashboard"), signal.SIGKILL)
        line.wait_for(lambda: line.metric("supervisor", "patchline_role_up", role="dashboard") == 0, "its end")
    before = line.announced("cap")
    line.wait_for(lambda: line.announced("cap") > before + 10, "more parts")
    process.send_signal(signal.SIGTERM)
    assert line.finish(40) == 0, line.output()
    assert all(counts.closed and not counts.uninspected for counts in line.ledger().values()), line.output()


def test_a_dashboard_without_its_port_is_left_out_and_the_line_runs(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        line = make_line(watched_line(parts_folder, small_bundle, listen=f"127.0.0.1:{taken.getsockname()[1]}"))
        process = line.start()
        line.wait_for(lambda: "dashboard cannot run" in line.output(), "word of it")
        line.wait_for(lambda: line.announced("cap") > 10, "parts")
        process.send_signal(signal.SIGTERM)
        assert line.finish(40) == 0, line.output()
    assert "dashboard.listen: cannot listen on" in line.output()


@needs_program("openssl")
def test_over_tls_the_cookie_is_for_tls_alone(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, tmp_path: Path
):
    certificate, key = tmp_path / "line.pem", tmp_path / "line.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    configuration = watched_line(parts_folder, small_bundle, users=USERS, certificate=str(certificate), key=str(key))
    line = make_line(configuration)
    line.start("dashboard", str(line.path))
    line.wait_for(lambda: "dashboard at https://" in line.output(), "dashboard")
    trusted = ssl.create_default_context(cafile=str(certificate))
    url = line.config.dashboard.url
    with httpx.Client(base_url=url, verify=trusted, headers={"origin": url}) as client:
        answer = log_in(client, "viewer")
        assert answer.headers["set-cookie"].startswith("__Host-")
        assert "secure" in answer.headers["set-cookie"].lower()
        assert "strict-transport-security" in answer.headers
        assert client.get("/api/v1/line").json()["line"] == "test"
        # The line itself does not run: what it would tell is missing, and said to be.
        assert client.get("/api/v1/events").status_code == 503
        assert client.get("/api/v1/alarms/active").json() == []


def test_without_its_packages_the_dashboard_says_what_to_install(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    line = make_line(watched_line(parts_folder, small_bundle))
    program = "import sys; sys.modules['fastapi'] = None; from stream.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "dashboard", str(line.path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == EXIT_USAGE
    assert "pip install 'patchline[dashboard]'" in done.stderr


def test_after_the_sink_was_killed_the_dashboard_follows_the_next_one(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    line = make_line(watched_line(parts_folder, small_bundle))
    line.start()
    with closing(client_of(line)) as client:

        def last_seq() -> int:
            return max(client.get("/api/v1/stations/cap/recent").json()["seq"], default=-1)

        line.wait_for(lambda: last_seq() > 5, "parts")
        line.kill("sink")
        dead = last_seq()
        line.wait_for(lambda: last_seq() > dead + 20, "parts of the next sink")
