from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt import publish
from support.listening import free_port, listening
from support.programs import needs_program

from stream.core.errors import ConfigError
from stream.devices.triggers.mqtt import MqttTriggerOptions

pytestmark = needs_program("mosquitto")
TOPIC = "line/part"


class Broker:
    """mosquitto on a free port; it may be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.settings = folder / "mosquitto.conf"
        self.settings.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("mosquitto", path="/usr/local/bin:/usr/bin:/usr/sbin")
        assert program is not None
        self.process = subprocess.Popen([program, "-c", str(self.settings)], stderr=subprocess.DEVNULL)
        by_s = time.monotonic() + 10
        while time.monotonic() < by_s:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("mosquitto does not listen")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def say(self, payload: str | bytes | None, *, topic: str = TOPIC, retain: bool = False) -> None:
        publish.single(topic, payload, qos=1, retain=retain, hostname="127.0.0.1", port=self.port)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.stop()


def options(broker: Broker, **more: object) -> MqttTriggerOptions:
    return MqttTriggerOptions.model_validate(
        {"kind": "mqtt", "host": "127.0.0.1", "port": broker.port, "topic": TOPIC} | more
    )


def test_every_message_is_an_event_named_by_its_payload(broker: Broker):
    with listening(options(broker).open()) as listener:
        listener.well()
        payloads = ("A-1", '{"part_id": "B-2", "recipe": 7}', None, '{"recipe": 7}', "{broken", b"\xff\x00C")
        for count, payload in enumerate(payloads, start=1):
            broker.say(payload)
            listener.events(count)
    assert listener.part_ids == ["A-1", "B-2", None, None, None, "\N{REPLACEMENT CHARACTER}C"]


def test_messages_of_other_topics_and_of_the_past_are_no_events(broker: Broker):
    broker.say("old", retain=True)
    with listening(options(broker).open()) as listener:
        listener.well()
        broker.say("other", topic="line/other")
        broker.say("new")
        listener.events(1)
    assert listener.part_ids == ["new"]


def test_a_broker_that_goes_is_a_fault_until_it_is_back(broker: Broker):
    with listening(options(broker).open()) as listener:
        listener.well()
        broker.stop()
        listener.until(lambda: listener.signal.fault, "fault")
        assert str(broker.port) in str(listener.signal.fault)
        broker.start()
        listener.well()
        broker.say("again")
        listener.events(1)


def test_a_broker_that_is_not_there_yet_is_waited_for(broker: Broker):
    broker.stop()
    with listening(options(broker).open()) as listener:
        listener.until(lambda: "cannot be reached" in str(listener.signal.fault), "fault")
        broker.start()
        listener.well()


def test_a_missing_certificate_is_named(broker: Broker, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"trigger.tls.ca: .*absent.pem: no such file"):
        options(broker, tls={"ca": tmp_path / "absent.pem"}).open()
