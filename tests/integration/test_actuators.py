"""Outputs against real servers: a pulse is acknowledged within its time or it is never given."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from outputs import Broker, Listener, Plc, Receiver, wait_for
from pictures import defective_picture, good_picture, write_picture
from programs import needs_program
from running import Line, belt, station

from stream.actuators.command import RejectCommand
from stream.actuators.gpio import GpioOptions
from stream.actuators.modbus import ModbusOptions
from stream.actuators.mqtt import MqttOptions
from stream.actuators.opcua import OpcUaOptions
from stream.actuators.webhook import SIGNATURE_HEADER, TIMESTAMP_HEADER, WebhookOptions, signature
from stream.clock import now_ns
from stream.encoders.modbus import ModbusEncoderOptions
from stream.encoders.opcua import OpcUaEncoderOptions
from stream.errors import ConfigError
from stream.firing import ActuatorThread, Fired
from stream.messages import Verdict
from stream.processes.lifecycle import lock_role

MakeLine = Callable[..., Line]
Start = Callable[..., ActuatorThread]
MS = 1_000_000
TOLERANCE_MS = 200
PULSE_MS = 40


def command(seq: int, in_ms: float = 60, tolerance_ms: float = TOLERANCE_MS) -> RejectCommand:
    planned_ns = now_ns() + int(in_ms * MS)
    return RejectCommand(
        "cap", seq, f"part{seq}", Verdict.DEFECT, None, planned_ns, int(tolerance_ms * MS), PULSE_MS * MS, 2.5
    )


def fire(thread: ActuatorThread, *commands: RejectCommand) -> list[Fired]:
    """Plan the commands and return what became of them, when the output is off again."""
    for item in commands:
        thread.plan(item)
    wait_for(lambda: thread.idle, "end of the pulses")
    found = thread.outcomes()
    assert [fired.command for fired in found] == list(commands)
    return found


def fire_in_turn(thread: ActuatorThread, count: int, first: int = 0) -> list[Fired]:
    return [fire(thread, command(seq))[0] for seq in range(first, first + count)]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start actuator threads that end with the test."""
    threads: list[ActuatorThread] = []

    def begin(options: Any, *, connected: bool = True) -> ActuatorThread:
        thread = ActuatorThread("gate", options.open())
        thread.start()
        threads.append(thread)
        if connected:
            wait_for(lambda: thread.fault is None, f"connection: {thread.fault}")
        return thread

    yield begin
    for thread in threads:
        thread.end()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(params=["modbus", "opcua"])
def plc(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Plc]:
    server = Plc(tmp_path, request.param)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def modbus(tmp_path: Path) -> Iterator[Plc]:
    server = Plc(tmp_path, "modbus")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    server = Broker(tmp_path, tls=True)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


GATE = {"modbus": "coil3", "opcua": "gate"}


def options_for(plc: Plc, **more: Any) -> ModbusOptions | OpcUaOptions:
    if plc.kind == "modbus":
        return ModbusOptions(kind="modbus", host="127.0.0.1", port=plc.port, coil=3, **more)
    return OpcUaOptions(
        kind="opcua",
        url=f"opc.tcp://127.0.0.1:{plc.port}/plc",
        node="ns=2;s=gate",
        username="line",
        password="right",
        **more,
    )


def mqtt_options(broker: Broker, **more: Any) -> MqttOptions:
    fields: dict[str, Any] = {"username": "line", "password": "right", "tls": {"ca": broker.ca}}
    return MqttOptions(kind="mqtt", host="127.0.0.1", port=broker.port, topic="line/reject", **(fields | more))


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
    options = ModbusOptions(
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
    wrong = ModbusOptions(kind="modbus", host="127.0.0.1", port=modbus.port, coil=9_999)
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
        assert message["action"] == "reject"
        assert (message["station"], message["seq"], message["part_id"]) == ("cap", told.seq, f"part{told.seq}")
        assert (message["verdict"], message["score"], message["pulse_ms"]) == ("DEFECT", 2.5, PULSE_MS)
        assert message["fire_at"] == pytest.approx((told.planned_ns + offset_ns) / 1e9, abs=0.05)
        assert message["not_after"] - message["fire_at"] == pytest.approx(TOLERANCE_MS / 1e3, abs=1e-4)
        assert told.planned_ns <= at_ns
    assert [message["sequence"] for _, message in listener.commands("line/reject")] == [1, 2, 3, 4, 5]
    wait_for(lambda: len(listener.said("line/alive")) >= 4, "beats")
    assert listener.said("line/alive")[:3] == [b"1", b"0", b"1"]
    assert listener.said("line/reject/state")[0] == b"online"
    thread.end()
    wait_for(lambda: listener.said("line/reject/state")[-1] == b"offline", "goodbye")
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
    wait_for(lambda: listener.said("line/reject/state") == [b"online"], "online")
    thread._actuator._link.cut()  # as a cable does
    wait_for(lambda: b"offline" in listener.said("line/reject/state"), "last will")
    wait_for(lambda: listener.said("line/reject/state")[-1] == b"online", "online again")
    listener.close()


def test_a_password_comes_from_a_file_too(tmp_path: Path):
    options = MqttOptions(kind="mqtt", host="127.0.0.1", topic="t", username="line", password_file=tmp_path / "none")
    with pytest.raises(ConfigError, match="password_file"):
        options.open()


def test_every_reject_is_one_signed_post(receiver: Receiver, start: Start, tmp_path: Path):
    (tmp_path / "secret").write_text("s3cret\n")
    thread = start(WebhookOptions(kind="webhook", url=receiver.url, secret_file=tmp_path / "secret"))
    found = fire_in_turn(thread, 3)
    assert [fired.error for fired in found] == [None] * 3
    assert [json.loads(body)["seq"] for _, body in receiver.posts] == [0, 1, 2]
    for headers, body in receiver.posts:
        assert headers[SIGNATURE_HEADER] == signature("s3cret", headers[TIMESTAMP_HEADER], body)
        assert headers[SIGNATURE_HEADER] != signature("other", headers[TIMESTAMP_HEADER], body)
        assert float(headers[TIMESTAMP_HEADER]) == pytest.approx(time.time(), abs=30)


def test_a_receiver_that_refuses_or_dawdles_has_not_acknowledged(receiver: Receiver, start: Start):
    thread = start(WebhookOptions(kind="webhook", url=receiver.url))
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
    thread = start(WebhookOptions(kind="webhook", url=receiver.url))
    receiver.close()
    wait_for(lambda: thread.fault is not None, "fault")
    assert fire(thread, command(1))[0].error is not None


def test_a_pin_is_high_for_the_pulse_and_its_heartbeat_toggles(start: Start):
    from gpiozero import Device
    from gpiozero.pins.mock import MockFactory

    Device.pin_factory = MockFactory()
    try:
        thread = start(GpioOptions(kind="gpio", pin=17, heartbeat={"pin": 27, "period_ms": 50}))
        thread.alive(now_ns())
        assert [fired.error for fired in fire_in_turn(thread, 2)] == [None, None]
        pins = [Device.pin_factory.pin(number) for number in (17, 27)]
        assert [state.state for state in pins[0].states] == [False, True, False, True, False]
        wait_for(lambda: len(pins[1].states) >= 5, "beats")
        with pytest.raises(ConfigError, match="pin 17"):
            GpioOptions(kind="gpio", pin=17).open()
        thread.end()
    finally:
        Device.pin_factory.reset()
        Device.pin_factory = None


def test_a_pin_that_is_active_low_is_low_for_the_pulse(start: Start):
    from gpiozero import Device
    from gpiozero.pins.mock import MockFactory

    Device.pin_factory = MockFactory()
    try:
        thread = start(GpioOptions(kind="gpio", pin=17, active_high=False))
        fire(thread, command(1))
        assert [state.state for state in Device.pin_factory.pin(17).states][-3:] == [True, False, True]
        thread.end()
    finally:
        Device.pin_factory.reset()
        Device.pin_factory = None


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
    assert line.finish(150) == 0, line.said()
    counts = line.ledger()["cap"]
    assert counts.closed
    assert (counts.announced, counts.pending) == (500, ())
    bad = [event for event in line.events() if event.verdict is not Verdict.GOOD]
    assert {event.seq for event in bad} >= set(range(5, 500, 10))
    commands = listener.commands("line/reject")
    missed = line.said().count("failed reject:") + line.said().count("late reject:")
    assert len(commands) == len({message["seq"] for _, message in commands})
    assert {message["seq"] for _, message in commands} <= {event.seq for event in bad}
    assert len(commands) + missed == len(bad)
    assert missed <= len(bad) // 10
    offset_ns = time.time_ns() - time.monotonic_ns()
    captured_ns = {event.seq: event.captured_realtime_ns - offset_ns for event in bad}
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
    modbus.thaw()
    thawed_ns = time.monotonic_ns()
    line.wait_for(lambda: modbus.pulses("coil3") and modbus.pulses("coil3")[-1][0] > thawed_ns, "rejects after")
    assert line.finish(120) == 0, line.said()
    counts = line.ledger()["cap"]
    assert counts.closed
    assert (counts.announced, counts.pending) == (240, ())
    bad = [event for event in line.events() if event.verdict is not Verdict.GOOD]
    pulses = modbus.pulses("coil3")
    missed = line.said().count("failed reject:") + line.said().count("late reject:")
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
    assert line.finish(60) == 1, line.said()
    assert "the line is to be stopped: actuator gate" in line.said()
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
    assert line.finish(90) == 0, line.said()
    good = [event for event in line.events() if event.verdict is Verdict.GOOD]
    assert len(good) < 40
    missed = line.said().count("failed reject:") + line.said().count("late reject:")
    offset_ns = time.time_ns() - time.monotonic_ns()
    moments = [event.captured_realtime_ns - offset_ns + 2_500 * MS for event in good]
    opened = [on_ns for on_ns, _ in modbus.pulses("coil3")]
    # Two that come late may become one; none belongs to another part.
    assert len(good) * 0.8 <= len(opened) + missed <= len(good)
    for on_ns in opened:
        assert any(-20 * MS <= on_ns - moment <= 220 * MS for moment in moments)


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
    assert line.finish(90) == 0, line.said()
    assert line.ledger()["cap"].closed
    bad = {event.seq: event.captured_realtime_ns for event in line.events() if event.verdict is not Verdict.GOOD}
    rejects = line.rejects()
    missed = line.said().count("late reject:")
    assert {reject["seq"] for reject in rejects} <= set(bad)
    assert len(rejects) + missed == len(bad)
    assert missed <= len(bad) // 5
    offset_ns = time.time_ns() - time.monotonic_ns()
    for reject in rejects:
        assert 2_450 * MS <= reject["actual_ns"] - (bad[reject["seq"]] - offset_ns) <= 2_750 * MS


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
    assert line.finish(90) == 0, line.said()
    assert line.ledger()["cap"].closed
    bad = [event for event in line.events() if event.verdict is not Verdict.GOOD]
    assert line.rejects() == [], "the belt stood"
    assert line.said().count("late reject:") == len(bad) > 0
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
