"""The sink's side of the live feed, over real sockets."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from stream.core.parts import Part, PartResult
from stream.core.verdict import Cause, Verdict
from stream.line.config import LineConfig
from stream.model.bundle import load_bundle
from stream.sink.drift_monitor import DriftMonitor
from stream.sink.live_feed import LiveFeed
from stream.sink.outputs import OutputHealth
from stream.sink.policy.alarms import Alarm
from stream.sink.policy.ledger import Ledger
from stream.sink.policy.peer_health import PeerHealth
from stream.store.records import AlarmRecord, Event
from stream.transport.broadcast import FEED_WAITING, FeedClient
from stream.transport.messages import DriftState, LineState, SettledPart
from stream.transport.sockets import Received, Sockets

S = 1_000_000_000


@pytest.fixture
def config(tmp_path: Path) -> LineConfig:
    return LineConfig.model_validate(
        {
            "line": "test",
            "cameras": {"top": {"kind": "folder", "path": str(tmp_path)}},
            "stations": {"cap": {"camera": "top", "bundle": "cap.safetensors"}},
            "store": {"path": str(tmp_path / "store")},
        }
    )


@pytest.fixture
def drift_monitor(config: LineConfig, small_bundle: Path) -> DriftMonitor:
    return DriftMonitor(config, {"cap": load_bundle(small_bundle)})


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    with closing(Sockets(None)) as opened:
        yield opened


def event(seq: int, verdict: Verdict = Verdict.GOOD) -> Event:
    return Event(
        part=PartResult(station="cap", seq=seq, verdict=verdict, score=12.5, threshold=10.0, pixel_threshold=8.0),
        decision="pass",
        captured_realtime_ns=1_795_555_350_097_892_208,
        stages={"score": 1.5},
        total_ms=20.0,
        preview_jpeg=b"jpeg",
        patch_distances=np.arange(6, dtype=np.float16).reshape(2, 3),
    )


def states(client: FeedClient) -> list[LineState]:
    return [received.message for received in client.receive(timeout_ms=20) if isinstance(received.message, LineState)]


def listening(feed: LiveFeed, drift_monitor: DriftMonitor, client: FeedClient) -> int:
    """Wait until the feed has its listener; returns the time then."""
    now_ns, until_s = 0, time.monotonic() + 10
    while True:
        feed.publish_state(Ledger(), drift_monitor, [], [], [], now_ns := now_ns + S)
        if states(client):
            return now_ns
        assert time.monotonic() < until_s, "the listener was not noticed"


def receive(client: FeedClient, count: int) -> list[Received[SettledPart | LineState]]:
    received: list[Received[SettledPart | LineState]] = []
    until_s = time.monotonic() + 10
    while len(received) < count and time.monotonic() < until_s:
        received += client.receive(timeout_ms=100)
    return received


def test_a_part_arrives_with_its_preview_and_patch_distances(
    config: LineConfig, drift_monitor: DriftMonitor, sockets: Sockets
):
    feed, client = LiveFeed(sockets, config), FeedClient(sockets, config.feed_address())
    listening(feed, drift_monitor, client)
    feed.publish_part(event(7, Verdict.DEFECT), S)
    ((message, (preview_jpeg, values)),) = receive(client, 1)
    assert isinstance(message, SettledPart)
    assert (message.part.station, message.part.seq, message.part.verdict, message.part.score) == (
        "cap",
        7,
        Verdict.DEFECT,
        12.5,
    )
    assert (message.grid, preview_jpeg) == ((2, 3), b"jpeg")
    assert np.frombuffer(values, "<f2").tolist() == [0, 1, 2, 3, 4, 5]


def test_the_network_input_stays_out_of_the_feed(config: LineConfig, drift_monitor: DriftMonitor, sockets: Sockets):
    feed, client = LiveFeed(sockets, config), FeedClient(sockets, config.feed_address())
    listening(feed, drift_monitor, client)
    seen = np.full((4, 4, 3), 77, np.uint8)
    feed.publish_part(dataclasses.replace(event(7, Verdict.DEFECT), network_input=seen), S)
    ((message, attachments),) = receive(client, 1)
    assert isinstance(message, SettledPart)
    assert len(attachments) == 2
    assert not any(seen.tobytes() in attachment for attachment in attachments)


def test_distances_come_with_a_preview_only(config: LineConfig, drift_monitor: DriftMonitor, sockets: Sockets):
    feed, client = LiveFeed(sockets, config), FeedClient(sockets, config.feed_address())
    listening(feed, drift_monitor, client)
    feed.publish_part(event(0), S)
    feed.publish_part(dataclasses.replace(event(1), preview_jpeg=b""), S)
    parts = receive(client, 2)
    assert [received.attachments[0] for received in parts] == [b"jpeg", b""]
    assert [received.message.grid for received in parts if isinstance(received.message, SettledPart)] == [
        (2, 3),
        (0, 0),
    ]


def test_the_state_names_alarms_as_the_event_store_does(
    config: LineConfig, drift_monitor: DriftMonitor, sockets: Sockets
):
    feed, client = LiveFeed(sockets, config), FeedClient(sockets, config.feed_address())
    listening(feed, drift_monitor, client)
    feed.publish_part(event(1), 100 * S)
    feed.publish_part(event(2), 101 * S)
    feed.note_alarm(AlarmRecord(1_795_555_350_097_892_208, "actuator_fault", "gate", "no answer"))
    ledger = Ledger()
    for seq in range(5):
        ledger.announce(Part("cap", seq, 0, 1000 * S), Cause.TIMEOUT if seq == 3 else None, "", S)
    for seq, verdict in enumerate([Verdict.GOOD, Verdict.GOOD, Verdict.DEFECT]):
        ledger.result(Part("cap", seq, 0, 1000 * S), verdict, None, "", S)
    health = [
        PeerHealth("camera", "top", False, True, "camera top is down: stalled", None),
        PeerHealth("worker", "worker0", True, False, "", None),
    ]
    outputs = [
        OutputHealth.of("actuator", "gate", "no answer"),
        OutputHealth.of("actuator", "lamp", None),
        OutputHealth.of("encoder", "belt", "no count"),
    ]
    feed.publish_state(
        ledger, drift_monitor, health, outputs, [Alarm("actuator_fault", "gate", "no answer", 0)], 101 * S
    )
    state = receive(client, 3)[-1].message
    assert isinstance(state, LineState)
    station = state.stations["cap"]
    assert (station.announced, station.good, station.defect, station.pending) == (5, 2, 1, 1)
    assert station.uninspected == {"timeout": 1}
    assert (station.rate_hz, station.p50_ms, station.p99_ms) == (2.0, 20.0, 20.0)
    assert station.drift == DriftState(parts=0, window=config.stations["cap"].drift.window)
    assert (state.cameras["top"].up, state.cameras["top"].text) == (False, "camera top is down: stalled")
    assert state.workers["worker0"].up
    assert {name: output.up for name, output in state.actuators.items()} == {
        "gate": False,
        "lamp": True,
        "belt": False,
    }
    assert [(alarm.kind, alarm.subject, alarm.raised_realtime_ns) for alarm in state.alarms] == [
        ("actuator_fault", "gate", 1_795_555_350_097_892_208)
    ]


def test_without_a_listener_nothing_is_sent(config: LineConfig, drift_monitor: DriftMonitor, sockets: Sockets):
    feed = LiveFeed(sockets, config)
    other = Sockets(None)
    now_ns = listening(feed, drift_monitor, FeedClient(other, config.feed_address()))
    other.close()
    until_s = time.monotonic() + 10
    while feed._server.has_subscribers():
        assert time.monotonic() < until_s, "the end of the last listener was not noticed"
        time.sleep(0.01)
    feed.publish_state(Ledger(), drift_monitor, [], [], [], now_ns + S)
    feed.publish_part(event(1), now_ns + S)
    client = FeedClient(sockets, config.feed_address())
    listening(feed, drift_monitor, client)
    feed.publish_part(event(2), now_ns + 2 * S)
    parts = [received.message for received in receive(client, 1)]
    assert [part.part.seq for part in parts if isinstance(part, SettledPart)] == [2]


def test_a_listener_that_does_not_read_costs_the_sink_nothing_and_gets_no_backlog(
    config: LineConfig, drift_monitor: DriftMonitor, sockets: Sockets
):
    feed, client = LiveFeed(sockets, config), FeedClient(sockets, config.feed_address())
    listening(feed, drift_monitor, client)
    preview_jpeg = bytes(200_000)
    for seq in range(2_000):
        feed.publish_part(_large(seq, preview_jpeg), seq * S)
    assert 0 < len(_all_that_waits(client)) <= 4 * FEED_WAITING


def _large(seq: int, preview_jpeg: bytes) -> Event:
    return Event(
        part=PartResult(station="cap", seq=seq, verdict=Verdict.DEFECT),
        decision="reject",
        captured_realtime_ns=1,
        preview_jpeg=preview_jpeg,
    )


def _all_that_waits(client: FeedClient) -> list[Received[SettledPart | LineState]]:
    received: list[Received[SettledPart | LineState]] = []
    while more := client.receive(timeout_ms=500):
        received += more
    return received
