"""`kind: mqtt`: a message on a topic; it may name the part."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, SecretStr

from stream.core.credentials import Tls, read_secret
from stream.core.options import ConfigPath, Host
from stream.devices.host_name import why_unreachable
from stream.devices.triggers.trigger import CommonTriggerOptions, TriggerEvent, TriggerSource, part_id_in

if TYPE_CHECKING:
    import paho.mqtt.client as mqtt

log = logging.getLogger(__name__)

_KEEPALIVE_S = 10


class MqttTriggerOptions(CommonTriggerOptions):
    """Every message on the topic is an event; its payload is the part's name, or JSON with a field `part_id`."""

    kind: Literal["mqtt"]
    host: Host
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    topic: Annotated[str, Field(min_length=1)]  # may hold wildcards
    username: str | None = None
    password: SecretStr | None = None
    password_file: ConfigPath | None = None
    tls: Tls | None = None

    def open(self) -> TriggerSource:
        """Return the trigger, which connects when it is read; raises ConfigError when a file cannot be used."""
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        # A clean session: messages sent while disconnected must not trigger long after.
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        client.connect_timeout = 3.0
        client.reconnect_delay_set(1, 2)
        if self.username is not None:
            password = read_secret("trigger.password", self.password, self.password_file)
            client.username_pw_set(self.username, password)
        if self.tls is not None:
            client.tls_set_context(self.tls.context("trigger.tls"))
        return _Subscription(self, client)


class _Subscription:
    def __init__(self, options: MqttTriggerOptions, client: mqtt.Client) -> None:
        self._options = options
        self._name = f"MQTT {options.host}:{options.port}"
        self._heard: queue.SimpleQueue[TriggerEvent] = queue.SimpleQueue()
        self._client = client
        client.on_connect = self._connected
        client.on_connect_fail = lambda *_: self._down(why_unreachable(options.host, "cannot be reached"))
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._subscribed
        client.on_message = self._message
        self.fault: str | None = f"{self._name}: not connected yet"

    def events(self, stop: threading.Event) -> Iterator[TriggerEvent]:
        """Yield a trigger for every message; the library connects again by itself."""
        self._client.connect_async(self._options.host, self._options.port, keepalive=_KEEPALIVE_S)
        self._client.loop_start()
        try:
            while not stop.is_set():
                try:
                    yield self._heard.get(timeout=0.1)
                except queue.Empty:
                    continue
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def _connected(self, client: mqtt.Client, _data: object, _flags: object, reason: object, _more: object) -> None:
        if getattr(reason, "is_failure", False):
            self._down(f"refuses the connection: {reason}")
            return
        client.subscribe(self._options.topic, qos=1)

    def _subscribed(self, _client: object, _data: object, _id: int, reasons: Sequence[object], _more: object) -> None:
        refused = [str(reason) for reason in reasons if getattr(reason, "is_failure", False)]
        if refused:
            self._down(f"refuses the topic {self._options.topic}: {', '.join(refused)}")
            return
        log.info("trigger: %s: listening to %s", self._name, self._options.topic)
        self.fault = None

    def _disconnected(self, _client: object, _data: object, _flags: object, reason: object, _more: object) -> None:
        self._down(f"connection lost: {reason}")

    def _down(self, why: str) -> None:
        fault = f"{self._name}: {why}"
        if fault != self.fault:
            log.warning("trigger: %s", fault)
        self.fault = fault

    def _message(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        at_ns = time.monotonic_ns()
        if message.retain:
            return  # of the past: the broker repeats it to everyone who subscribes
        try:
            part_id = part_id_in(bytes(message.payload))
        except ValueError as error:
            # The part is present even if its name cannot be read.
            log.warning("trigger: %s: a part without name: %s", self._name, error)
            part_id = None
        self._heard.put(TriggerEvent(at_ns, part_id))
