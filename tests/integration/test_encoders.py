"""Rejects by the count of a belt's encoder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.outputs import Plc
from support.pulses import MS
from support.running import Line, belt, station

from stream.core.verdict import Verdict
from stream.devices.encoders.modbus import ModbusEncoderOptions
from stream.devices.encoders.opcua import OpcUaEncoderOptions

MakeLine = Callable[..., Line]


COUNTED = {"actuator": "gate", "encoder": "drive", "transport_counts": 2_500, "tolerance_counts": 200, "pulse_ms": 10}


def test_parts_are_rejected_by_the_count_of_the_belts_encoder(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    """At 1,000 counts a second 2,500 counts are 2.5 s; the count wraps on the way."""
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=100)},
            "stations": {"cap": station(small_bundle, reject=COUNTED)},
            "actuators": {"gate": {"kind": "log", "path": "rejects.jsonl"}},
            "encoders": {"drive": {"kind": "simulated", "rate_hz": 1_000, "wrap": 6_000}},
        }
    )
    line.start()
    line.wait_for(lambda: line.metric("sink", "patchline_encoder_up", encoder="drive") == 1, "the encoder")
    assert line.finish(90) == 0, line.output()
    assert line.ledger()["cap"].closed
    bad = {
        event.part.seq: event.captured_realtime_ns for event in line.events() if event.part.verdict is not Verdict.GOOD
    }
    rejects = line.rejects()
    missed = line.output().count("late reject:")
    assert {reject["seq"] for reject in rejects} <= set(bad)
    assert len(rejects) + missed == len(bad)
    assert missed <= len(bad) // 5
    offset_ns = time.time_ns() - time.monotonic_ns()
    for reject in rejects:
        assert 2_450 * MS <= reject["actual_ns"] - (bad[reject["seq"]] - offset_ns) <= 2_750 * MS


def test_a_sink_that_is_killed_leaves_the_parts_on_the_belt_to_the_next(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=160)},
            "stations": {"cap": station(small_bundle, reject=COUNTED | {"transport_counts": 4_000})},
            "actuators": {"gate": {"kind": "log", "path": "rejects.jsonl"}},
            "encoders": {"drive": {"kind": "simulated", "rate_hz": 1_000, "wrap": 60_000}},
        }
    )
    line.start()
    line.wait_for(lambda: len(line.rejects()) >= 2, "rejects")
    line.kill("sink")
    killed_ns = time.monotonic_ns()
    assert line.finish(120) == 0, line.output()
    assert line.ledger()["cap"].closed
    bad = {
        event.part.seq: event.captured_realtime_ns for event in line.events() if event.part.verdict is not Verdict.GOOD
    }
    rejects = line.rejects()
    offset_ns = time.time_ns() - time.monotonic_ns()
    fired = {reject["seq"] for reject in rejects}
    assert fired <= set(bad)
    on_the_belt = {seq for seq, at_ns in bad.items() if at_ns - offset_ns < killed_ns - 500 * MS}
    assert {seq for seq in fired if seq in on_the_belt and fired_after(rejects, seq, killed_ns)}, "taken over"
    for reject in rejects:
        assert 3_950 * MS <= reject["actual_ns"] - (bad[reject["seq"]] - offset_ns) <= 4_300 * MS
    assert len(fired) + line.output().count("late reject:") >= len(bad)


def fired_after(rejects: list[dict[str, Any]], seq: int, at_ns: int) -> bool:
    return any(reject["seq"] == seq and reject["actual_ns"] > at_ns for reject in rejects)


def test_an_encoder_that_cannot_be_read_is_an_alarm_and_its_rejects_are_counted_as_late(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, modbus: Plc
):
    drive = {"kind": "modbus", "host": "127.0.0.1", "port": modbus.port, "holding_register": 5}
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=100)},
            "stations": {"cap": station(small_bundle, reject=COUNTED)},
            "actuators": {"gate": {"kind": "log", "path": "rejects.jsonl"}},
            "encoders": {"drive": drive},
        }
    )
    line.start()
    line.wait_for(lambda: line.metric("sink", "patchline_encoder_up", encoder="drive") == 1, "the encoder")
    line.wait_for(lambda: line.announced("cap") >= 20, "20 parts")
    modbus.kill()
    assert line.finish(90) == 0, line.output()
    assert line.ledger()["cap"].closed
    bad = [event for event in line.events() if event.part.verdict is not Verdict.GOOD]
    assert line.rejects() == [], "the belt stood"
    assert line.output().count("late reject:") == len(bad) > 0
    assert "encoder_fault" in {alarm.kind for alarm in line.alarms()}


@pytest.mark.parametrize("kind", ["modbus", "opcua"])
def test_the_count_of_a_plc_is_read_and_read_again_after_it_was_gone(kind: str, tmp_path: Path):
    server = Plc(tmp_path, kind)
    server.start()
    options: Any = (
        ModbusEncoderOptions(kind="modbus", host="127.0.0.1", port=server.port, input_register=10, words=2, wrap=2**32)
        if kind == "modbus"
        else OpcUaEncoderOptions(
            kind="opcua",
            url=f"opc.tcp://127.0.0.1:{server.port}/plc",
            node="ns=2;s=lamp",
            username="line",
            password="right",
        )
    )
    encoder = options.open()
    try:
        assert encoder.read() == (0x0001_0002 if kind == "modbus" else 0)
        server.kill()
        with pytest.raises(OSError, match=kind):
            encoder.read()
        server.start()
        assert encoder.read() == (0x0001_0002 if kind == "modbus" else 0)
    finally:
        encoder.close()
        server.kill()
