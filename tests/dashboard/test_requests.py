"""Requests of every shape: none fails unforeseen, and no answer repeats what it was sent."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode

import hypothesis
import numpy as np
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from stream.core.parts import PartResult
from stream.core.verdict import Verdict
from stream.dashboard.access import Authenticator
from stream.dashboard.live.hub import Hub
from stream.dashboard.login_record import LoginRecord
from stream.dashboard.login_throttle import LoginThrottle, Sender
from stream.dashboard.passwords import PasswordCheck
from stream.dashboard.server import application
from stream.dashboard.services import Dashboard
from stream.dashboard.tuning.changes import BundleChanges
from stream.dashboard.tuning.jobs import Jobs
from stream.dashboard.tuning.marked_parts import MarkedParts
from stream.line.config import LineConfig, parse
from stream.store.event_reader import FILE_NAME
from stream.store.event_store import EventStore
from stream.store.records import Event
from stream.store.review_store import Review

HOST = "127.0.0.1:8080"
#: Answers that are the line's own doing: the store, a bundle or a job is not as it must be.
FORESEEN = {*range(200, 300), 304, 307, 400, 401, 403, 404, 405, 409, 413, 416, 422, 429, 503}
LINE = """
line: bottling
cameras: {top: {kind: folder, path: parts, rate_hz: 10}}
stations:
  cap: {camera: top, bundle: cap.safetensors}
store: {path: events}
"""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def detail(self) -> str:
        return str(json.loads(self.body)["detail"])


class Site(NamedTuple):
    """A dashboard in this process, without a line, a bundle and a network."""

    app: FastAPI
    dashboard: Dashboard

    def ask(
        self,
        path: str | bytes,
        *,
        method: str = "GET",
        query: bytes = b"",
        body: bytes | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> Answer:
        """Send one request; an unforeseen error is raised here."""
        raw = path.encode("ascii", "surrogateescape") if isinstance(path, str) else path
        given = {b"host": HOST.encode(), b"origin": f"http://{HOST}".encode(), b"content-type": b"application/json"}
        given |= {} if body is None else {b"content-length": str(len(body)).encode()}
        given |= dict(headers)
        scope = {
            "type": "http",
            "method": method,
            "path": _decoded(raw),
            "raw_path": raw,
            "query_string": query,
            "headers": list(given.items()),
            "scheme": "http",
            "client": ("10.0.0.7", 1),
            "server": ("127.0.0.1", 8080),
            "http_version": "1.1",
            "asgi": {"version": "3.0"},
            "root_path": "",
        }
        return asyncio.run(_answer(self.app, scope, body or b""))


def _decoded(raw: bytes) -> str:
    return unquote(raw.decode("latin-1"))  # as the web server does


async def _answer(app: FastAPI, scope: Any, body: bytes) -> Answer:
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        return await asyncio.Future()  # a client that stays

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    head = next(message for message in sent if message["type"] == "http.response.start")
    content = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head["headers"]}
    return Answer(head["status"], headers, content)


def _event(seq: int, part_id: str) -> Event:
    part = PartResult(
        station="cap", seq=seq, part_id=part_id, verdict=Verdict.DEFECT, cause=None, detail="", score=2.0,
        threshold=1.0, pixel_threshold=1.0,
    )  # fmt: skip
    return Event(
        part=part, decision="reject", captured_realtime_ns=10**18, worker="worker0", bundle_sha256="0" * 64, stages={},
        total_ms=1.0, preview_jpeg=b"\xff\xd8", patch_distances=np.ones((2, 2), np.float16),
    )  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> LineConfig:
    config = parse(LINE, name="line.yaml", folder=tmp_path_factory.mktemp("line"))
    with EventStore.open(config.store.path / FILE_NAME) as store:
        store.record([_event(seq, "part") for seq in range(3)], [], {})
    return config


@pytest.fixture(scope="module")
def site(config: LineConfig) -> Iterator[Site]:
    """Open to everybody at this host."""
    with closing(Review(config.store.path / "review.sqlite")) as review:
        hub = Hub(config, review)
        dashboard = Dashboard(
            config,
            Authenticator(config.dashboard, b"secret"),
            LoginThrottle(),
            PasswordCheck(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)),
            LoginRecord(config.state / "logins.json"),
            hub,
            review,
            MarkedParts(review),
            BundleChanges(config, review),
            Jobs(),
        )
        yield Site(application(dashboard), dashboard)
        dashboard.passwords.close()
        hub._sockets.close()


def routes() -> list[tuple[str, str, list[str]]]:
    """Method, path and query parameters of every route, as the application describes itself."""
    found = []
    empty = Dashboard(*[None] * len(Dashboard._fields))  # type: ignore[list-item]
    for path, methods in application(empty).openapi()["paths"].items():
        for method, route in methods.items():
            names = [each["name"] for each in route.get("parameters", []) if each["in"] == "query"]
            found.append((method.upper(), path, names))
    return found


ROUTES = routes()
NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([-1, 0, 1, 2**31, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1, 10**300]),
)
TEXTS = st.one_of(st.text(max_size=30), st.sampled_from(["cap", "\x00", "..", "%", "\ud800", "'", "=1", "\r\nx: y"]))
WORDS = st.one_of(
    NUMBERS.map(str),
    st.floats().map(str),
    TEXTS,
    st.sampled_from(["cap", "live", "undo", "DEFECT", "true", "1_2_3", "1_1_nan", "1_1_inf", "-1_0_1"]),
    st.sampled_from(["9" * 30 + "_1_1", "9" * 4200, "9" * 4400]),
)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


HEADERS = st.sampled_from(
    (
        *("cookie", "host", "authorization", "range", "if-modified-since", "if-none-match", "content-type", "accept"),
        *("origin", "sec-fetch-site", "x-forwarded-for", "accept-encoding", "connection", "upgrade"),
        *("content-length", "transfer-encoding"),
    )
)
FIELDS = st.sampled_from(
    (
        *("name", "password", "mark", "note", "threshold", "event_ids", "names", "parts", "false_reject_rate"),
        *("kind", "subject", "raised_ns"),
    )
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.floats(), TEXTS, st.sampled_from(["false_alarm", "9" * 19, "٣"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(FIELDS, TEXTS), inner, max_size=6)),
    max_leaves=8,
)
BODIES = st.one_of(
    st.dictionaries(FIELDS, VALUES, max_size=6).map(_json),
    VALUES.map(_json),
    st.binary(max_size=60),
    st.sampled_from([b"", b"null", b"[" * 60_000, b'{"a":' * 10_000, b"NaN", b"-Infinity", b"1" * 5000, b'"\\ud800"']),
)


def _filled(path: str, words: list[str]) -> str:
    """The path with words in place of its parameters."""
    given = iter(words)
    return re.sub(r"\{\w+\}", lambda _: quote(next(given).encode(errors="surrogatepass"), safe=""), path)


@pytest.mark.parametrize(("method", "path", "names"), ROUTES, ids=[f"{method} {path}" for method, path, _ in ROUTES])
@hypothesis.settings(max_examples=25, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_request_to_any_route_fails_unforeseen(
    site: Site, method: str, path: str, names: list[str], data: st.DataObject
):
    words = data.draw(st.lists(WORDS, min_size=path.count("{"), max_size=path.count("{")))
    pairs = data.draw(st.lists(st.tuples(st.sampled_from([*names, "x"]), WORDS), max_size=4))
    query = urlencode([(name, text.encode(errors="surrogatepass")) for name, text in pairs]).encode()
    body = data.draw(st.one_of(st.none(), BODIES)) if method == "GET" else data.draw(BODIES)
    headers = data.draw(st.lists(st.tuples(HEADERS.map(str.encode), st.binary(max_size=30)), max_size=3))
    answer = site.ask(_filled(path, words), method=method, query=query, body=body, headers=tuple(headers))
    assert answer.status in FORESEEN
    site.dashboard.throttle.forget(Sender("10.0.0.7", known=False), "anna")


@given(st.one_of(st.binary(max_size=40), st.sampled_from([b"/\x00", b"/" + b"a" * 5000, b"/../x", b"/%00", b"*", b""])))
@hypothesis.settings(max_examples=60, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_no_path_fails_unforeseen(site: Site, path: bytes):
    for prefix in (b"/", b"/api/v1/", b""):
        assert site.ask(prefix + path).status in FORESEEN


@pytest.mark.parametrize("body", ['{"threshold": NaN}', '{"threshold": 1e999}', '{"threshold": "\\ud800"}'])
def test_a_value_that_json_cannot_hold_is_named_by_its_field_and_not_repeated(site: Site, body: str):
    answer = site.ask("/api/v1/stations/cap/threshold", method="POST", body=body.encode())
    assert answer.status == 422
    (problem,) = json.loads(answer.body)["detail"]
    assert problem["loc"] == ["body", "threshold"]
    assert set(problem) == {"loc", "msg"}


@pytest.mark.parametrize("password", ["\\ud800", "x" * 1025, ""])
def test_a_password_that_cannot_be_right_is_refused_without_repeating_it(site: Site, password: str):
    body = f'{{"name": "anna", "password": "{password}"}}'.encode()
    answer = site.ask("/api/v1/login", method="POST", body=body)
    assert answer.status in (401, 422)
    assert len(answer.body) < 300


@pytest.mark.parametrize("number", ["0", "-1", str(2**63 - 1), str(2**63), "-9" + "9" * 30, "9" * 400])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/events/{}"),
        ("GET", "/api/v1/events/{}/preview.jpg"),
        ("GET", "/api/v1/events/{}/map"),
        ("GET", "/api/v1/events/{}/input.png"),
        ("GET", "/api/v1/rejects/cap/{}.jpg"),
        ("POST", "/api/v1/jobs/{}/stop"),
        ("POST", "/api/v1/changes/{}/live"),
        ("POST", "/api/v1/events/{}/mark"),
    ],
)
def test_a_number_that_nothing_has_is_not_found(site: Site, method: str, path: str, number: str):
    body = None if method == "GET" else b'{"mark": "false_alarm"}'
    answer = site.ask(path.format(number), method=method, body=body)
    assert answer.status == 404
    assert number not in answer.detail or len(number) < 3


@pytest.mark.parametrize(
    "text", ["9" * 30 + "_1_1", "1_" + "9" * 30 + "_1", "-1_1_1", "1_1_nan", "1_1_-inf", "1_2", "x_y_z"]
)
def test_a_place_that_no_event_has_is_named(site: Site, text: str):
    for side in ("before", "after"):
        assert site.ask("/api/v1/events", query=f"{side}={text}".encode()).status == 422


def test_numbers_beyond_64_bits_in_a_body_are_named(site: Site):
    body = json.dumps({"event_ids": [2**70]}).encode()
    assert site.ask("/api/v1/stations/cap/accept", method="POST", body=body).status == 422
    for raised_ns in (str(2**63), "9" * 19, "٣"):
        alarm = json.dumps({"kind": "defect", "subject": "cap", "raised_ns": raised_ns}).encode()
        assert site.ask("/api/v1/alarms/acknowledge", method="POST", body=alarm).status == 422
    alarm = json.dumps({"kind": "defect", "subject": "cap", "raised_ns": str(10**18)}).encode()
    assert site.ask("/api/v1/alarms/acknowledge", method="POST", body=alarm).status == 200


@pytest.mark.parametrize(
    ("query", "named"),
    [
        (b"within_spec=true&verdict=GOOD", "within_spec: these parts are GOOD; leave verdict and cause out"),
        (b"within_spec=true&cause=timeout", "within_spec: these parts are GOOD; leave verdict and cause out"),
        (b"near_misses=true&within_spec=true", "near_misses: only station, since_s and until_s can narrow them"),
    ],
)
@pytest.mark.parametrize("path", ["events", "events.zip"])
def test_filters_that_contradict_each_other_are_refused_and_named(site: Site, path: str, query: bytes, named: str):
    answer = site.ask(f"/api/v1/{path}", query=query)
    assert (answer.status, answer.detail) == (422, named)


def test_of_a_bundle_that_nobody_has_any_more_nothing_is_known_to_be_unjudged(site: Site):
    answer = site.ask("/api/v1/stations/cap/unjudged/0123.png")
    assert (answer.status, answer.body) == (204, b"")
    assert site.ask("/api/v1/stations/gone/unjudged/0123.png").status == 404


MARKUP = "<b>%0d%0a"


def test_no_answer_repeats_the_path(site: Site):
    for path in (
        "stations/{}/recent",
        "stations/{}/tuning",
        "events/{}",
        "rejects/{}/1.jpg",
        "stations/cap/strangest/{}/1.jpg",
        "stations/{}/unjudged/1.png",
    ):
        answer = site.ask("/api/v1/" + path.format(quote(MARKUP, safe="")))
        assert answer.status in (404, 422, 503)
        assert b"<b>" not in answer.body


def test_an_export_holds_nothing_that_a_spreadsheet_would_run(site: Site, config: LineConfig):
    formulas = [
        "=1",
        "+1",
        "-1",
        "@x",
        "＝1",
        "＋1",
        "－1",
        "＠x",
        "\u2212x",
        "﹦1",
        " =1",
        "\u3000=1",
        "\u00a0＝1",
        "\ufeff=1",
    ]
    formulas += ["\t=1", "\r1", "\n=1", "\u200b=1", " \u2003\t+1", "\x00=1"]
    plain = ["a=1", "1+1", "part 7", "", "'=1", "é"]
    with EventStore.open(config.store.path / FILE_NAME) as store:
        events = [_event(1000 + number, text) for number, text in enumerate(formulas + plain)]
        store.record(events, [], {})
    answer = site.ask("/api/v1/events.zip", query=b"pictures=false")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("events.csv").decode(), newline="")))
    cells = {int(row["seq"]): row["part_id"] for row in rows}
    assert [cells[1000 + number] for number in range(len(formulas))] == [f"'{text}" for text in formulas]
    assert [cells[1000 + len(formulas) + number] for number in range(len(plain))] == plain


def test_an_export_without_an_event_store_is_refused_before_it_begins(site: Site, config: LineConfig):
    for path in config.store.path.glob(f"{FILE_NAME}*"):
        path.unlink()
    answer = site.ask("/api/v1/events.zip")
    assert answer.status == 503
    assert b"no event store yet" in answer.body
