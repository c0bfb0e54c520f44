from __future__ import annotations

import http.client
import json
import time

import httpx
import pytest
from pydantic import ValidationError
from support.listening import free_port, listening

from stream.core.errors import CameraError
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
