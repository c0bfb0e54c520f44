"""Tuning a running line through the dashboard's API: accept, threshold, teach, undo; and what is refused."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from support.dashboards import USERS, client_of, log_in, watched_line
from support.running import Line

from stream.core.files import file_sha256
from stream.core.verdict import Verdict
from stream.model.bundle import load_bundle

MakeLine = Callable[..., Line]


@pytest.fixture
def live(small_bundle: Path, tmp_path: Path) -> Path:
    """The bundle of the line, to be replaced."""
    return Path(shutil.copy(small_bundle, tmp_path / "live.safetensors"))


@pytest.fixture
def line(make_line: MakeLine, parts_folder: Path, live: Path) -> Line:
    tokens = {name: {"sha256": hashlib.sha256(name.encode()).hexdigest(), "role": name} for name in USERS}
    configuration = watched_line(parts_folder, live, users=USERS, tokens=tokens)
    del configuration["stations"]["label"]
    started = make_line(configuration)
    started.start()
    client_of(started).close()
    started.wait_for(lambda: started.announced("cap") >= 20, "20 parts")
    return started


@pytest.fixture
def engineer(line: Line) -> Iterator[httpx.Client]:
    with closing(client_of(line)) as client:
        client.timeout = httpx.Timeout(90)
        assert log_in(client, "engineer").status_code == 200
        yield client


def ask(client: httpx.Client, path: str) -> Any:
    answer = client.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def change(client: httpx.Client, path: str, **body: Any) -> Any:
    answer = client.post(f"/api/v1/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def mark(client: httpx.Client, part_id: str, as_what: str) -> int:
    """Mark the newest DEFECT event of a part; returns its number."""
    events = ask(client, "events?station=cap&verdict=DEFECT&limit=100")["events"]
    number: int = next(event["event_id"] for event in events if event["part_id"] == part_id)
    change(client, f"events/{number}/mark", mark=as_what, note="seen by eye")
    return number


def done(line: Line, client: httpx.Client, job: dict[str, Any], timeout_s: float = 200) -> dict[str, Any]:
    """Wait for a job's end; returns the change that came of it."""

    def ended() -> dict[str, Any] | None:
        found = ask(client, "jobs")[0]
        assert found["id"] == job["id"]
        return found if found["state"] != "running" else None

    found = line.wait_for(ended, "end of the job", timeout_s=timeout_s)
    assert found["state"] == "done", found
    changes = ask(client, "stations/cap/changes")
    made: dict[str, Any] = changes[0]
    assert made["id"] == found["change"]
    return made


def judged(line: Line, bundle: str, part_id: str) -> Verdict:
    """The verdict on a part by a bundle, once it has passed."""

    def verdict() -> Verdict | None:
        found = [
            event.part.verdict
            for event in line.events("cap")
            if (event.bundle_sha256, event.part.part_id) == (bundle, part_id)
        ]
        return found[-1] if found else None

    return line.wait_for(verdict, f"{part_id} judged by {bundle[:12]}")


def test_an_accepted_false_alarm_is_good_from_then_on_until_it_is_undone_and_no_part_goes_uninspected(
    line: Line, engineer: httpx.Client, live: Path
):
    before = file_sha256(live)
    alarm, defect = mark(engineer, "part3.png", "false_alarm"), mark(engineer, "part7.png", "true_defect")
    made = done(line, engineer, change(engineer, "stations/cap/accept", event_ids=[alarm], note="shadow"))
    assert (made["state"], made["base_sha256"], made["may_go_live"]) == ("offered", before, True)
    assert made["patches_after"] > made["patches_before"]
    table = {row["event_id"]: row for row in made["table"]}
    assert (table[alarm]["verdict_before"], table[alarm]["verdict_after"]) == ("DEFECT", "GOOD")
    assert (table[defect]["verdict_before"], table[defect]["verdict_after"]) == ("DEFECT", "DEFECT")
    recorded = {event.event_id: event.part.score for event in line.events("cap")}
    assert table[alarm]["score_before"] == pytest.approx(recorded[alarm], rel=1e-3)
    assert file_sha256(live) == before, "an offer changes nothing"

    put = change(engineer, f"changes/{made['id']}/live")
    assert put["may_undo"]
    assert judged(line, made["bundle_sha256"], "part3.png") is Verdict.GOOD
    assert judged(line, made["bundle_sha256"], "part7.png") is Verdict.DEFECT
    tuning = ask(engineer, "stations/cap/tuning")
    assert (tuning["bundle_sha256"], tuning["threshold"]) == (made["bundle_sha256"], made["threshold_after"])
    reviewed = {part["event_id"]: part for part in tuning["reviewed"]}
    assert [reviewed[number]["accepted"] for number in (alarm, defect)] == [True, False]
    assert reviewed[alarm]["score"] == table[alarm]["score_after"]

    assert change(engineer, f"changes/{made['id']}/undo")["state"] == "undone"
    line.wait_for(lambda: line.events("cap")[-1].bundle_sha256 == before, "a part judged by the first bundle again")
    assert file_sha256(live) == before
    said = [(entry["who"], entry["what"]) for entry in ask(engineer, "audit")]
    for what in ("begin accept", "offer accept", "put live: accept", "undone: accept"):
        assert ("engineer", what) in said
    line.stop_with_every_part_inspected()


def test_a_strange_good_picture_is_left_out_until_that_is_undone(line: Line, engineer: httpx.Client, live: Path):
    before = file_sha256(live)
    defect = mark(engineer, "part7.png", "true_defect")
    strange = ask(engineer, "stations/cap/strangest")
    assert strange["bundle_sha256"] == before
    first = strange["pictures"][0]
    assert (first["rank"], first["score"]) == (1, max(load_bundle(live).calibration_scores))
    path = f"/api/v1/stations/cap/strangest/{before}/1.jpg"
    answer = engineer.get(path)
    assert (answer.status_code, answer.content[:2]) == (200, b"\xff\xd8")

    made = done(line, engineer, change(engineer, "stations/cap/leave-out", names=[first["name"]], note="a scratch"))
    assert (made["kind"], made["state"], made["base_sha256"]) == ("leave_out", "offered", before)
    assert made["threshold_after"] != made["threshold_before"]
    table = {row["event_id"]: row for row in made["table"]}
    assert (table[defect]["verdict_before"], table[defect]["verdict_after"]) == ("DEFECT", "DEFECT")
    assert file_sha256(live) == before, "an offer changes nothing"
    change(engineer, f"changes/{made['id']}/live")
    assert judged(line, made["bundle_sha256"], "part7.png") is Verdict.DEFECT
    left = ask(engineer, "stations/cap/strangest")
    assert first["name"] not in [picture["name"] for picture in left["pictures"]]
    assert engineer.get(path).status_code == 404, "that bundle is no longer live"

    assert change(engineer, f"changes/{made['id']}/undo")["state"] == "undone"
    assert file_sha256(live) == before
    (begun,) = (entry for entry in ask(engineer, "audit") if entry["what"] == "begin leave_out")
    assert (begun["who"], first["name"] in begun["detail"], "a scratch" in begun["detail"]) == ("engineer", True, True)
    line.stop_with_every_part_inspected()


def test_a_moved_threshold_decides_from_then_on_and_the_curve_says_before_what_it_does(
    line: Line, engineer: httpx.Client, live: Path
):
    alarm, defect = mark(engineer, "part3.png", "false_alarm"), mark(engineer, "part7.png", "true_defect")

    def known() -> dict[str, Any] | None:
        found: dict[str, Any] = ask(engineer, "stations/cap/tuning")
        return found if found["parts_per_day"] else None

    tuning = line.wait_for(known, "a rate")
    curve, at = tuning["curve"], tuning["at"]
    assert curve["threshold"][at] == tuning["threshold"]
    assert tuning["counted"] == {"false_alarm": 1, "true_defect": 1}
    assert (curve["false_alarms_passing"][at], curve["true_defects_passing"][at]) == (0, 0)
    highest = max(part["score"] for part in tuning["reviewed"])
    above = next(i for i, threshold in enumerate(curve["threshold"]) if threshold >= tuning["reviewed"][0]["score"])
    assert curve["true_defects_passing"][above] + curve["false_alarms_passing"][above] >= 1
    assert curve["false_rejects_per_day"][0] > curve["false_rejects_per_day"][-1] > 0

    offered = change(engineer, "stations/cap/threshold", threshold=highest * 1.01, note="too strict")
    known, missed = offered["warnings"]
    assert "hardly any would be DEFECT" in known
    assert missed == "1 of the marked defects would be GOOD"
    verdicts = {row["event_id"]: (row["verdict_before"], row["verdict_after"]) for row in offered["table"]}
    assert verdicts == {alarm: ("DEFECT", "GOOD"), defect: ("DEFECT", "GOOD")}
    change(engineer, f"changes/{offered['id']}/live")
    assert judged(line, offered["bundle_sha256"], "part3.png") is Verdict.GOOD
    assert judged(line, offered["bundle_sha256"], "part7.png") is Verdict.GOOD
    thresholds = load_bundle(live).info.thresholds
    assert thresholds is not None
    assert (thresholds.image, thresholds.by_hand) == (highest * 1.01, True)
    after = ask(engineer, "stations/cap/tuning")
    assert {part["event_id"]: part["score"] for part in after["reviewed"]} == {
        part["event_id"]: part["score"] for part in tuning["reviewed"]
    }, "another threshold is no other score"
    line.stop_with_every_part_inspected()


def test_ten_marked_defects_teach_the_station_what_they_have_in_common(line: Line, engineer: httpx.Client, live: Path):
    before = file_sha256(live)
    refused = engineer.post("/api/v1/stations/cap/learn-from-marks", json={})
    assert (refused.status_code, "0 marked defects" in refused.json()["detail"]) == (409, True)

    def defects() -> list[int] | None:
        found = ask(engineer, "events?station=cap&verdict=DEFECT&limit=100")["events"]
        numbers = [event["event_id"] for event in found if event["part_id"] == "part7.png"]
        return numbers[:9] if len(numbers) >= 9 else None

    marked = line.wait_for(defects, "nine defects")
    for number in marked:
        change(engineer, f"events/{number}/mark", mark="true_defect")
    good = ask(engineer, "events?station=cap&near_misses=true")["events"][0]["event_id"]
    change(engineer, f"events/{good}/mark", mark="missed_defect")
    alarm = mark(engineer, "part3.png", "false_alarm")
    assert ask(engineer, "stations/cap/tuning")["learnable"] == {
        "defects": 10, "false_alarms": 1, "needed": 10, "learned_defects": None,
    }  # fmt: skip

    made = done(line, engineer, change(engineer, "stations/cap/learn-from-marks", note="ten"))
    assert (made["kind"], made["state"], made["base_sha256"]) == ("marks", "offered", before)
    assert {row["event_id"] for row in made["table"]} == {*marked, good, alarm}
    assert all(row["score_after"] != row["score_before"] for row in made["table"])
    assert made["recent"]["parts"] >= 12
    assert made["recent"]["to_good"] + made["recent"]["to_defect"] >= len(made["recent"]["changed"])
    assert any("good pictures calibrate" in warning for warning in made["warnings"])
    assert file_sha256(live) == before, "an offer changes nothing"

    change(engineer, f"changes/{made['id']}/live")
    assert judged(line, made["bundle_sha256"], "part7.png") is Verdict.DEFECT
    assert ask(engineer, "stations/cap/tuning")["learnable"]["learned_defects"] == 10
    (event,) = (row for row in made["table"] if row["event_id"] == marked[0])
    scores = [e.part.score for e in line.events("cap") if e.bundle_sha256 == made["bundle_sha256"]]
    assert any(score == pytest.approx(event["score_after"], abs=1e-2) for score in scores), "live as offline"
    assert change(engineer, f"changes/{made['id']}/undo")["state"] == "undone"
    assert file_sha256(live) == before
    line.stop_with_every_part_inspected()


def test_the_parts_whose_verdict_a_threshold_would_change_are_shown(line: Line, engineer: httpx.Client):
    present = ask(engineer, "stations/cap/tuning")["threshold"]
    kept = ask(engineer, "events?station=cap&near_misses=true")["events"]
    lowest = min(event["score"] for event in kept)
    found = ask(engineer, f"stations/cap/verdict-changes?threshold={lowest}")
    assert found["to_good"] == []
    assert found["to_defect_count"] >= len(found["to_defect"]) >= 1
    assert all((event["verdict"], event["score"] > lowest) == ("GOOD", True) for event in found["to_defect"])
    found = ask(engineer, f"stations/cap/verdict-changes?threshold={present * 100}")
    assert found["to_defect"] == []
    assert {event["verdict"] for event in found["to_good"]} == {"DEFECT"}


def test_a_station_is_taught_while_it_runs_and_a_job_can_be_stopped(line: Line, engineer: httpx.Client, live: Path):
    job = change(engineer, "stations/cap/teach", parts=20_000)
    refused = engineer.post("/api/v1/stations/cap/teach", json={"parts": 20})
    assert (refused.status_code, "job running" in refused.json()["detail"]) == (409, True)
    line.wait_for(lambda: ask(engineer, "jobs")[0]["done"] > 2, "some parts")
    assert change(engineer, f"jobs/{job['id']}/stop")["state"] == "stopped"
    assert not list((line.config.store.path / "bundles" / "cap").glob(".*")), "nothing is left of it"
    said = [(entry["who"], entry["what"]) for entry in ask(engineer, "audit")]
    assert said[:2] == [("engineer", "stop teach"), ("engineer", "begin teach")]

    # Ten parts pass in turn: more would be copies of each other.
    made = done(line, engineer, change(engineer, "stations/cap/teach", parts=10, false_reject_rate=0.2))
    sha256, before = made["bundle_sha256"], live
    taught = load_bundle(line.config.store.path / "bundles" / "cap" / f"{sha256}.safetensors")
    assert len(taught.info.bank_pictures) == len(taught.calibration_scores) == 10
    assert taught.info.spec == load_bundle(before).info.spec
    change(engineer, f"changes/{made['id']}/live")
    line.wait_for(lambda: line.events("cap")[-1].bundle_sha256 == sha256, "a part judged by the taught bundle")
    line.stop_with_every_part_inspected()


def test_a_job_ends_with_its_dashboard_and_with_the_line_and_leaves_nothing(line: Line, engineer: httpx.Client):
    def job() -> list[psutil.Process]:
        change(engineer, "stations/cap/teach", parts=20_000)
        line.wait_for(lambda: ask(engineer, "jobs")[0]["done"] > 2, "some parts")
        return psutil.Process(line.child("dashboard")).children(recursive=True)

    def left() -> list[Path]:
        return list((line.config.store.path / "bundles" / "cap").glob(".*"))

    orphans = job()
    killed = line.kill("dashboard")
    assert psutil.wait_procs(orphans, timeout=30)[1] == []

    def answers() -> bool:
        try:
            return line.child("dashboard") != killed and engineer.get("/api/v1/jobs").json() == []
        except (AssertionError, httpx.TransportError):
            return False  # it is just starting again

    line.wait_for(answers, "the next dashboard")
    line.wait_for(lambda: not left(), "nothing of the killed job")
    orphans = job()
    line.stop_with_every_part_inspected()
    assert psutil.wait_procs(orphans, timeout=30)[1] == []
    assert left() == []


def test_what_makes_no_sense_is_refused_in_words(line: Line, engineer: httpx.Client, live: Path):
    before = file_sha256(live)
    defect = mark(engineer, "part7.png", "true_defect")
    cases: list[tuple[str, dict[str, Any], int, str]] = [
        ("stations/cap/accept", {"event_ids": [defect]}, 409, "no marked false alarm"),
        ("stations/cap/accept", {"event_ids": [10**9]}, 409, "no marked false alarm"),
        ("stations/cap/accept", {"event_ids": []}, 422, "event_ids"),
        ("stations/cap/leave-out", {"names": ["nobody.png"]}, 409, "does not keep all of these good pictures"),
        ("stations/cap/leave-out", {"names": []}, 422, "names"),
        ("stations/nowhere/leave-out", {"names": ["good.png"]}, 404, "no such station"),
        ("stations/cap/threshold", {"threshold": 0}, 422, "threshold"),
        ("stations/cap/threshold", {"threshold": "much"}, 422, "threshold"),
        ("stations/cap/teach", {"parts": 1}, 422, "parts"),
        ("stations/nowhere/teach", {"parts": 20}, 404, "no such station"),
        ("changes/77/live", {}, 404, "no such change"),
        ("changes/77/erase", {}, 422, "step"),
        ("jobs/77/stop", {}, 404, "no such job"),
    ]
    for path, body, status, says in cases:
        answer = engineer.post(f"/api/v1/{path}", json=body)
        assert answer.status_code == status, (path, answer.text)
        assert says in answer.text, path
    offered = change(engineer, "stations/cap/threshold", threshold=9.0)
    live.write_bytes(b"no bundle at all")
    answer = engineer.post(f"/api/v1/changes/{offered['id']}/live")
    assert answer.status_code == 409
    assert "another user or program has replaced it" in answer.json()["detail"]
    assert line.events("cap")[-1].bundle_sha256 == before, "the line goes on"


def test_only_engineers_change_a_bundle_also_by_direct_requests(line: Line, live: Path):
    before = file_sha256(live)
    paths = {
        "stations/cap/accept": {"event_ids": [1]},
        "stations/cap/learn-from-marks": {},
        "stations/cap/threshold": {"threshold": 9.0},
        "stations/cap/leave-out": {"names": ["good.png"]},
        "stations/cap/teach": {"parts": 20},
        "jobs/1/stop": {},
        "changes/1/live": {},
        "changes/1/undo": {},
        "changes/1/discard": {},
    }
    with closing(client_of(line)) as client:
        for path, body in paths.items():
            assert client.post(f"/api/v1/{path}", json=body).status_code == 401, path
        for name in ("viewer", "operator"):
            assert log_in(client, name).status_code == 200
            for path, body in paths.items():
                assert client.post(f"/api/v1/{path}", json=body).status_code == 403, (name, path)
            assert client.get("/api/v1/stations/cap/tuning").status_code == 200
            assert client.get("/api/v1/jobs").json() == []
        client.cookies.clear()
        for name in ("viewer", "operator"):
            for path, body in paths.items():
                answer = client.post(f"/api/v1/{path}", json=body, headers={"authorization": f"Bearer {name}"})
                assert answer.status_code == 403, (name, path)
        answer = client.post("/api/v1/jobs/1/stop", headers={"authorization": "Bearer engineer"})
        assert (answer.status_code, answer.json()["detail"]) == (404, "no such job"), "a program may be an engineer"
    assert file_sha256(live) == before
