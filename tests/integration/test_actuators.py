"""Outputs against real servers: a pulse is acknowledged within its time or it is never given."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.outputs import Plc, Receiver, wait_for
from support.pulses import MS, PULSE_MS, TOLERANCE_MS, Start, command, fire, fire_in_turn

from stream.core.clock import now_ns
from stream.core.errors import ConfigError
from stream.devices.actuators.gpio import GpioActuatorOptions
from stream.devices.actuators.modbus import ModbusActuatorOptions
from stream.devices.actuators.opcua import OpcUaActuatorOptions
from stream.devices.actuators.webhook import SIGNATURE_HEADER, TIMESTAMP_HEADER, WebhookActuatorOptions, signature
from stream.sink.actuator_thread import Fired


@pytest.fixture(params=["modbus", "opcua"])
def plc(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Plc]:
    server = Plc(tmp_path, request.param)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


GATE = {"modbus": "coil3", "opcua": "gate"}


def options_for(plc: Plc, **more: Any) -> ModbusActuatorOptions | OpcUaActuatorOptions:
    if plc.kind == "modbus":
        return ModbusActuatorOptions(kind="modbus", host="127.0.0.1", port=plc.port, coil=3, **more)
    return OpcUaActuatorOptions(
        kind="opcua",
        url=f"opc.tcp://127.0.0.1:{plc.port}/plc",
        node="ns=2;s=gate",
        username="line",
        password="right",
        **more,
    )


def check_pulses(plc: Plc, found: list[Fired]) -> None:
    """Each acknowledged command made one pulse, in its window and of its length; there were no others."""
    pulses = plc.pulses(GATE[plc.kind])
    fired = [item.command for item in found if item.error is None and item.fired_ns is not None]
    assert len(pulses) == len(fired)
    for (on_ns, off_ns), item in zip(pulses, fired, strict=True):
        assert item.planned_ns <= on_ns <= item.expires_ns
        # Both edges travel; how long each does is not ours.
        assert off_ns - on_ns >= (PULSE_MS - 20) * MS


def test_every_reject_is_a_pulse_of_the_plc_at_its_moment(plc: Plc, start: Start):
    thread = start(options_for(plc))
    found = fire_in_turn(thread, 10)
    assert [fired.error for fired in found] == [None] * 10
    check_pulses(plc, found)


def test_pulses_that_overlap_are_one_that_ends_with_the_last(plc: Plc, start: Start):
    thread = start(options_for(plc))
    first, second = fire(thread, command(1, 60), command(2, 85))
    assert (first.error, second.error) == (None, None)
    [(on_ns, off_ns)] = plc.pulses(GATE[plc.kind])
    assert off_ns - on_ns >= (25 + PULSE_MS - 20) * MS
    assert second.fired_ns is not None
    assert off_ns >= second.fired_ns + PULSE_MS * MS


def test_a_frozen_plc_misses_its_rejects_and_gives_none_of_them_when_it_thaws(plc: Plc, start: Start):
    thread = start(options_for(plc))
    before = fire_in_turn(thread, 3)
    plc.freeze()
    until_ns = now_ns() + 3_000 * MS
    missed: list[Fired] = []
    while now_ns() < until_ns:
        missed += fire_in_turn(thread, 1, first=len(missed) + 100)
    assert all(fired.error is not None or fired.fired_ns is None for fired in missed)
    assert thread.fault is not None
    plc.thaw()
    wait_for(lambda: thread.fault is None, "connection after the thaw")
    after = fire_in_turn(thread, 3, first=200)
    assert [fired.error for fired in after] == [None] * 3
    check_pulses(plc, before + missed + after)


def test_a_plc_that_freezes_while_a_pulse_is_on_is_switched_off_when_it_thaws(plc: Plc, start: Start):
    thread = start(options_for(plc))
    long = command(1)._replace(pulse_ns=1_000 * MS)
    thread.plan(long)
    wait_for(lambda: plc.writes(GATE[plc.kind])[-1].value == 1, "pulse")
    plc.freeze()
    wait_for(lambda: thread.fault is not None, "fault")
    wait_for(lambda: thread.idle, "end of the pulse")
    plc.thaw()
    wait_for(lambda: plc.writes(GATE[plc.kind])[-1].value == 0, "end of the pulse at the PLC")


def test_a_plc_that_is_gone_is_a_fault_at_once_and_works_again_when_it_is_back(plc: Plc, start: Start):
    thread = start(options_for(plc))
    before = fire_in_turn(thread, 1)
    plc.kill()
    wait_for(lambda: thread.fault is not None, "fault")
    [missed] = fire(thread, command(50))
    assert missed.error is not None
    assert missed.acknowledged_ns is not None
    assert missed.acknowledged_ns - missed.command.planned_ns < 100 * MS + TOLERANCE_MS * MS
    plc.start()
    wait_for(lambda: thread.fault is None, "connection after the restart")
    after = fire_in_turn(thread, 2, first=60)
    assert [fired.error for fired in after] == [None, None]
    check_pulses(plc, [*before, missed, *after])


def test_an_output_that_is_closed_in_a_pulse_is_off(plc: Plc, start: Start):
    thread = start(options_for(plc))
    thread.plan(command(1)._replace(pulse_ns=60_000 * MS))
    wait_for(lambda: plc.writes(GATE[plc.kind])[-1].value == 1, "pulse")
    thread.end()
    wait_for(lambda: plc.writes(GATE[plc.kind])[-1].value == 0, "end of the pulse")


def test_an_output_left_on_by_a_line_that_died_is_switched_off(modbus: Plc, start: Start):
    first = start(options_for(modbus))
    first.plan(command(1)._replace(pulse_ns=60_000 * MS))
    wait_for(lambda: modbus.writes("coil3")[-1].value == 1, "pulse")
    start(options_for(modbus))
    assert modbus.writes("coil3")[-1].value == 0


def test_a_register_takes_the_values_of_on_and_off_and_the_heartbeat_toggles_another(modbus: Plc, start: Start):
    options = ModbusActuatorOptions(
        kind="modbus",
        host="127.0.0.1",
        port=modbus.port,
        holding_register=7,
        on_value=500,
        off_value=3,
        heartbeat={"holding_register": 8, "period_ms": 50},
    )
    thread = start(options)
    thread.alive(now_ns())
    assert fire(thread, command(1))[0].error is None
    values = [write.value for write in modbus.writes("register7")]
    assert values == [3, 500, 3]
    wait_for(lambda: len(modbus.writes("register8")) >= 4, "beats")
    beats = [write.value for write in modbus.writes("register8")]
    assert beats == [number % 2 for number in range(1, len(beats) + 1)]


def test_a_plc_that_refuses_the_address_is_a_fault_that_says_so(modbus: Plc, start: Start):
    wrong = ModbusActuatorOptions(kind="modbus", host="127.0.0.1", port=modbus.port, coil=9_999)
    thread = start(wrong, connected=False)
    wait_for(lambda: "the device refuses" in (thread.fault or ""), "refusal")
    assert fire(thread, command(1))[0].error is not None


def test_a_wrong_password_of_an_opcua_server_is_a_fault(tmp_path: Path, start: Start):
    server = Plc(tmp_path, "opcua")
    server.start()
    try:
        wrong = options_for(server).model_copy(update={"username": "nobody"})
        thread = start(wrong, connected=False)
        wait_for(lambda: "not connected yet" not in (thread.fault or "not connected yet"), "refusal")
        assert fire(thread, command(1))[0].error is not None
        assert server.pulses("gate") == []
    finally:
        server.kill()


def test_every_reject_is_one_signed_post(receiver: Receiver, start: Start, tmp_path: Path):
    (tmp_path / "secret").write_text("s3cret\n")
    thread = start(WebhookActuatorOptions(kind="webhook", url=receiver.url, secret_file=tmp_path / "secret"))
    found = fire_in_turn(thread, 3)
    assert [fired.error for fired in found] == [None] * 3
    assert [json.loads(body)["seq"] for _, body in receiver.posts] == [0, 1, 2]
    for headers, body in receiver.posts:
        assert headers[SIGNATURE_HEADER] == signature("s3cret", headers[TIMESTAMP_HEADER], body)
        assert headers[SIGNATURE_HEADER] != signature("other", headers[TIMESTAMP_HEADER], body)
        assert float(headers[TIMESTAMP_HEADER]) == pytest.approx(time.time(), abs=30)


def test_a_receiver_that_refuses_or_dawdles_has_not_acknowledged(receiver: Receiver, start: Start):
    thread = start(WebhookActuatorOptions(kind="webhook", url=receiver.url))
    receiver.status = 500
    [refused] = fire(thread, command(1))
    assert "status 500" in (refused.error or "")
    receiver.status, receiver.dawdle_s = 204, 2.0
    [slow] = fire(thread, command(2))
    assert slow.error is not None
    assert slow.acknowledged_ns is not None
    assert slow.acknowledged_ns < slow.command.expires_ns + 500 * MS, "it does not wait for the answer"
    receiver.dawdle_s = 0
    assert fire(thread, command(3))[0].error is None


def test_a_receiver_that_is_gone_is_a_fault(receiver: Receiver, start: Start):
    thread = start(WebhookActuatorOptions(kind="webhook", url=receiver.url))
    receiver.close()
    wait_for(lambda: thread.fault is not None, "fault")
    assert fire(thread, command(1))[0].error is not None


def test_a_pin_is_high_for_the_pulse_and_its_heartbeat_toggles(start: Start):
    from gpiozero import Device
    from gpiozero.pins.mock import MockFactory

    Device.pin_factory = MockFactory()
    try:
        thread = start(GpioActuatorOptions(kind="gpio", pin=17, heartbeat={"pin": 27, "period_ms": 50}))
        thread.alive(now_ns())
        assert [fired.error for fired in fire_in_turn(thread, 2)] == [None, None]
        pins = [Device.pin_factory.pin(number) for number in (17, 27)]
        assert [state.state for state in pins[0].states] == [False, True, False, True, False]
        wait_for(lambda: len(pins[1].states) >= 5, "beats")
        with pytest.raises(ConfigError, match="pin 17"):
            GpioActuatorOptions(kind="gpio", pin=17).open()
        thread.end()
    finally:
        Device.pin_factory.reset()
        Device.pin_factory = None


def test_a_pin_that_is_active_low_is_low_for_the_pulse(start: Start):
    from gpiozero import Device
    from gpiozero.pins.mock import MockFactory

    Device.pin_factory = MockFactory()
    try:
        thread = start(GpioActuatorOptions(kind="gpio", pin=17, active_high=False))
        fire(thread, command(1))
        assert [state.state for state in Device.pin_factory.pin(17).states][-3:] == [True, False, True]
        thread.end()
    finally:
        Device.pin_factory.reset()
        Device.pin_factory = None
