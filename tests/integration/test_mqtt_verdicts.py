"""Verdicts as messages through a real broker: of every part, beside the rejects and never instead of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY
from support.outputs import Broker, Listener, wait_for
from support.pictures import defective_picture, good_picture, write_picture
from support.programs import needs_program
from support.pulses import MS
from support.running import Line, belt, station

from stream.core.clock import now_ns
from stream.core.parts import PartResult
from stream.core.verdict import Cause, Verdict
from stream.devices.actuators.mqtt import MqttActuatorOptions
from stream.devices.actuators.verdict_channel import VERDICT_MAX_AGE_NS, VerdictReport
from stream.sink.verdict_thread import WAITING, VerdictThread

MakeLine = Callable[..., Line]
REJECT = {"actuator": "gate", "transport_delay_ms": 2500, "tolerance_ms": 200, "pulse_ms": 20}


@pytest.fixture
def parts_of_all_kinds(tmp_path: Path) -> Path:
    """Ten parts: the sixth is defective, the ninth black."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(10):
        picture = defective_picture(905) if number == 5 else good_picture(900 + number)
        write_picture(folder / f"part{number}.png", np.zeros_like(picture) if number == 8 else picture)
    return folder


@pytest.fixture
def thread(broker: Broker) -> Iterator[VerdictThread]:
    options = mqtt(broker)
    begun = VerdictThread("gate", MqttActuatorOptions(**options | {"topic": "line/reject"}).open_verdicts())
    begun.start()
    yield begun
    begun.end()
    begun.join(10)
    assert not begun.is_alive()


def mqtt(broker: Broker) -> dict[str, Any]:
    where = {"kind": "mqtt", "host": "127.0.0.1", "port": broker.port, "topic": "line/reject"}
    return where | {"username": "line", "password": "right", "tls": {"ca": str(broker.ca)}}


def line_with(make_line: MakeLine, broker: Broker, folder: Path, bundle: Path, parts: int, **options: Any) -> Line:
    return make_line(
        {
            "cameras": {"top": belt(folder, parts=parts)},
            "stations": {"cap": station(bundle, reject=REJECT | options)},
            "actuators": {"gate": mqtt(broker)},
        }
    )


def report(seq: int, age_ns: int = 0) -> VerdictReport:
    then_ns = time.time_ns() - age_ns
    moments = (then_ns, then_ns, now_ns() - age_ns)
    part = PartResult(station="cap", seq=seq, verdict=Verdict.GOOD, score=1.5, threshold=2.0)
    return VerdictReport(0, part, "pass", *moments)


def dropped() -> float:
    return REGISTRY.get_sample_value("patchline_dropped_total", {"what": "verdict"}) or 0.0


def depth() -> float | None:
    return REGISTRY.get_sample_value("patchline_queue_depth", {"queue": "verdicts-gate"})


def is_no_command(message: dict[str, Any]) -> bool:
    return message["kind"] == "verdict" and not {"command", "fire_at", "not_after", "pulse_ms"} & message.keys()


@needs_program("mosquitto", "mosquitto_passwd")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("gate", ["pulse_on_bad", "open_on_good"])
def test_over_three_hundred_parts_each_has_exactly_one_verdict_message_that_says_what_the_ledger_says(
    make_line: MakeLine, parts_of_all_kinds: Path, small_bundle: Path, broker: Broker, gate: str
):
    listener = Listener(broker, "line/#")
    line = line_with(make_line, broker, parts_of_all_kinds, small_bundle, 300, gate=gate)
    line.start()
    assert line.finish(150) == 0, line.output()
    events = {event.part.seq: event for event in line.events()}
    assert len(events) == 300
    assert {event.part.verdict for event in events.values()} == set(Verdict)
    wait_for(lambda: len(listener.payloads("line/reject/verdict")) >= 300, "verdicts")
    messages = [message for _, message in listener.commands("line/reject/verdict")]
    assert [message["sequence"] for message in messages] == list(range(1, 301))
    assert sorted(message["seq"] for message in messages) == sorted(events)
    for message in messages:
        event = events[message["seq"]]
        assert is_no_command(message)
        assert (message["station"], message["part_id"]) == ("cap", event.part.part_id)
        assert (message["verdict"], message["cause"], message["detail"]) == (
            event.part.verdict,
            event.part.cause,
            event.part.detail,
        )
        assert (message["score"], message["threshold"]) == (event.part.score, event.part.threshold)
        assert message["decision"] == event.decision
        assert message["captured_at"] == pytest.approx(event.captured_realtime_ns / 1e9, abs=1e-5)
        assert message["settled_at"] > message["captured_at"]
    assert messages[8]["cause"] == Cause.BAD_FRAME
    fires = {Verdict.GOOD} if gate == "open_on_good" else {Verdict.DEFECT, Verdict.UNINSPECTED}
    commands = [message for _, message in listener.commands("line/reject")]
    assert commands
    assert {message["verdict"] for message in commands} == fires
    assert "verdicts are dropped" not in line.output()
    listener.close()


@needs_program("mosquitto", "mosquitto_passwd")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("away", ["frozen", "killed"])
def test_while_the_broker_is_away_the_line_goes_on_and_what_comes_after_is_news_and_never_an_old_reject(
    make_line: MakeLine, parts_of_all_kinds: Path, small_bundle: Path, broker: Broker, away: str
):
    listener = Listener(broker, "line/#")
    line = line_with(make_line, broker, parts_of_all_kinds, small_bundle, 300)
    line.start()
    line.wait_for(lambda: len(listener.payloads("line/reject")) >= 4, "rejects before")
    broker.freeze() if away == "frozen" else broker.kill()
    line.wait_for(lambda: line.metric("sink", "patchline_actuator_up", actuator="gate") == 0, "the gauge")
    away_until_ns = time.monotonic_ns() + 2_500 * MS
    announced = line.announced("cap")
    line.wait_for(lambda: time.monotonic_ns() > away_until_ns, "the time away")
    assert line.announced("cap") > announced
    broker.thaw() if away == "frozen" else broker.start()
    assert line.finish(120) == 0, line.output()
    counts = line.ledger()["cap"]
    assert counts.closed
    assert (counts.announced, counts.pending) == (300, ())
    events = {event.part.seq: event for event in line.events()}
    heard = {}
    for _, message in listener.commands("line/reject/verdict"):
        assert is_no_command(message)
        assert message == heard.setdefault(message["sequence"], message), "a repetition is the same message"
        assert message["verdict"] == events[message["seq"]].part.verdict
    assert len({message["seq"] for message in heard.values()}) == len(heard)
    assert max(heard) == 300
    if away == "frozen":  # a listener that a new broker does not know yet is not told
        assert len(heard) == 300
    bad = [event for event in events.values() if event.part.verdict is not Verdict.GOOD]
    commands = listener.commands("line/reject")
    missed = line.output().count("failed reject:") + line.output().count("late reject:")
    assert missed >= 1
    assert {message["seq"] for _, message in commands} <= {event.part.seq for event in bad}
    assert len(commands) == len({message["seq"] for _, message in commands})
    for at_ns, message in commands:
        if at_ns > away_until_ns:
            offset_ns = time.time_ns() - time.monotonic_ns()
            assert at_ns + offset_ns <= message["not_after"] * 1e9 + 50 * MS
    assert "verdicts are dropped" not in line.output()
    listener.close()


@needs_program("mosquitto", "mosquitto_passwd")
def test_more_verdicts_than_may_wait_for_a_frozen_broker_are_dropped_and_counted_and_numbered(
    broker: Broker, thread: VerdictThread
):
    listener = Listener(broker, "line/#")
    thread.publish(report(0))
    wait_for(lambda: len(listener.payloads("line/reject/verdict")) == 1, "the first")
    broker.freeze()
    before = dropped()
    for seq in range(1, WAITING + 501):
        thread.publish(report(seq))
    assert dropped() - before == 500
    broker.thaw()
    wait_for(lambda: depth() == 0, "what waited", 60)
    thread.publish(report(WAITING + 501))
    newest = f'"seq": {WAITING + 501},'.encode()
    wait_for(lambda: newest in listener.messages[-1][2], "the newest")
    messages = [message for _, message in listener.commands("line/reject/verdict")]
    assert {message["seq"] for message in messages} == {*range(WAITING + 1), WAITING + 501}
    last = messages[-1]
    assert last["sequence"] == WAITING + 502
    assert dropped() - before == 500
    assert listener.payloads("line/reject") == []
    listener.close()


@needs_program("mosquitto", "mosquitto_passwd")
def test_what_is_no_news_any_more_is_dropped_and_counted(broker: Broker, thread: VerdictThread):
    listener = Listener(broker, "line/#")
    before = dropped()
    thread.publish(report(1, age_ns=VERDICT_MAX_AGE_NS + 1))
    thread.publish(report(2))
    wait_for(lambda: listener.payloads("line/reject/verdict"), "the second")
    assert [message["seq"] for _, message in listener.commands("line/reject/verdict")] == [2]
    assert dropped() - before == 1
    listener.close()


@needs_program("mosquitto", "mosquitto_passwd")
def test_verdicts_that_still_wait_when_the_line_ends_are_counted(broker: Broker, thread: VerdictThread):
    broker.kill()
    before = dropped()
    for seq in range(20):
        thread.publish(report(seq))
    thread.end()
    assert dropped() - before == 20


@needs_program("mosquitto", "mosquitto_passwd")
def test_verdicts_to_which_nobody_listens_are_told_and_not_kept(broker: Broker, thread: VerdictThread):
    before = dropped()
    thread.publish(report(1))
    wait_for(lambda: depth() == 0, "told")
    listener = Listener(broker, "line/#")
    thread.publish(report(2))
    wait_for(lambda: listener.payloads("line/reject/verdict"), "the second")
    assert [message["seq"] for _, message in listener.commands("line/reject/verdict")] == [2]
    assert dropped() == before
    listener.close()
