from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from contextlib import ExitStack

import httpx
import pytest
from prometheus_client import REGISTRY
from pydantic import ValidationError
from support.listening import free_port, listening

from stream.core.errors import CameraError
from stream.core.http_server import CONNECTIONS
from stream.devices.triggers.http import HttpTriggerOptions


def test_every_post_is_an_event_that_may_name_its_part():
    port, before_ns = free_port(), time.monotonic_ns()
    with (
        listening(HttpTriggerOptions(kind="http", port=port).open()) as listener,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert client.post("/trigger", json={"part_id": "A-17"}).status_code == 202
        assert client.post("/trigger").json() == {"triggered": True}
        assert client.post("/trigger", json={"part_id": 42}).status_code == 202
        listener.events(3)
    assert listener.part_ids == ["A-17", None, "42"]
    assert before_ns < listener.heard[0].at_ns < listener.heard[1].at_ns < time.monotonic_ns()


def test_what_is_not_understood_is_answered_and_is_no_event():
    port = free_port()
    with (
        listening(HttpTriggerOptions(kind="http", port=port).open()) as listener,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert client.post("/other").status_code == 404
        assert client.get("/trigger").status_code == 501
        assert "JSON" in client.post("/trigger", content=b'{"part_id": ').json()["error"]
        assert client.post("/trigger", content=b"x" * 100_000).status_code == 413
        assert client.post("/trigger", json={"part_id": "good"}).status_code == 202
        listener.events(1)
    assert listener.part_ids == ["good"]


def test_with_a_token_only_who_knows_it_triggers():
    port = free_port()
    with (
        listening(HttpTriggerOptions(kind="http", port=port, token="secret").open()) as listener,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
            assert client.post("/trigger", headers=headers).status_code == 401
        assert client.post("/trigger", headers={"Authorization": "Bearer secret"}).status_code == 202
        listener.events(1)


def test_a_client_that_hangs_up_half_way_disturbs_nobody():
    port = free_port()
    with listening(HttpTriggerOptions(kind="http", port=port).open()) as listener:
        half = http.client.HTTPConnection("127.0.0.1", port)
        half.putrequest("POST", "/trigger")
        half.putheader("Content-Length", "50")
        half.endheaders()
        half.send(b"half a na")
        half.close()
        whole = http.client.HTTPConnection("127.0.0.1", port)
        whole.request("POST", "/trigger", json.dumps({"part_id": "b"}))
        assert whole.getresponse().status == 202
        whole.close()
        listener.events(1)
    assert listener.part_ids == ["b"]


def test_an_address_that_is_taken_is_named():
    port = free_port()
    with (
        listening(HttpTriggerOptions(kind="http", port=port).open()),
        pytest.raises(CameraError, match=rf"cannot listen on 127.0.0.1:{port}"),
    ):
        HttpTriggerOptions(kind="http", port=port).open()


def test_beyond_this_host_a_token_is_required():
    with pytest.raises(ValidationError, match=r"token: required, since '0.0.0.0'"):
        HttpTriggerOptions(kind="http", host="0.0.0.0")


def test_the_token_is_not_shown():
    assert "secret" not in repr(HttpTriggerOptions(kind="http", token="secret"))


def test_half_requests_hold_a_bounded_number_of_threads_and_triggers_go_on():
    port = free_port()
    with ExitStack() as stack:
        listener = stack.enter_context(listening(HttpTriggerOptions(kind="http", port=port).open()))
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20))
        assert client.post("/trigger", json={"part_id": "before"}).status_code == 202
        for _ in range(3 * CONNECTIONS):
            half = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            half.sendall(b"POST /trigger HTTP/1.1\r\nContent-Le")
        assert client.post("/trigger", json={"part_id": "after"}).status_code == 202
        assert sum("process_request" in thread.name for thread in threading.enumerate()) <= CONNECTIONS
        listener.events(2)
    assert listener.part_ids == ["before", "after"]


def test_more_triggers_than_the_rate_allows_are_answered_429_counted_and_a_fault():
    port, before = free_port(), refused("rate")
    options = HttpTriggerOptions(kind="http", port=port, max_rate_hz=5)
    with (
        listening(options.open()) as listener,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        answers = [client.post("/trigger") for _ in range(40)]
        codes = [answer.status_code for answer in answers]
        assert set(codes) == {202, 429}
        assert codes.count(429) == refused("rate") - before
        late = answers[codes.index(429)]
        assert late.headers["Retry-After"] == "1"
        assert "max_rate_hz" in late.json()["error"]
        assert "more than 5 triggers/s" in listener.signal.fault
        listener.events(codes.count(202))


def test_requests_without_the_token_take_nothing_of_the_rate():
    port = free_port()
    options = HttpTriggerOptions(kind="http", port=port, token="secret", max_rate_hz=1)
    with (
        listening(options.open()) as listener,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert {client.post("/trigger").status_code for _ in range(20)} == {401}
        assert client.post("/trigger", headers={"Authorization": "Bearer secret"}).status_code == 202
        assert listener.signal.fault is None
        listener.events(1)


def test_a_body_in_chunks_is_refused_since_its_end_would_be_read_as_a_request():
    port = free_port()
    with (
        listening(HttpTriggerOptions(kind="http", port=port).open()) as listener,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert client.post("/trigger", content=iter([b'{"part_id": "a"}'])).status_code == 411
        assert client.post("/trigger", json={"part_id": "b"}).status_code == 202
        listener.events(1)
    assert listener.part_ids == ["b"]


def test_two_lengths_of_one_body_are_refused_since_a_proxy_may_go_by_the_other():
    port, body = free_port(), b'{"part_id": "a"}'
    with listening(HttpTriggerOptions(kind="http", port=port).open()) as listener:
        for lengths in ((len(body), 0), (0, len(body)), (len(body), len(body))):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            client.putrequest("POST", "/trigger")
            for length in lengths:
                client.putheader("Content-Length", str(length))
            client.endheaders(body)
            assert client.getresponse().status == 411
            client.close()
        httpx.post(f"http://127.0.0.1:{port}/trigger", json={"part_id": "b"})
        listener.events(1)
    assert listener.part_ids == ["b"]


def refused(why: str) -> float:
    return REGISTRY.get_sample_value("patchline_http_refused_total", {"server": "trigger", "why": why}) or 0.0
