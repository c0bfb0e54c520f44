"""Rejects as messages through a real broker, with password and TLS."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from support.outputs import Broker, Listener, wait_for
from support.programs import needs_program
from support.pulses import MS, PULSE_MS, TOLERANCE_MS, Start, command, fire, fire_in_turn

from stream.core.clock import now_ns
from stream.core.errors import ConfigError
from stream.devices.actuators.mqtt import MqttActuatorOptions
from stream.devices.actuators.mqtt_connection import why_lost
from stream.sink.actuator_thread import Fired


def mqtt_options(broker: Broker, **more: Any) -> MqttActuatorOptions:
    fields: dict[str, Any] = {"username": "line", "password": "right", "tls": {"ca": broker.ca}}
    return MqttActuatorOptions(kind="mqtt", host="127.0.0.1", port=broker.port, topic="line/reject", **(fields | more))


@needs_program("mosquitto", "mosquitto_passwd")
def test_every_reject_is_one_message_with_its_part_and_its_time(broker: Broker, start: Start):
    listener = Listener(broker, "line/#")
    thread = start(mqtt_options(broker, heartbeat={"topic": "line/alive", "period_ms": 50}))
    thread.alive(now_ns())
    found = fire_in_turn(thread, 5)
    assert [fired.error for fired in found] == [None] * 5
    offset_ns = time.time_ns() - time.monotonic_ns()
    wait_for(lambda: len(listener.commands("line/reject")) == 5, "messages")
    for (at_ns, message), fired in zip(listener.commands("line/reject"), found, strict=True):
        told = fired.command
        assert message["command"] == "reject"
        assert (message["station"], message["seq"], message["part_id"]) == ("cap", told.seq, f"part{told.seq}")
        assert (message["verdict"], message["score"], message["pulse_ms"]) == ("DEFECT", 2.5, PULSE_MS)
        assert message["fire_at"] == pytest.approx((told.planned_ns + offset_ns) / 1e9, abs=0.05)
        assert message["not_after"] - message["fire_at"] == pytest.approx(TOLERANCE_MS / 1e3, abs=1e-4)
        assert told.planned_ns <= at_ns
    assert [message["sequence"] for _, message in listener.commands("line/reject")] == [1, 2, 3, 4, 5]
    wait_for(lambda: len(listener.payloads("line/alive")) >= 4, "beats")
    assert listener.payloads("line/alive")[:3] == [b"1", b"0", b"1"]
    assert listener.payloads("line/reject/state")[0] == b"online"
    thread.end()
    wait_for(lambda: listener.payloads("line/reject/state")[-1] == b"offline", "goodbye")
    listener.close()


@needs_program("mosquitto", "mosquitto_passwd")
def test_a_frozen_broker_delivers_no_reject_after_its_time(broker: Broker, start: Start):
    listener = Listener(broker, "line/#")
    thread = start(mqtt_options(broker))
    before = fire_in_turn(thread, 3)
    broker.freeze()
    until_ns = now_ns() + 3_000 * MS
    missed: list[Fired] = []
    while now_ns() < until_ns:
        missed += fire_in_turn(thread, 1, first=len(missed) + 100)
    assert all(fired.error is not None or fired.fired_ns is None for fired in missed)
    broker.thaw()
    wait_for(lambda: thread.fault is None, "connection after the thaw")
    after = fire_in_turn(thread, 3, first=200)
    wait_for(lambda: len(listener.commands("line/reject")) >= 6, "messages")
    assert [message["seq"] for _, message in listener.commands("line/reject")] == [
        fired.command.seq for fired in before + after if fired.error is None
    ]
    listener.close()


@needs_program("mosquitto", "mosquitto_passwd")
def test_a_broker_that_is_gone_is_a_fault_and_nothing_waits_for_its_return(broker: Broker, start: Start):
    thread = start(mqtt_options(broker))
    broker.kill()
    wait_for(lambda: thread.fault is not None, "fault")
    missed = fire_in_turn(thread, 3)
    assert all(fired.error is not None for fired in missed)
    broker.start()
    listener = Listener(broker, "line/reject")
    wait_for(lambda: thread.fault is None, "connection after the restart")
    [after] = fire(thread, command(9))
    assert after.error is None
    assert [message["seq"] for _, message in listener.commands("line/reject")] == [9]
    listener.close()


@needs_program("mosquitto", "mosquitto_passwd")
def test_a_reject_that_nobody_subscribes_to_is_not_acknowledged_and_the_connection_stays(broker: Broker, start: Start):
    thread = start(mqtt_options(broker))
    [alone] = fire(thread, command(1))
    assert alone.error is not None
    assert "nobody subscribes" in alone.error
    assert thread.fault is None


@needs_program("mosquitto", "mosquitto_passwd")
@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"password": "wrong"}, "the broker refuses"), ({"tls": {}}, "certificate verify failed"), ({"tls": None}, "")],
)
def test_a_broker_that_does_not_let_the_line_in_is_a_fault(
    broker: Broker, start: Start, wrong: dict[str, Any], said: str
):
    thread = start(mqtt_options(broker, **wrong), connected=False)
    wait_for(lambda: "not connected yet" not in (thread.fault or "not connected yet"), "refusal")
    assert said in (thread.fault or "")
    assert fire(thread, command(1))[0].error is not None


@needs_program("mosquitto", "mosquitto_passwd")
def test_the_last_will_says_offline_when_the_line_is_gone_without_a_word(broker: Broker, start: Start):
    listener = Listener(broker, "line/reject/state")
    thread = start(mqtt_options(broker))
    wait_for(lambda: listener.payloads("line/reject/state") == [b"online"], "online")
    thread._actuator._connection.cut()  # as a cable does
    wait_for(lambda: b"offline" in listener.payloads("line/reject/state"), "last will")
    wait_for(lambda: listener.payloads("line/reject/state")[-1] == b"online", "online again")
    listener.close()


def test_a_password_comes_from_a_file_too(tmp_path: Path):
    options = MqttActuatorOptions(
        kind="mqtt", host="127.0.0.1", topic="t", username="line", password_file=tmp_path / "none"
    )
    with pytest.raises(ConfigError, match="password_file"):
        options.open()


@needs_program("mosquitto", "mosquitto_passwd")
def test_two_clients_with_one_id_are_told_apart_from_a_broken_connection(broker: Broker, start: Start):
    first = mqtt_options(broker, client_id="gate-1").open()
    second = None
    try:
        wait_for(lambda: first.fault is None, "connection")
        second = mqtt_options(broker, client_id="gate-1").open()
        wait_for(lambda: "client_id 'gate-1'" in (first.fault or ""), "the id named")
    finally:
        first.close()
        if second is not None:
            second.close()


def test_a_host_whose_name_is_unknown_is_named():
    actuator = MqttActuatorOptions(kind="mqtt", host="broker.invalid", topic="line/reject").open()
    try:
        wait_for(lambda: "host name 'broker.invalid' is unknown" in (actuator.fault or ""), "the name in the fault")
    finally:
        actuator.close()


def test_a_session_that_another_client_has_taken_over_is_called_so():
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.reasoncodes import ReasonCode

    taken = ReasonCode(PacketTypes.DISCONNECT, identifier=142)
    assert "session taken over: another client uses client_id 'gate-1'" in why_lost(taken, "gate-1")
    full = ReasonCode(PacketTypes.DISCONNECT, identifier=151)
    assert why_lost(full, "gate-1") == "connection lost: Quota exceeded"
