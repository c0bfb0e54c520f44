"""Parts that a trigger announces: their names arrive in the event store and at the reject."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from support.running import GATE, Line, belt, free_ports, station

from stream.core.verdict import Cause, Verdict

MakeLine = Callable[..., Line]


def free_running(folder: Path, trigger: dict[str, Any], **options: Any) -> dict[str, Any]:
    """A camera over a belt that never ends, with a trigger of its own."""
    return belt(folder, rate_hz=2, fps=25, parts=100_000, trigger=trigger) | options


def test_names_given_over_http_arrive_in_the_store_and_at_the_reject(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    port = free_ports(1)
    line = make_line(
        {
            "cameras": {"top": free_running(parts_folder, {"kind": "http", "port": port})},
            "stations": {"cap": station(small_bundle, frame_checks=False)},  # the belt is dark between parts
            "actuators": GATE,
        }
    )
    process = line.start()
    line.wait_for(lambda: "capture-top ready" in line.output() and "sink ready" in line.output(), "camera and sink")
    names = [f"part-{number}" for number in range(12)]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for name in names:
            assert client.post("/trigger", json={"part_id": name}).status_code == 202
            time.sleep(0.1)  # the beat of the parts, not a wait for anything
    line.wait_for(lambda: line.announced("cap") == len(names), "all parts")
    process.terminate()
    assert line.finish() == 0, line.output()

    counts, events = line.ledger()["cap"], line.events()
    assert (counts.announced, counts.closed, counts.uninspected) == (len(names), True, {}), line.output()
    assert [(event.part.seq, event.part.part_id) for event in events] == list(enumerate(names))
    assert all(event.part.score is not None for event in events)
    defective = {event.part.part_id for event in events if event.part.verdict is Verdict.DEFECT}
    assert defective, "most frames show a part off its place"
    assert {reject["part_id"] for reject in line.rejects()} == defective


def test_a_trigger_without_a_frame_is_a_part_that_is_rejected_by_name(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    port = free_ports(1)
    trigger = {"kind": "http", "port": port, "wait_ms": 200}
    line = make_line(
        {
            "cameras": {"top": free_running(parts_folder, trigger, fps=0.01)},
            "stations": {"cap": station(small_bundle)},
            "actuators": GATE,
        }
    )
    process = line.start()
    line.wait_for(lambda: "capture-top ready" in line.output() and "sink ready" in line.output(), "camera and sink")
    httpx.post(f"http://127.0.0.1:{port}/trigger", json={"part_id": "lost"})
    line.wait_for(line.rejects, "reject")
    process.terminate()
    assert line.finish() == 0, line.output()
    (event,) = line.events()
    assert (event.part.part_id, event.part.verdict, event.part.cause) == (
        "lost",
        Verdict.UNINSPECTED,
        Cause.CAMERA_FAULT,
    )
    assert "200 ms" in event.part.detail
    (reject,) = line.rejects()
    assert (reject["part_id"], reject["cause"]) == ("lost", "camera_fault")
    assert 0 <= reject["error_ms"] <= 100


def test_a_trigger_that_is_away_raises_the_alarm_of_its_camera(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    trigger = {"kind": "mqtt", "host": "127.0.0.1", "port": free_ports(1), "topic": "part"}
    line = make_line(
        {
            "cameras": {"top": free_running(parts_folder, trigger)},
            "stations": {"cap": station(small_bundle)},
            "actuators": GATE,
        }
    )
    line.start()
    alarm = line.wait_for(lambda: next(iter(line.alarms()), None), "alarm")
    assert (alarm.kind, alarm.subject) == ("camera_down", "top")
    assert "trigger: MQTT" in alarm.text
