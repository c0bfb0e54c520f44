"""Rejects of a whole line: each bad part and no other, or counted and alarmed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.outputs import Broker, Listener, Plc
from support.pictures import defective_picture, good_picture, write_picture
from support.programs import needs_program
from support.pulses import MS
from support.running import Line, belt, station

from stream.core.verdict import Verdict
from stream.line.lifecycle import lock_role

MakeLine = Callable[..., Line]


@pytest.fixture
def one_in_ten(tmp_path: Path) -> Path:
    """Ten parts, the sixth of which is defective."""
    folder = tmp_path / "one_in_ten"
    folder.mkdir()
    for number in range(10):
        picture = defective_picture(905) if number == 5 else good_picture(900 + number)
        write_picture(folder / f"part{number}.png", picture)
    return folder


REJECT = {"actuator": "gate", "transport_delay_ms": 2500, "tolerance_ms": 200, "pulse_ms": 20}


@needs_program("mosquitto", "mosquitto_passwd")
@pytest.mark.timeout(180)
def test_over_five_hundred_parts_each_bad_one_is_rejected_and_no_other(
    make_line: MakeLine, one_in_ten: Path, small_bundle: Path, broker: Broker
):
    listener = Listener(broker, "line/reject")
    (broker.folder / "password").write_text("right\n")
    gate = {"kind": "mqtt", "host": "127.0.0.1", "port": broker.port, "topic": "line/reject", "username": "line"}
    secured = {"password_file": str(broker.folder / "password"), "tls": {"ca": str(broker.ca)}}
    line = make_line(
        {
            "cameras": {"top": belt(one_in_ten, parts=500)},
            "stations": {"cap": station(small_bundle, reject=REJECT)},
            "actuators": {"gate": gate | secured},
        }
    )
    line.start()
    assert line.finish(150) == 0, line.output()
    counts = line.ledger()["cap"]
    assert counts.closed
    assert (counts.announced, counts.pending) == (500, ())
    bad = [event for event in line.events() if event.part.verdict is not Verdict.GOOD]
    assert {event.part.seq for event in bad} >= set(range(5, 500, 10))
    commands = listener.commands("line/reject")
    missed = line.output().count("failed reject:") + line.output().count("late reject:")
    assert len(commands) == len({message["seq"] for _, message in commands})
    assert {message["seq"] for _, message in commands} <= {event.part.seq for event in bad}
    assert len(commands) + missed == len(bad)
    assert missed <= len(bad) // 10
    offset_ns = time.time_ns() - time.monotonic_ns()
    captured_ns = {event.part.seq: event.captured_realtime_ns - offset_ns for event in bad}
    for at_ns, message in commands:
        assert 0 <= at_ns - captured_ns[message["seq"]] - 2_500 * MS <= 250 * MS + 20 * MS
    listener.close()


@pytest.mark.timeout(180)
def test_while_the_plc_is_frozen_rejects_are_missed_counted_and_alarmed_and_the_ledger_closes(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, modbus: Plc
):
    gate = {"kind": "modbus", "host": "127.0.0.1", "port": modbus.port, "coil": 3}
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=240)},
            "stations": {"cap": station(small_bundle, reject=REJECT)},
            "actuators": {"gate": gate | {"heartbeat": {"coil": 4}}},
        }
    )
    line.start()
    line.wait_for(lambda: len(modbus.pulses("coil3")) >= 4, "rejects before")
    assert line.metric("sink", "patchline_actuator_up", actuator="gate") == 1
    modbus.freeze()
    frozen_ns = time.monotonic_ns()
    line.wait_for(lambda: line.metric("sink", "patchline_actuator_up", actuator="gate") == 0, "the gauge")
    line.wait_for(lambda: time.monotonic_ns() > frozen_ns + 3_000 * MS, "three seconds")
    failed = line.metric("sink", "patchline_failed_rejects_total", actuator="gate")
    thawed_ns = time.monotonic_ns()
    modbus.thaw()
    line.wait_for(lambda: modbus.pulses("coil3") and modbus.pulses("coil3")[-1][0] > thawed_ns, "rejects after")
    assert line.finish(120) == 0, line.output()
    counts = line.ledger()["cap"]
    assert counts.closed
    assert (counts.announced, counts.pending) == (240, ())
    bad = [event for event in line.events() if event.part.verdict is not Verdict.GOOD]
    pulses = modbus.pulses("coil3")
    missed = line.output().count("failed reject:") + line.output().count("late reject:")
    assert failed is not None
    assert failed >= 1
    assert len(pulses) + missed == len(bad)
    assert "actuator_fault" in {alarm.kind for alarm in line.alarms()}
    offset_ns = time.time_ns() - time.monotonic_ns()
    moments = [event.captured_realtime_ns - offset_ns + 2_500 * MS for event in bad]
    for on_ns, _ in pulses:
        assert any(-20 * MS <= on_ns - moment <= 220 * MS for moment in moments), "a pulse that belongs to no part"
    beats = [write.at_ns for write in modbus.writes("coil4")]
    assert beats
    assert not [at_ns for at_ns in beats if frozen_ns + 50 * MS < at_ns < thawed_ns]


def test_the_heartbeat_stops_while_a_camera_is_frozen_and_its_parts_pass_unseen(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, modbus: Plc
):
    gate = {"kind": "modbus", "host": "127.0.0.1", "port": modbus.port, "coil": 3}
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=240)},
            "stations": {"cap": station(small_bundle, reject=REJECT)},
            "actuators": {"gate": gate | {"heartbeat": {"coil": 4, "period_ms": 100}}},
        }
    )
    line.start()
    line.wait_for(lambda: len(modbus.writes("coil4")) >= 5, "heartbeat")
    camera = line.child("capture-top")
    os.kill(camera, signal.SIGSTOP)
    line.wait_for(lambda: line.metric("sink", "patchline_camera_up", camera="top") == 0, "camera down")
    quiet_ns = time.monotonic_ns() + 800 * MS
    line.wait_for(lambda: time.monotonic_ns() > quiet_ns + 1_000 * MS, "a second")
    beats = [write.at_ns for write in modbus.writes("coil4")]
    assert not [at_ns for at_ns in beats if at_ns > quiet_ns]
    os.kill(camera, signal.SIGCONT)
    line.wait_for(lambda: len(modbus.writes("coil4")) > len(beats), "heartbeat again")


def test_a_line_that_must_not_run_without_its_reject_stops(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, modbus: Plc
):
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=400)},
            "stations": {"cap": station(small_bundle, reject=REJECT)},
            "actuators": {"gate": {"kind": "modbus", "host": "127.0.0.1", "port": modbus.port, "coil": 3}},
            "on_actuator_fault": "stop_line",
        }
    )
    line.start()
    line.wait_for(lambda: modbus.pulses("coil3"), "a reject")
    modbus.kill()
    assert line.finish(60) == 1, line.output()
    assert "the line is to be stopped: actuator gate" in line.output()
    counts = line.ledger()["cap"]
    assert counts.closed
    assert counts.announced < 400


def configured(folder: Path, port: int, bundle: Path, **more: Any) -> Path:
    """A line with a Modbus gate that is not running."""
    path = folder / "line.yaml"
    line = {
        "line": "test",
        "cameras": {"top": belt(folder)},
        "stations": {"cap": station(bundle, reject=REJECT)},
        "actuators": {"gate": {"kind": "modbus", "host": "127.0.0.1", "port": port, "coil": 3}},
        "store": {"path": str(folder / "store")},
    }
    path.write_text(json.dumps(line | more))
    return path


def run_actuate(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stream", "actuate", str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_an_output_is_tried_by_hand(modbus: Plc, tmp_path: Path, small_bundle: Path):
    path = configured(tmp_path, modbus.port, small_bundle)
    connected = run_actuate(path, "gate")
    assert connected.returncode == 0, connected.stderr
    assert modbus.pulses("coil3") == []
    fired = run_actuate(path, "gate", "--reject")
    assert fired.returncode == 0, fired.stderr
    assert "pulse acknowledged after" in fired.stdout
    assert len(modbus.pulses("coil3")) == 1


def test_an_output_that_does_not_answer_by_hand_is_told_with_exit_code_one(
    modbus: Plc, tmp_path: Path, small_bundle: Path
):
    modbus.kill()
    path = configured(tmp_path, modbus.port, small_bundle)
    gone = run_actuate(path, "gate", "--reject")
    assert gone.returncode == 1
    assert "no connection" in gone.stderr
    unknown = run_actuate(path, "gat")
    assert (unknown.returncode, "known: gate" in unknown.stderr) == (2, True)


def test_an_output_that_a_running_sink_holds_is_not_switched_by_hand(modbus: Plc, tmp_path: Path, small_bundle: Path):
    path = configured(tmp_path, modbus.port, small_bundle)
    with lock_role("sink", tmp_path / "store" / "state"):
        refused = run_actuate(path, "gate", "--reject")
    assert refused.returncode == 2
    assert "Stop the line first" in refused.stderr
    assert modbus.writes("coil3") == []


def test_a_gate_that_opens_on_good_opens_for_the_good_parts_alone(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, modbus: Plc
):
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=40)},
            "stations": {"cap": station(small_bundle, reject=REJECT | {"gate": "open_on_good", "pulse_ms": 10})},
            "actuators": {"gate": {"kind": "modbus", "host": "127.0.0.1", "port": modbus.port, "coil": 3}},
        }
    )
    line.start()
    assert line.finish(90) == 0, line.output()
    good = [event for event in line.events() if event.part.verdict is Verdict.GOOD]
    assert len(good) < 40
    missed = line.output().count("failed reject:") + line.output().count("late reject:")
    offset_ns = time.time_ns() - time.monotonic_ns()
    moments = [event.captured_realtime_ns - offset_ns + 2_500 * MS for event in good]
    opened = [on_ns for on_ns, _ in modbus.pulses("coil3")]
    # Two that come late may become one; none belongs to another part.
    assert len(good) * 0.8 <= len(opened) + missed <= len(good)
    for on_ns in opened:
        assert any(-20 * MS <= on_ns - moment <= 220 * MS for moment in moments)
