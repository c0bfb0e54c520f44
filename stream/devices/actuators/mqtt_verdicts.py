"""A JSON message by MQTT 5 for every verdict, over a connection of its own."""

from __future__ import annotations

import json
import math
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from stream.core.clock import now_ns
from stream.devices.actuators.mqtt_connection import MqttConnection, NoSubscribers
from stream.devices.actuators.verdict_channel import NEWS_NS, VerdictReport

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
        self._link: MqttConnection | None = None

    def connect(self) -> None:
        """Connect anew; the broker's last word about the line belongs to the connection of the rejects."""
        self._link = MqttConnection(*self._credentials, will=None)
        self._link.connect(*self._address, _CONNECT_S)

    def tell(self, reports: Sequence[VerdictReport], until_ns: int) -> None:
        """Publish them at once, then wait for each PUBACK; a topic without subscribers is told all the same."""
        link = self._link
        if link is None:
            raise ConnectionError("no connection")
        numbers = [self._publish(link, report) for report in reports]
        for number in numbers:
            with suppress(NoSubscribers):
                link.answered(number, until_ns)

    def drop(self) -> None:
        """Give up the connection and its client, with what that still holds."""
        link, self._link = self._link, None
        if link is not None:
            link.drop()

    def _publish(self, link: MqttConnection, report: VerdictReport) -> int:
        left_s = (report.settled_ns + NEWS_NS - now_ns()) / 1e9
        return link.publish(self._topic, json.dumps(verdict_payload(report)), max(1, math.ceil(left_s)))


def verdict_payload(report: VerdictReport) -> dict[str, Any]:
    """Return what is told of a verdict, ready for JSON; times are seconds of Unix time.

    It has neither an `action` nor the times of a reject, so that no receiver could take it for one.
    """
    captured_ns = report.captured_realtime_ns
    return {
        "kind": "verdict",
        "sequence": report.sequence,
        "station": report.station,
        "seq": report.seq,
        "part_id": report.part_id,
        "verdict": report.verdict,
        "cause": report.cause,
        "detail": report.detail,
        "score": report.score,
        "threshold": report.threshold,
        "decision": report.decision,
        "captured_at": None if captured_ns is None else round(captured_ns / 1e9, 6),
        "settled_at": round(report.settled_realtime_ns / 1e9, 6),
    }
