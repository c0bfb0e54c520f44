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

from stream.core.backoff import Backoff
from stream.core.clock import now_ns
from stream.core.credentials import Tls, read_secret
from stream.core.options import ConfigPath, Host, Options, PositiveMs
from stream.devices.actuators.actuator import RejectCommand, payload
from stream.devices.actuators.mqtt_connection import MqttConnection, NoSubscribers
from stream.devices.actuators.mqtt_verdicts import MqttVerdicts

log = logging.getLogger(__name__)

Topic = Annotated[str, Field(pattern=r"^[^+#\x00]{1,512}$")]

#: Limit for a connection.
_CONNECT_S = 2.0
#: Interval of liveness checks.
_CHECK_EVERY_S = 0.25
#: Limit for the answer to a check.
_ANSWER_NS = 500_000_000
#: Interval at which the state `online` is published again.
_STATE_EVERY_NS = 5_000_000_000
#: Pauses before the next connection.
_BACKOFF = Backoff(first_s=0.05, longest_s=2.0)


class MqttHeartbeat(Options):
    """A topic with 1 and 0 in turn while the line is well."""

    topic: Topic
    period_ms: PositiveMs = 500.0


class MqttActuatorOptions(Options):
    """Publish every pulse as a JSON message, QoS 1; the receiver times its pulse itself. Publish every verdict too."""

    kind: Literal["mqtt"]
    host: Host
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
    def _every_topic_has_one_use(self) -> Self:
        taken = {self.topic: "topic"}
        others = {"state_topic": self.topic_of("state"), "verdict_topic": self.topic_of("verdict")}
        if self.heartbeat is not None:
            others["heartbeat.topic"] = self.heartbeat.topic
        for name, topic in others.items():
            if topic in taken:
                raise ValueError(f"{name}: '{topic}' is already the {taken[topic]}; give each its own topic")
            taken[topic] = name
        return self

    def topic_of(self, what: Literal["state", "verdict"]) -> str:
        """Return the topic of the line's state or of the verdicts."""
        return (self.state_topic if what == "state" else self.verdict_topic) or f"{self.topic}/{what}"

    def open(self) -> MqttActuator:
        """Begin to connect; raises ConfigError when a certificate or the password's file cannot be used."""
        return MqttActuator(self, *self._credentials())

    def open_verdicts(self) -> MqttVerdicts:
        """Prepare the verdicts' own connection; raises ConfigError as `open` does."""
        return MqttVerdicts(
            (self.host, self.used_port),
            self.topic_of("verdict"),
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
    """Return a random client id."""
    return f"patchline-{secrets.token_hex(6)}"


class MqttActuator:
    """The acknowledgement of this actuator is the broker's PUBACK, with at least one subscriber to the topic.

    A connection that fails or answers too late is never used again, nor is its client: paho would deliver
    after a reconnect what it could not before.
    """

    def __init__(self, options: MqttActuatorOptions, password: str | None, trusted: ssl.SSLContext | None) -> None:
        """Begin to connect."""
        self.heartbeat_ns = None if options.heartbeat is None else int(options.heartbeat.period_ms * 1e6)
        self._options = options
        self._password = password
        self._trusted = trusted
        self._where = f"mqtt {options.host}:{options.used_port} {options.topic}"
        self._state_topic = options.topic_of("state")
        # The same for every connection: a new one takes over from one that the broker still believes alive.
        self._client_id = options.client_id or new_client_id()
        self._sequence = 0
        self._fault: str | None = f"{self._where}: not connected yet"
        self._connection: MqttConnection | None = None
        self._lost = threading.Event()
        self._ending = threading.Event()
        self._keeper = threading.Thread(target=self._keep_connected, name="mqtt-io", daemon=True)
        self._keeper.start()

    @property
    def fault(self) -> str | None:
        """Why there is no connection, or None."""
        return self._fault

    def check(self, until_ns: int) -> None:
        """Check that the broker answers."""
        connection = self._connected()
        self._ask(connection, connection.check_liveness, until_ns)

    def begin(self, command: RejectCommand, _fired_ns: int) -> None:
        """Publish the message; a broker that holds on to it drops it after its window."""
        connection = self._connected()
        self._sequence += 1
        body = json.dumps(payload(command, self._sequence))
        expiry_s = max(1, math.ceil(command.tolerance_ns / 1e9))
        self._ask(connection, lambda: connection.publish(self._options.topic, body, expiry_s), command.expires_ns)

    def end(self) -> None:
        """Do nothing: the message has the length of the pulse."""

    def beat(self, level: bool, until_ns: int) -> None:
        """Publish the heartbeat's level."""
        connection, heartbeat = self._connected(), self._options.heartbeat
        assert heartbeat is not None
        try:
            self._ask(connection, lambda: connection.publish(heartbeat.topic, str(int(level)), 1), until_ns)
        except NoSubscribers as error:
            log.debug("%s", error)

    def close(self) -> None:
        """Publish that the line is offline, and disconnect."""
        connection, self._connection, self._fault = self._connection, None, f"{self._where}: closed"
        self._ending.set()
        self._lost.set()
        if connection is not None:
            try:
                self._publish_state(connection, "offline")
            except OSError as error:
                log.warning("%s: offline not published: %s", self._where, error)
            connection.disconnect()
        self._keeper.join(timeout=0.5)

    def _connected(self) -> MqttConnection:
        connection = self._connection
        if connection is None:
            raise ConnectionError(self._fault or f"{self._where}: no connection")
        return connection

    def _ask(self, connection: MqttConnection, question: Callable[[], int], until_ns: int) -> None:
        try:
            connection.ask(question, until_ns)
        except NoSubscribers:
            raise
        except OSError as error:
            connection.cut()  # here, not later: what it still holds back must not be sent
            self._lose(connection, error)
            raise type(error)(f"{self._where}: {error}") from error

    def _lose(self, connection: MqttConnection, error: Exception) -> None:
        if self._connection is connection:
            self._connection, self._fault = None, f"{self._where}: {error or type(error).__name__}"
            self._lost.set()
            log.warning("%s", self._fault)

    def _publish_state(self, connection: MqttConnection, state: str) -> None:
        try:
            connection.ask(
                lambda: connection.publish(self._state_topic, state, None, retain=True), now_ns() + _ANSWER_NS
            )
        except NoSubscribers:
            return

    def _keep_connected(self) -> None:
        failures = 0
        while not self._ending.is_set():
            options = self._options
            connection = MqttConnection(
                self._client_id, options.username, self._password, self._trusted, self._state_topic
            )
            try:
                connection.connect(options.host, options.used_port, _CONNECT_S)
                self._publish_state(connection, "online")
                self._lost.clear()
                if not self._ending.is_set():
                    self._connection, self._fault = connection, None
                    log.info("%s: connected", self._where)
                failures = 0
                self._watch(connection)
            except Exception as error:  # noqa: BLE001 - any error is reported and a new connection made
                self._lose(connection, error)
                if not self._ending.is_set():
                    self._fault = f"{self._where}: {error or type(error).__name__}"
            finally:
                connection.drop()
            failures += 1
            self._ending.wait(_BACKOFF.pause_s(failures))

    def _watch(self, connection: MqttConnection) -> None:
        """Check repeatedly that the broker answers, until the connection is given up."""
        next_state_ns = now_ns() + _STATE_EVERY_NS
        while not self._lost.wait(_CHECK_EVERY_S):
            connection.ask(connection.check_liveness, now_ns() + _ANSWER_NS)
            if now_ns() > next_state_ns:  # the last will of a connection before this one may have come in between
                self._publish_state(connection, "online")
                next_state_ns = now_ns() + _STATE_EVERY_NS
