"""A JSON message by MQTT 5 for every pulse, and on another topic for every verdict."""

from __future__ import annotations

import json
import logging
import math
import secrets
import ssl
import threading
from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from stream.core.clock import now_ns
from stream.core.credentials import Tls, read_secret
from stream.core.options import ConfigPath, Options, PositiveMs
from stream.devices.actuators.actuator import RejectCommand, payload
from stream.devices.actuators.mqtt_connection import MqttConnection, NoSubscribers
from stream.devices.actuators.mqtt_verdicts import MqttVerdicts

log = logging.getLogger(__name__)

Topic = Annotated[str, Field(pattern=r"^[^+#\x00]{1,512}$")]

_CONNECT_S = 2.0
_ASK_EVERY_S = 0.25
_ANSWER_NS = 500_000_000
_STATE_EVERY_NS = 5_000_000_000
_RETRY_S = (0.05, 2.0)


class MqttHeartbeat(Options):
    """A topic that says 1 and 0 in turn while the line is well."""

    topic: Topic
    period_ms: PositiveMs = 500.0


class MqttOptions(Options):
    """Publish every pulse as a JSON message, QoS 1; the receiver times its pulse itself. Tell every verdict too."""

    kind: Literal["mqtt"]
    host: str
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    topic: Topic
    state_topic: Topic | None = None
    verdict_topic: Topic | None = None
    client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    username: str | None = None
    password: SecretStr | None = None
    password_file: ConfigPath | None = None
    tls: Tls | None = None
    heartbeat: MqttHeartbeat | None = None

    @model_validator(mode="after")
    def _every_topic_says_one_thing(self) -> Self:
        taken = {self.topic: "topic"}
        others = {"state_topic": self.said_on("state"), "verdict_topic": self.said_on("verdict")}
        if self.heartbeat is not None:
            others["heartbeat.topic"] = self.heartbeat.topic
        for name, topic in others.items():
            if topic in taken:
                raise ValueError(f"{name}: '{topic}' is already the {taken[topic]}; give each a topic of its own")
            taken[topic] = name
        return self

    def said_on(self, what: Literal["state", "verdict"]) -> str:
        """Return the topic of the line's state or of the verdicts."""
        return (self.state_topic if what == "state" else self.verdict_topic) or f"{self.topic}/{what}"

    def open(self) -> MqttOutput:
        """Begin to connect; raises ConfigError when a certificate or the password's file cannot be used."""
        return MqttOutput(self, *self._credentials())

    def open_verdicts(self) -> MqttVerdicts:
        """Prepare the verdicts' own connection; raises ConfigError as `open` does."""
        return MqttVerdicts(
            (self.host, self.used_port),
            self.said_on("verdict"),
            f"{self.client_id or new_client_id()}-verdicts",
            self.username,
            *self._credentials(),
        )

    @property
    def used_port(self) -> int:
        """`port`, or the usual one."""
        return self.port or (1883 if self.tls is None else 8883)

    def _credentials(self) -> tuple[str | None, ssl.SSLContext | None]:
        trusted = None if self.tls is None else self.tls.context("actuators: tls")
        return read_secret("actuators: password", self.password, self.password_file), trusted


def new_client_id() -> str:
    """Return a name for a client that was given none."""
    return f"patchline-{secrets.token_hex(6)}"


class MqttOutput:
    """The acknowledgement of this actuator is the broker's PUBACK, with at least one subscriber to the topic.

    A connection that fails or answers too late is never used again, nor is its client: paho would deliver
    after a reconnect what it could not before.
    """

    def __init__(self, options: MqttOptions, password: str | None, trusted: ssl.SSLContext | None) -> None:
        """Begin to connect."""
        self.heartbeat_ns = None if options.heartbeat is None else int(options.heartbeat.period_ms * 1e6)
        self._options = options
        self._password = password
        self._trusted = trusted
        self._where = f"mqtt {options.host}:{options.used_port} {options.topic}"
        self._state_topic = options.said_on("state")
        # The same for every connection: a new one takes over from one that the broker still holds for alive.
        self._client_id = options.client_id or new_client_id()
        self._sequence = 0
        self._fault: str | None = f"{self._where}: not connected yet"
        self._link: MqttConnection | None = None
        self._lost = threading.Event()
        self._ending = threading.Event()
        self._keeper = threading.Thread(target=self._keep_connected, name="mqtt-io", daemon=True)
        self._keeper.start()

    @property
    def fault(self) -> str | None:
        """Why there is no connection, or None."""
        return self._fault

    def check(self, until_ns: int) -> None:
        """Have the broker answer."""
        link = self._connected()
        self._ask(link, link.sign_of_life, until_ns)

    def begin(self, command: RejectCommand, _fired_ns: int) -> None:
        """Publish the message; a broker that holds on to it drops it after its window."""
        link = self._connected()
        self._sequence += 1
        body = json.dumps(payload(command, self._sequence))
        expiry_s = max(1, math.ceil(command.tolerance_ns / 1e9))
        self._ask(link, lambda: link.publish(self._options.topic, body, expiry_s), command.expires_ns)

    def end(self) -> None:
        """The message has said how long."""

    def beat(self, level: bool, until_ns: int) -> None:
        """Publish the heartbeat's level."""
        link, heartbeat = self._connected(), self._options.heartbeat
        assert heartbeat is not None
        try:
            self._ask(link, lambda: link.publish(heartbeat.topic, str(int(level)), 1), until_ns)
        except NoSubscribers as error:
            log.debug("%s", error)

    def close(self) -> None:
        """Say that the line is offline and disconnect."""
        link, self._link, self._fault = self._link, None, f"{self._where}: closed"
        self._ending.set()
        self._lost.set()
        if link is not None:
            try:
                self._say(link, "offline")
            except OSError as error:
                log.warning("%s: offline not said: %s", self._where, error)
            link.disconnect()
        self._keeper.join(timeout=0.5)

    def _connected(self) -> MqttConnection:
        link = self._link
        if link is None:
            raise ConnectionError(self._fault or f"{self._where}: no connection")
        return link

    def _ask(self, link: MqttConnection, question: Callable[[], int], until_ns: int) -> None:
        try:
            link.ask(question, until_ns)
        except NoSubscribers:
            raise
        except OSError as error:
            link.cut()  # here, not later: what it still holds back must not be sent
            self._lose(link, error)
            raise type(error)(f"{self._where}: {error}") from error

    def _lose(self, link: MqttConnection, error: Exception) -> None:
        if self._link is link:
            self._link, self._fault = None, f"{self._where}: {error or type(error).__name__}"
            self._lost.set()
            log.warning("%s", self._fault)

    def _say(self, link: MqttConnection, state: str) -> None:
        try:
            link.ask(lambda: link.publish(self._state_topic, state, None, retain=True), now_ns() + _ANSWER_NS)
        except NoSubscribers:
            return

    def _keep_connected(self) -> None:
        wait_s = _RETRY_S[0]
        while not self._ending.is_set():
            options = self._options
            link = MqttConnection(self._client_id, options.username, self._password, self._trusted, self._state_topic)
            try:
                link.connect(options.host, options.used_port, _CONNECT_S)
                self._say(link, "online")
                self._lost.clear()
                if not self._ending.is_set():
                    self._link, self._fault = link, None
                    log.info("%s: connected", self._where)
                wait_s = _RETRY_S[0]
                self._watch(link)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told and a new connection made
                self._lose(link, error)
                if not self._ending.is_set():
                    self._fault = f"{self._where}: {error or type(error).__name__}"
            finally:
                link.drop()
            self._ending.wait(wait_s)
            wait_s = min(2 * wait_s, _RETRY_S[1])

    def _watch(self, link: MqttConnection) -> None:
        """Ask for a sign of life again and again until the connection is given up."""
        say_ns = now_ns() + _STATE_EVERY_NS
        while not self._lost.wait(_ASK_EVERY_S):
            link.ask(link.sign_of_life, now_ns() + _ANSWER_NS)
            if now_ns() > say_ns:  # the last will of a connection before this one may have come in between
                self._say(link, "online")
                say_ns = now_ns() + _STATE_EVERY_NS
