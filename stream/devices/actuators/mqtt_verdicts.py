"""A JSON message by MQTT 5 for every verdict, over its own connection."""

from __future__ import annotations

import json
import math
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from stream.core.clock import now_ns
from stream.devices.actuators.mqtt_connection import MqttConnection, NoSubscribers
from stream.devices.actuators.verdict_channel import VERDICT_MAX_AGE_NS, VerdictReport

_CONNECT_S = 2.0


class MqttVerdicts:
    """Shares nothing with the rejects but the broker: no number of verdicts can stand before a reject."""

    def __init__(
        self,
        address: tuple[str, int],
        topic: str,
        client_id: str,
        username: str | None,
        password: str | None,
        trusted: ssl.SSLContext | None,
    ) -> None:
        """Prepare to connect to (host, port)."""
        self.where = f"mqtt {address[0]}:{address[1]} {topic}"
        self._address = address
        self._topic = topic
        self._credentials = (client_id, username, password, trusted)
        self._connection: MqttConnection | None = None

    def connect(self) -> None:
        """Connect; the last will about the line belongs to the connection of the rejects."""
        self._connection = MqttConnection(*self._credentials, will=None)
        self._connection.connect(*self._address, _CONNECT_S)

    def publish(self, reports: Sequence[VerdictReport], until_ns: int) -> None:
        """Publish them at once, then wait for each PUBACK; a topic without subscribers counts too."""
        connection = self._connection
        if connection is None:
            raise ConnectionError("no connection")
        numbers = [self._publish(connection, report) for report in reports]
        for number in numbers:
            with suppress(NoSubscribers):
                connection.answered(number, until_ns)

    def drop(self) -> None:
        """Give up the connection and its client, with what that still holds."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drop()

    def _publish(self, connection: MqttConnection, report: VerdictReport) -> int:
        left_s = (report.settled_ns + VERDICT_MAX_AGE_NS - now_ns()) / 1e9
        return connection.publish(self._topic, json.dumps(verdict_payload(report)), max(1, math.ceil(left_s)))


def verdict_payload(report: VerdictReport) -> dict[str, Any]:
    """Return the message of a verdict, ready for JSON; times are seconds of Unix time.

    It has neither a `command` nor the times of a reject, so that no receiver could take it for one.
    """
    part, captured_ns = report.part, report.captured_realtime_ns
    return {
        "kind": "verdict",
        "sequence": report.sequence,
        "station": part.station,
        "seq": part.seq,
        "part_id": part.part_id,
        "verdict": part.verdict,
        "cause": part.cause,
        "detail": part.detail,
        "score": part.score,
        "threshold": part.threshold,
        "within_spec": part.within_spec,
        "rule": part.rule,
        "decision": report.decision,
        "captured_at": None if captured_ns is None else round(captured_ns / 1e9, 6),
        "settled_at": round(report.settled_realtime_ns / 1e9, 6),
    }
