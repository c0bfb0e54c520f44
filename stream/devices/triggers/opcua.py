"""`kind: opcua`: a Boolean node of an OPC UA server that is subscribed to; another node may hold the part's name."""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from stream.core.options import PositiveMs, PositiveS
from stream.devices.host_name import unknown_host
from stream.devices.plc.opcua import NodeId, OpcUaServer
from stream.devices.triggers.edge import RisingEdge
from stream.devices.triggers.trigger import CommonTriggerOptions, TriggerEvent, TriggerSource, clean_part_id

if TYPE_CHECKING:
    from asyncua.sync import Client, SyncNode

log = logging.getLogger(__name__)

#: Changes that the server keeps between two messages, so that a short pulse is not lost.
_QUEUE = 100
_LOOK_AFTER_S = 1.0


class OpcUaTriggerOptions(OpcUaServer, CommonTriggerOptions):
    """The node turning true is the event."""

    kind: Literal["opcua"]
    node: NodeId  # Boolean
    id_node: NodeId | None = None  # read at every event; None: parts have no name
    interval_ms: PositiveMs = 10.0  # publishing interval requested from the server
    timeout_ms: PositiveMs = 1000.0  # silence after which the connection counts as lost
    reconnect_s: PositiveS = 1.0  # pause before each attempt to connect again

    def open(self) -> TriggerSource:
        """Return the trigger, which connects when it is read; raises ConfigError without the password's file."""
        return _Subscription(self, self.read_password("trigger.password"))


class _Changes:
    """Receives the subscription's changes, in the library's thread."""

    def __init__(self) -> None:
        self.received: queue.SimpleQueue[tuple[object, int]] = queue.SimpleQueue()

    def datachange_notification(self, _node: object, value: object, _data: object) -> None:
        self.received.put((value, time.monotonic_ns()))


class _Subscription:
    def __init__(self, options: OpcUaTriggerOptions, password: str | None) -> None:
        self._options = options
        self._password = password
        self._name = options.where
        self.fault: str | None = f"{self._name}: not connected yet"

    def events(self, stop: threading.Event) -> Iterator[TriggerEvent]:
        """Yield a trigger whenever the node turns true, connecting again for as long as it takes."""
        edge = RisingEdge()
        while not stop.is_set():
            client: Client | None = None
            try:
                client = self._options.client(self._password, self._options.timeout_ms / 1e3)
                client.connect()
                yield from self._changes(client, edge, stop)
            except Exception as error:  # noqa: BLE001 - the library raises almost anything when a connection breaks
                edge.lost()
                why = str(error) or type(error).__name__
                if isinstance(error, socket.gaierror):
                    why = unknown_host(self._options.host, error)
                fault = f"{self._name}: {why}"
                if fault != self.fault:
                    log.warning("trigger: %s", fault)
                self.fault = fault
                stop.wait(self._options.reconnect_s)
            finally:
                if client is not None:
                    _close(client)

    def _changes(self, client: Client, edge: RisingEdge, stop: threading.Event) -> Iterator[TriggerEvent]:
        """Yield triggers over one connection; raises when it breaks."""
        changes = _Changes()
        watched = client.get_node(self._options.node)
        id_node = None if self._options.id_node is None else client.get_node(self._options.id_node)
        subscription = client.create_subscription(self._options.interval_ms, changes)
        subscription.subscribe_data_change(watched, queuesize=_QUEUE)
        look_s = time.monotonic() + _LOOK_AFTER_S
        while not stop.is_set():
            try:
                value, at_ns = changes.received.get(timeout=0.1)
            except queue.Empty:
                if time.monotonic() > look_s:
                    # A subscription falls silent without a word when its server is gone.
                    watched.read_value()
                    look_s = time.monotonic() + _LOOK_AFTER_S
                continue
            if value is None:  # bad quality: whether a part is there, the server does not know
                edge.lost()
                continue
            if not isinstance(value, bool):
                raise TypeError(f"{self._options.node} is no Boolean but {value!r}")
            event = edge.seen(value, at_ns)
            if self.fault is not None:  # the server's first message is the present state
                log.info("trigger: %s: listening to %s", self._name, self._options.node)
                self.fault = None
            if event is not None:
                yield event._replace(part_id=self._part_id(id_node))

    def _part_id(self, node: SyncNode | None) -> str | None:
        """Read the name; the part is there even if that fails."""
        if node is None:
            return None
        try:
            value = node.read_value()
        except Exception as error:  # noqa: BLE001
            log.warning("trigger: %s: a part without name: %s", self._name, error)
            return None
        return None if value is None else clean_part_id(str(value))


def _close(client: Client) -> None:
    try:
        client.disconnect()
    except Exception as error:  # noqa: BLE001 - it is gone already
        log.debug("closing: %s", error)
