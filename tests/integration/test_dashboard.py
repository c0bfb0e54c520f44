"""The dashboard of a running line, from outside: API, roles, forged requests, live feed."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from support.dashboards import PASSWORD, USERS, client_of, frame_of, log_in, watched_line
from support.running import Line
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from stream.store.event_reader import FILE_NAME, EventReader

TOKEN = "a long random token"
MARK = {"mark": "false_alarm", "note": "a hair"}


@pytest.fixture(scope="module")
def module_line(tmp_path_factory: pytest.TempPathFactory, parts_folder: Path, small_bundle: Path) -> Iterator[Line]:
    """One line with users for the tests that only ask."""
    tokens = {"mes": {"sha256": hashlib.sha256(TOKEN.encode()).hexdigest(), "role": "operator"}}
    line = Line(
        tmp_path_factory.mktemp("watched") / "line",
        watched_line(parts_folder, small_bundle, users=USERS, tokens=tokens),
    )
    line.start()
    try:
        line.wait_for(lambda: line.announced("cap") >= 20, "20 parts")
        yield line
    finally:
        line.kill_everything()


@pytest.fixture
def client(module_line: Line) -> Iterator[httpx.Client]:
    """Nobody in particular."""
    with closing(client_of(module_line)) as found:
        yield found


@pytest.fixture
def viewer(client: httpx.Client) -> httpx.Client:
    return logged_in(client, "viewer")


@pytest.fixture
def operator(client: httpx.Client) -> httpx.Client:
    return logged_in(client, "operator")


def logged_in(client: httpx.Client, name: str) -> httpx.Client:
    """Tests come from one address, and guesses of passwords are few: wait as a person would."""
    until_s = time.monotonic() + 60
    while (answer := log_in(client, name)).status_code == 429 and time.monotonic() < until_s:
        time.sleep(float(answer.headers["retry-after"]))
    assert answer.status_code == 200, answer.text
    return client


def defects(client: httpx.Client, **filters: Any) -> dict[str, Any]:
    answer = client.get("/api/v1/events", params={"verdict": "DEFECT", "limit": 5} | filters)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def live(line: Line, client: httpx.Client, **headers: str) -> ClientConnection:
    """A WebSocket of a user who is logged in, of the client's origin."""
    origin = {"origin": client.headers["origin"]} if "origin" in client.headers else {}
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    url = line.config.dashboard.url.replace("http", "ws") + "/api/v1/live"
    return connect(url, additional_headers={"cookie": cookies} | origin | headers, compression=None, max_size=None)


# --- who comes in


@pytest.mark.parametrize(
    "path",
    [
        *("line", "events", "events/1", "events/1/preview.jpg", "events/1/overlay.jpg", "events/1/map"),
        *("events/1/input.png", "events.zip"),
        *("alarms", "alarms/active", "audit", "stations/cap/recent", "stations/cap/calibration", "rejects/cap/3.jpg"),
    ],
)
def test_nobody_sees_anything_without_logging_in(client: httpx.Client, path: str):
    assert client.get(f"/api/v1/{path}").status_code == 401


def test_the_live_feed_too_is_closed_to_strangers(module_line: Line, client: httpx.Client):
    with pytest.raises((InvalidStatus, ConnectionClosed)), live(module_line, client) as socket:
        socket.recv(timeout=10)


def test_a_session_cookie_is_out_of_reach_of_scripts_and_of_other_sites(client: httpx.Client):
    cookie = logged_in(client, "viewer").post("/api/v1/login", json={"name": "viewer", "password": PASSWORD})
    given = cookie.headers["set-cookie"].lower()
    assert "httponly" in given
    assert "samesite=strict" in given
    assert client.get("/api/v1/me").json()["role"] == "viewer"


def test_logging_out_ends_the_session_also_for_a_copied_cookie(viewer: httpx.Client, module_line: Line):
    copied = dict(viewer.cookies)
    assert viewer.post("/api/v1/logout").status_code == 200
    with httpx.Client(base_url=viewer.base_url, cookies=copied) as thief:
        assert thief.get("/api/v1/line").status_code == 401


def test_a_viewer_changes_nothing_not_even_by_direct_call(viewer: httpx.Client):
    event = defects(viewer)["events"][0]
    alarm = viewer.get("/api/v1/alarms").json()["alarms"][0]
    assert viewer.post(f"/api/v1/events/{event['event_id']}/mark", json=MARK).status_code == 403
    assert viewer.post("/api/v1/alarms/acknowledge", json=alarm).status_code == 403
    assert viewer.get("/api/v1/audit").status_code == 403
    for method in ("PUT", "PATCH", "DELETE", "POST"):
        assert viewer.request(method, "/api/v1/line", json={}).status_code == 403
    assert viewer.get(f"/api/v1/events/{event['event_id']}").json()["mark"] is None


def test_a_change_that_no_page_of_ours_sends_is_refused(operator: httpx.Client):
    path = f"/api/v1/events/{defects(operator)['events'][0]['event_id']}/mark"
    own = operator.headers.pop("origin")
    another_port = own.rpartition(":")[0] + ":9"
    refused: list[dict[str, str]] = [
        {},
        {"x-forgery-token": "0" * 64},
        {"origin": "http://evil.example"},
        {"origin": another_port},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": own},
        {"sec-fetch-site": "same-origin", "origin": "http://evil.example"},
    ]
    for headers in refused:
        assert operator.post(path, json=MARK, headers=headers).status_code == 403, headers
        assert operator.post("/api/v1/logout", headers=headers).status_code == 403, headers
        assert operator.post("/api/v1/login", json={}, headers=headers).status_code == 403, headers
    for headers in (
        {"origin": own},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "same-origin", "origin": own},
    ):
        assert operator.post(path, json=MARK, headers=headers).status_code == 200, headers


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"origin": "null"}, {}, {"sec-fetch-site": "same-site"}], ids=str
)
def test_a_page_of_another_server_cannot_watch_with_our_cookie(
    viewer: httpx.Client, module_line: Line, headers: dict[str, str]
):
    del viewer.headers["origin"]
    with (
        pytest.raises((InvalidStatus, ConnectionClosed)) as refused,
        live(module_line, viewer, **headers) as socket,
    ):
        socket.recv(timeout=10)
    assert "4403" in str(refused.value) or "403" in str(refused.value)


def test_nothing_changes_by_asking(operator: httpx.Client):
    event = defects(operator)["events"][0]
    for path in (f"events/{event['event_id']}/mark", "alarms/acknowledge", "logout"):
        assert operator.get(f"/api/v1/{path}").status_code in (404, 405)
    assert operator.get("/api/v1/me").json()["name"] == "operator"


def test_passwords_cannot_be_guessed_quickly(client: httpx.Client):
    answers = [log_in(client, "nobody", str(guess)) for guess in range(8)]
    assert {answer.status_code for answer in answers} == {401, 429} or answers[0].status_code == 429
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_a_program_uses_its_token_and_its_role(client: httpx.Client):
    del client.headers["origin"]
    client.headers["authorization"] = f"Bearer {TOKEN}"
    event = defects(client)["events"][0]
    assert client.post(f"/api/v1/events/{event['event_id']}/mark", json=MARK).json()["mark"]["who"] == "mes"
    assert client.get("/api/v1/audit").status_code == 403
    client.headers["authorization"] = "Bearer wrong"
    assert client.get("/api/v1/line").status_code == 401


def test_every_answer_has_the_security_headers_and_pages_run_no_scripts_but_ours(client: httpx.Client):
    for path in ("/", "/app.js", "/api/v1/me", "/api/v1/line", "/nothing"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers
    page = client.get("/").text
    assert "<script>" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_a_body_that_is_too_large_is_refused(client: httpx.Client):
    answer = client.post("/api/v1/login", json={"name": "a" * 100_000, "password": ""})
    assert answer.status_code == 413


# --- what the API tells


def test_the_api_describes_itself_and_every_path_of_it(client: httpx.Client):
    description = client.get("/api/v1/openapi.json").json()
    assert {"/api/v1/events", "/api/v1/alarms/acknowledge", "/api/v1/events.zip"} <= set(description["paths"])
    parameters = description["paths"]["/api/v1/events"]["get"]["parameters"]
    assert {"station", "verdict", "cause", "since_s", "before"} <= {each["name"] for each in parameters}


def test_events_are_filtered_and_paged_by_place_in_both_directions(viewer: httpx.Client, module_line: Line):
    module_line.wait_for(lambda: len(defects(viewer, station="cap")["events"]) == 5, "five defects")
    # The newest that is recorded: those behind it may come at any moment.
    until_s = defects(viewer, station="cap")["events"][0]["captured_s"] + 1e-3
    ask = {"station": "cap", "limit": 2, "until_s": until_s}
    first = defects(viewer, **ask)
    second = defects(viewer, **ask, before=first["older"])
    everything = defects(viewer, station="cap", limit=4, until_s=until_s)["events"]
    assert first["events"] + second["events"] == everything
    assert first["newer"] is None
    assert defects(viewer, **ask, after=second["newer"])["events"] == first["events"]
    assert all((each["station"], each["verdict"]) == ("cap", "DEFECT") for each in everything)
    one = everything[-1]
    found = viewer.get("/api/v1/events", params={"station": "cap", "seq": one["seq"]}).json()["events"]
    assert found == [one]
    assert viewer.get("/api/v1/events", params={"before": "nonsense"}).status_code == 422
    assert viewer.get("/api/v1/events", params={"verdict": "BAD"}).status_code == 422


def test_an_event_has_its_picture_plain_and_with_heat_map_and_the_map(viewer: httpx.Client):
    event = defects(viewer)["events"][0]
    path = f"/api/v1/events/{event['event_id']}"
    view, drawn = (
        cv2.imdecode(np.frombuffer(viewer.get(f"{path}/{file}").content, np.uint8), cv2.IMREAD_COLOR)
        for file in ("preview.jpg", "overlay.jpg")
    )
    assert view.shape == (120, 160, 3)
    assert drawn.shape[0] > 120
    answer = viewer.get(f"{path}/map")
    height, width = map(int, answer.headers["x-grid"].split("x"))
    values = np.frombuffer(answer.content, "<f2").reshape(height, width)
    assert values.max() > event["pixel_threshold"]
    spot = viewer.get(f"{path}/spot").json()
    row, column = np.unravel_index(values.argmax(), values.shape)
    left_px, top_px, width_px, height_px = spot["box_px"]
    assert left_px <= 160 * (column + 0.5) / width <= left_px + width_px
    assert top_px <= 120 * (row + 0.5) / height <= top_px + height_px
    assert spot["place"]
    assert viewer.get("/api/v1/events/999999999/spot").status_code == 404
    assert viewer.get("/api/v1/events/999999999/preview.jpg").status_code == 404


def test_a_defect_has_what_the_network_saw_as_a_png_without_loss(viewer: httpx.Client, module_line: Line):
    event = defects(viewer)["events"][0]
    answer = viewer.get(f"/api/v1/events/{event['event_id']}/input.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert "immutable" in answer.headers["cache-control"]
    picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    with EventReader.open(module_line.config.store.path / FILE_NAME) as store:
        np.testing.assert_array_equal(picture[:, :, ::-1], store.network_input(event["event_id"]))
    good = viewer.get("/api/v1/events", params={"verdict": "GOOD", "limit": 1}).json()["events"][0]
    for without in (good["event_id"], 999_999_999, 2**70):
        assert viewer.get(f"/api/v1/events/{without}/input.png").status_code == 404


def test_the_export_is_a_zip_of_a_table_and_the_pictures(viewer: httpx.Client):
    event = defects(viewer, station="cap")["events"][0]
    answer = viewer.get("/api/v1/events.zip", params={"verdict": "DEFECT", "since_s": event["captured_s"] - 2})
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        rows = list(csv.DictReader(io.StringIO(archive.read("events.csv").decode())))
        assert {row["verdict"] for row in rows} == {"DEFECT"}
        (row,) = (row for row in rows if (row["station"], row["seq"]) == ("cap", str(event["seq"])))
        assert float(row["score"]) == event["score"]
        assert archive.read(f"pictures/{row['picture']}.jpg")[:2] == b"\xff\xd8"
        assert archive.read(f"overlays/{row['picture']}.jpg")[:2] == b"\xff\xd8"


def near_misses(client: httpx.Client, **filters: Any) -> dict[str, Any]:
    answer = client.get("/api/v1/events", params={"near_misses": True} | filters)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def test_good_parts_with_high_scores_are_kept_and_a_missed_defect_among_them_can_be_marked(client: httpx.Client):
    operator = logged_in(client, "operator")
    page = near_misses(operator, station="cap", limit=3)
    found = page["events"]
    assert [(event["verdict"], event["station"]) for event in found] == [("GOOD", "cap")] * 3
    assert found[0]["kept_as"] in ("near_miss", "sample")
    order = [(event["captured_s"] // 3600, event["score"]) for event in found]
    assert order == sorted(order, reverse=True)
    further = near_misses(operator, station="cap", limit=3, before=page["older"])["events"]
    assert further
    assert (further[0]["captured_s"] // 3600, further[0]["score"]) <= order[-1]

    path = f"/api/v1/events/{found[0]['event_id']}"
    for image in ("preview.jpg", "input.png", "overlay.jpg"):
        assert operator.get(f"{path}/{image}").status_code == 200
    refused = operator.post(f"{path}/mark", json=MARK)
    assert (refused.status_code, "cannot be marked false_alarm" in refused.json()["detail"]) == (409, True)
    assert operator.post(f"{path}/mark", json={"mark": "missed_defect"}).json()["mark"]["mark"] == "missed_defect"
    assert operator.get(path).json()["kept_as"] == found[0]["kept_as"]
    assert operator.get("/api/v1/events", params={"near_misses": True, "seq": 3}).status_code == 422


def test_a_mark_is_kept_with_its_author_and_stands_in_the_audit_log(client: httpx.Client):
    operator = logged_in(client, "operator")
    event = defects(operator, station="label")["events"][0]
    path = f"/api/v1/events/{event['event_id']}"
    assert operator.post(f"{path}/mark", json={"mark": "nonsense"}).status_code == 422
    assert operator.post(f"{path}/mark", json=MARK).status_code == 200
    mark = operator.get(path).json()["mark"]
    assert (mark["mark"], mark["note"], mark["who"]) == ("false_alarm", "a hair", "operator")
    engineer = logged_in(client, "engineer")
    entries = engineer.get("/api/v1/audit").json()
    assert {"what": "mark", "who": "operator", "detail": f"label {event['seq']}: false_alarm a hair"} in [
        {name: entry[name] for name in ("what", "who", "detail")} for entry in entries
    ]


def test_an_alarm_is_acknowledged_once_and_everybody_sees_by_whom(operator: httpx.Client, module_line: Line):
    active = module_line.wait_for(lambda: operator.get("/api/v1/alarms/active").json(), "alarm")
    alarm = active[0]
    name = {field: alarm[field] for field in ("kind", "subject", "raised_ns")}
    assert operator.post("/api/v1/alarms/acknowledge", json=name).status_code == 200
    history = operator.get("/api/v1/alarms").json()["alarms"]
    (found,) = (each for each in history if {field: each[field] for field in name} == name)
    assert found["acknowledged_by"] == "operator", "feed and event store name an alarm alike"
    assert operator.post("/api/v1/alarms/acknowledge", json=name | {"raised_ns": "x"}).status_code == 422


def test_scores_of_the_calibration_and_of_the_last_parts(viewer: httpx.Client, module_line: Line):
    calibration = viewer.get("/api/v1/stations/cap/calibration").json()
    assert len(calibration["scores"]) > 0
    recent = module_line.wait_for(
        lambda: (found := viewer.get("/api/v1/stations/cap/recent").json())["seq"] and found, "parts"
    )
    assert recent["seq"] == sorted(recent["seq"])
    assert {len(column) for column in recent.values()} == {len(recent["seq"])}
    assert set(recent["threshold"]) == {calibration["threshold"]}
    assert viewer.get("/api/v1/stations/nothing/recent").status_code == 404


# --- the live feed


def test_who_acknowledges_sees_ten_parts_a_second_of_each_station(viewer: httpx.Client, module_line: Line):
    seen: dict[str, list[int]] = {"cap": [], "label": []}
    with live(module_line, viewer) as socket:
        until_s = time.monotonic() + 60
        while min(map(len, seen.values())) < 30 and time.monotonic() < until_s:
            header, rest = frame_of(socket.recv(timeout=10))
            if header["channel"]:
                seen[header["channel"]].append(header["seq"])
                assert rest[2 * header["grid"][0] * header["grid"][1] :][:2] == b"\xff\xd8"
            socket.send(json.dumps({"ack": header["channel"]}))
    for seqs in seen.values():
        assert len(seqs) >= 30
        assert seqs == sorted(set(seqs)), "never an older one, none twice"


def test_who_does_not_acknowledge_gets_no_backlog_and_then_the_newest(viewer: httpx.Client, module_line: Line):
    with live(module_line, viewer) as socket:
        first: dict[str, int] = {}
        while set(first) != {"cap", "label", ""}:
            header, _ = frame_of(socket.recv(timeout=10))
            assert header["channel"] not in first, "one thing on each channel until it is acknowledged"
            first[header["channel"]] = header.get("seq", 0)
        before = module_line.announced("cap")
        module_line.wait_for(lambda: module_line.announced("cap") >= before + 30, "30 parts")
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.5)
        socket.send(json.dumps({"ack": "cap"}))
        header, _ = frame_of(socket.recv(timeout=10))
        assert header["channel"] == "cap"
        assert header["seq"] >= before + 29
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.5)


def test_nonsense_instead_of_an_acknowledgement_ends_the_connection(viewer: httpx.Client, module_line: Line):
    with live(module_line, viewer) as socket:
        socket.send("nonsense")
        with pytest.raises(ConnectionClosed):
            list(socket)


def test_the_state_is_the_ledger_and_everybodys_health(viewer: httpx.Client, module_line: Line):
    with live(module_line, viewer) as socket:
        while (header := frame_of(socket.recv(timeout=10))[0])["channel"] != "":
            pass
    cap = header["stations"]["cap"]
    assert cap["announced"] == cap["good"] + cap["defect"] + sum(cap["uninspected"].values()) + cap["pending"]
    assert cap["drift"].keys() == {"parts", "window", "psi", "drifting"}
    assert {name: each["up"] for name, each in header["cameras"].items()} == {"top": True}
    assert {name: each["up"] for name, each in header["workers"].items()} == {"worker0": True}
    assert {name: each["up"] for name, each in header["actuators"].items()} == {"gate": True}
    assert header["age_s"] < 10
