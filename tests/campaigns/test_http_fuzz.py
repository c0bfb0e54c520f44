"""A few hundred damaged requests to each HTTP server, and what the campaign would say of a careless one."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path

import pytest
from campaigns.http_fuzz import SERVERS, ask, doubtful, request
from campaigns.material import Material
from support.pictures import write_good_folder
from support.running import free_ports


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_answers_damaged_requests_with_refusals(server: str, small_bundle: Path, tmp_path: Path):
    material = Material(write_good_folder(tmp_path / "parts", 2), small_bundle)
    outcome = SERVERS[server](tmp_path / "line", material, seed=0, count=200, seconds=15.0)
    assert outcome.violations == []
    assert outcome.statuses[200] + outcome.statuses[202] > 0, "some requests are still genuine enough"
    assert outcome.statuses[400] > 0


def test_a_server_that_carries_out_doubtful_requests_is_seen():
    class Careless(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    port = free_ports(1)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Careless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        answers = {name: ask(port, data) for name, data in doubtful("/trigger", b"{}").items()}
        assert all(answer == [202] for answer in answers.values()), answers
        assert ask(port, request("GET /")) == [501]
    finally:
        server.shutdown()
        server.server_close()
    assert ask(port, request("GET /")) == []
