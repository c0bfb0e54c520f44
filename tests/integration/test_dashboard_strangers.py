"""What strangers send to a dashboard holds up nobody, and what is ended stays so over a restart."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from support.dashboards import PASSWORD, USERS, log_in
from support.running import Line, free_ports
from websockets.sync.client import connect

MakeLine = Callable[..., Line]


def dashboard_alone(make_line: MakeLine, **options: Any) -> Line:
    """A dashboard without a line, with users; it serves."""
    line = make_line(
        {
            "cameras": {"top": {"kind": "folder", "path": "parts"}},
            "stations": {"cap": {"camera": "top", "bundle": "cap.safetensors"}},
            "dashboard": {"listen": f"127.0.0.1:{free_ports(1)}", "users": USERS} | options,
        }
    )
    serve(line)
    return line


def serve(line: Line) -> subprocess.Popen[bytes]:
    before = line.output().count("dashboard at http")
    process = line.start("dashboard", str(line.path))
    line.wait_for(lambda: line.output().count("dashboard at http") > before, "dashboard")
    return process


def client(line: Line, **options: Any) -> httpx.Client:
    url = line.config.dashboard.url
    return httpx.Client(base_url=url, timeout=20, headers={"origin": url} | options.pop("headers", {}), **options)


def connection(line: Line) -> socket.socket:
    return socket.create_connection(line.config.dashboard.address, timeout=20)


def sent(line: Line, data: bytes) -> bytes:
    """What the dashboard answers to these bytes."""
    with connection(line) as sock:
        sock.sendall(data)
        return sock.recv(4096)


def test_a_body_is_counted_whatever_its_headers_say(make_line: MakeLine):
    line = dashboard_alone(make_line)
    host = line.config.dashboard.listen
    head = f"POST /api/v1/login HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Type: application/json\r\n"
    both = sent(line, f"{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    assert both.startswith(b"HTTP/1.1 400")
    with connection(line) as sock:
        sock.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        with pytest.raises(OSError, match=r"reset|pipe"):  # the dashboard has hung up, long before all is sent
            sock.sendall((b"10000\r\n" + b"x" * 0x10000 + b"\r\n") * 2000)
    small = sent(line, f"{head}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n".encode())
    assert small.startswith(b"HTTP/1.1 422")


def test_requests_that_never_end_keep_nobody_out(make_line: MakeLine):
    line = dashboard_alone(make_line)
    with ExitStack() as stack:
        for number in range(450):
            half = stack.enter_context(connection(line))
            half.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" if number % 3 else b"")
        with client(line) as browser:
            assert browser.get("/api/v1/me").status_code == 200
            assert log_in(browser, "viewer").status_code == 200
    assert "Traceback" not in line.output()


def test_many_logins_at_once_are_turned_away_and_hold_up_no_other_page(make_line: MakeLine):
    slow = {"viewer": {"password": PasswordHasher(time_cost=4).hash(PASSWORD), "role": "viewer"}}
    line = dashboard_alone(make_line, users=slow)
    answers: list[http.client.HTTPResponse] = []
    body = json.dumps({"name": "viewer", "password": "wrong"})
    begun = threading.Barrier(121)

    def guess(number: int) -> None:
        stranger = http.client.HTTPConnection(*line.config.dashboard.address, 60, (f"127.0.1.{number + 1}", 0))
        begun.wait(60)
        headers = {"origin": line.config.dashboard.url, "content-type": "application/json"}
        stranger.request("POST", "/api/v1/login", body, headers)
        answers.append(stranger.getresponse())
        stranger.close()

    strangers = [threading.Thread(target=guess, args=(number,)) for number in range(120)]
    for stranger in strangers:
        stranger.start()
    with client(line) as browser:
        begun.wait(60)
        assert browser.get("/api/v1/me").status_code == 200
        assert browser.get("/").status_code == 200
    for stranger in strangers:
        stranger.join()
    turned_away = [answer for answer in answers if answer.status in (429, 503)]
    assert len(answers) == 120
    assert {answer.status for answer in answers} <= {401, 429, 503}
    assert len(turned_away) > 60
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in turned_away)


def test_a_user_who_has_logged_out_stays_so_after_a_restart(make_line: MakeLine):
    line = dashboard_alone(make_line)
    with client(line) as browser, client(line) as other:
        assert log_in(browser, "viewer").status_code == 200
        assert log_in(other, "operator").status_code == 200
        copied = dict(browser.cookies)
        assert browser.post("/api/v1/logout").status_code == 200
        assert line.process is not None
        line.process.send_signal(signal.SIGTERM)
        assert line.finish(40) == 0
        serve(line)
        with client(line, cookies=copied) as thief:
            assert thief.get("/api/v1/line").status_code == 401
        assert other.get("/api/v1/line").status_code == 200


def test_strangers_lock_nobody_out(make_line: MakeLine):
    line = dashboard_alone(make_line)
    with client(line) as browser:
        assert log_in(browser, "viewer").status_code == 200
    for host in range(2, 22):
        with client(line, transport=httpx.HTTPTransport(local_address=f"127.0.0.{host}")) as stranger:
            answers = [log_in(stranger, "viewer", "wrong").status_code for _ in range(6)]
            assert answers[-1] == 429
    with client(line) as browser:
        assert log_in(browser, "viewer").status_code == 200, "from the address of an earlier login"
    with client(line, transport=httpx.HTTPTransport(local_address="127.0.0.99")) as stranger:
        assert log_in(stranger, "operator").status_code == 200, "another name, a new address"


def test_behind_a_proxy_everybody_has_their_own_attempts_a_secure_cookie_and_a_sub_path(make_line: MakeLine):
    line = dashboard_alone(make_line, proxies=["127.0.0.1"])
    public = {"host": "plant.example", "origin": "https://plant.example", "x-forwarded-proto": "https"}

    def behind(address: str) -> httpx.Client:
        headers = public | {"x-forwarded-for": f"6.6.6.6, {address}", "x-forwarded-prefix": "/line1"}
        return client(line, headers=headers)

    with behind("10.0.0.7") as stranger:
        assert [log_in(stranger, "viewer", "wrong").status_code for _ in range(6)][-1] == 429
    with behind("10.0.0.8") as browser:
        answer = log_in(browser, "engineer")
        assert answer.status_code == 200
        session = answer.headers.get_list("set-cookie")[0]
        assert session.startswith("__Secure-patchline-test=")
        assert "; Path=/line1/;" in session
        assert "; Secure" in session
        cookie = {"cookie": session.partition(";")[0]}
        for path in ("/api/v1/audit", "/line1/api/v1/audit"):
            audit = browser.get(path, headers=cookie)
            assert audit.status_code == 200
            assert {entry["detail"] for entry in audit.json()} == {"10.0.0.7", "10.0.0.8"}
        page = browser.get("/line1", headers=cookie)
        assert (page.status_code, page.headers["location"]) == (308, "/line1/")
        assert "<title>PatchLine" in browser.get("/line1/").text
        assert browser.get("/line1/app.js").status_code == 200
        described = browser.get("/line1/api/v1/openapi.json").json()
        assert described["servers"] == [{"url": "/line1"}]
        assert browser.get("/line1/api/v1/line").status_code == 401
        url = line.config.dashboard.url.replace("http", "ws")
        own = {"origin": line.config.dashboard.url, "x-forwarded-proto": "https", "x-forwarded-prefix": "/line1"}
        with connect(f"{url}/line1/api/v1/live", additional_headers=own | cookie, compression=None) as feed:
            feed.ping().wait(20)
    with client(line, headers=public, transport=httpx.HTTPTransport(local_address="127.0.0.2")) as impostor:
        impostor.headers["x-forwarded-for"] = "10.0.0.8"
        assert log_in(impostor, "viewer").status_code == 200
        line.wait_for(lambda: "127.0.0.2" in _audit_of(line), "the impostor's own address")


def _audit_of(line: Line) -> str:
    with client(line) as browser:
        assert log_in(browser, "engineer").status_code == 200
        return json.dumps(browser.get("/api/v1/audit").json())


def test_a_dashboard_that_is_stopped_while_it_starts_ends_at_once(make_line: MakeLine):
    line = dashboard_alone(make_line)
    assert line.process is not None
    line.process.send_signal(signal.SIGTERM)
    assert line.finish(40) == 0
    for pause_s in (0.05, 0.3, 0.6, 0.9, 1.2, 1.6, 2.0, 2.5):
        process = line.start("dashboard", str(line.path))
        time.sleep(pause_s)
        process.send_signal(signal.SIGTERM)
        assert line.finish(20) in (0, -signal.SIGTERM), line.output()
