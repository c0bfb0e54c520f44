"""One connection to an MQTT broker, which is never used again once it has failed."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stream.core.clock import now_ns
from stream.devices.host_name import unknown_host

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_KEEPALIVE_S = 5
_MAX_MESSAGES = 1_000
_NO_MATCHING_SUBSCRIBERS, _UNSPECIFIED, _SESSION_TAKEN_OVER = 0x10, 0x80, 0x8E


class NoSubscribers(OSError):  # noqa: N818 - a state of the topic
    """The broker took the message and has no subscriber to give it to."""


def why_lost(code: Any, client_id: str) -> str:
    """Return why a connection was lost, by the broker's reason code; `client_id` is what it knew the client as."""
    if code.value == _SESSION_TAKEN_OVER:
        return f"connection lost: session taken over: another client uses client_id '{client_id}'; give each its own"
    if code.value == _UNSPECIFIED:  # also of brokers that give no reasons, as Mosquitto of a session taken over
        return (
            "connection lost: closed without a reason; if that repeats, does another client use client_id "
            f"'{client_id}'?"
        )
    return f"connection lost: {code}"


class MqttConnection:
    """A client of paho with its own network thread; its calls may come from several threads."""

    def __init__(
        self,
        client_id: str,
        username: str | None,
        password: str | None,
        trusted: ssl.SSLContext | None,
        will: str | None,
    ) -> None:
        """Prepare a client whose last will is `offline` on the topic `will`; None: it has none."""
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion

        self._news = threading.Condition()
        self._answers: dict[int, Any] = {}
        self._welcome: Any = None
        self._lost: str | None = None
        client: Client = Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv5, reconnect_on_failure=False
        )
        client.max_queued_messages_set(_MAX_MESSAGES)
        if will is not None:
            client.will_set(will, "offline", qos=1, retain=True)
        if username is not None:
            client.username_pw_set(username, password)
        if trusted is not None:
            client.tls_set_context(trusted)
        client.on_connect = lambda _c, _u, _f, code, _p: self._note(welcome=code)
        client.on_disconnect = lambda _c, _u, _f, code, _p: self._note(lost=why_lost(code, client_id))
        client.on_publish = lambda _c, _u, mid, code, _p: self._note(mid, code)
        client.on_unsubscribe = lambda _c, _u, mid, _codes, _p: self._note(mid, None)
        self._client = client

    def connect(self, host: str, port: int, timeout_s: float) -> None:
        """Connect; raises OSError when the broker does not answer or refuses."""
        self._client.connect_timeout = timeout_s
        try:
            self._client.connect(host, port, keepalive=_KEEPALIVE_S)
        except socket.gaierror as error:
            raise ConnectionError(unknown_host(host, error)) from None
        self._client.loop_start()
        with self._news:
            self._news.wait_for(lambda: self._welcome is not None or self._lost is not None, timeout_s)
            if self._welcome is None:
                raise ConnectionError(self._lost or "the broker does not answer")
            if self._welcome.is_failure:
                raise ConnectionError(f"the broker refuses: {self._welcome}")

    def publish(self, topic: str, text: str, expiry_s: int | None, *, retain: bool = False) -> int:
        """Send a message with QoS 1 and return its number; without `expiry_s` it does not expire."""
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if expiry_s is not None:
            properties.MessageExpiryInterval = expiry_s
        return self._client.publish(topic, text, qos=1, retain=retain, properties=properties).mid

    def check_liveness(self) -> int:
        """Ask the broker for something that changes nothing, and return the question's number."""
        _, number = self._client.unsubscribe("patchline/sign-of-life")
        return number or 0

    def ask(self, send: Callable[[], int], until_ns: int) -> None:
        """Send something, if there is still a connection and time for it, and return when it is answered.

        Raises:
            OSError: as for `answered`.
        """
        with self._news:
            if self._lost is not None:
                raise ConnectionError(self._lost)
        if now_ns() >= until_ns:
            raise TimeoutError("no time left")
        self.answered(send(), until_ns)

    def answered(self, number: int, until_ns: int) -> None:
        """Wait for the broker's answer to what was sent under `number`.

        Raises:
            TimeoutError: none by `until_ns`.
            NoSubscribers: the topic has no subscriber.
            OSError: the connection is lost, or the broker refuses.
        """
        with self._news:
            left_s = max(0.0, (until_ns - now_ns()) / 1e9)
            self._news.wait_for(lambda: number in self._answers or self._lost is not None, left_s)
            if number not in self._answers:
                raise ConnectionError(self._lost) if self._lost else TimeoutError("no answer in time")
            code = self._answers.pop(number)
        if code is None:
            return
        if code.value == _NO_MATCHING_SUBSCRIBERS:
            raise NoSubscribers("nobody subscribes to the topic")
        if code.is_failure:
            raise ConnectionError(f"the broker refuses: {code}")

    def cut(self) -> None:
        """Let nothing more out; never blocks or raises."""
        sock: Any = self._client.socket()
        if sock is not None:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)

    def disconnect(self) -> None:
        """Say goodbye, so that the last will is not published."""
        self._client.disconnect()

    def drop(self) -> None:
        """End the connection and its thread."""
        self.cut()
        self._client.loop_stop()

    def _note(
        self, number: int | None = None, code: Any = None, *, welcome: Any = None, lost: str | None = None
    ) -> None:
        with self._news:
            if number is not None:
                self._answers[number] = code
            self._welcome = self._welcome or welcome
            self._lost = self._lost or lost
            self._news.notify_all()
