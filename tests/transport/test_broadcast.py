"""The live feed and the taps: bounded whoever connects."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil
import pytest
import zmq
from prometheus_client import REGISTRY

from stream.transport.broadcast import MAX_RECEIVERS, FeedClient, FeedServer, Tap, TapListener
from stream.transport.messages import LineState, Listen, TapFrame, encode
from stream.transport.sockets import Received, Sockets

GENEROUS_S = 20.0
STATE = LineState("test", 1, {}, {}, {}, {}, [])


@pytest.fixture
def address() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="pl") as folder:
        yield f"ipc://{Path(folder) / 'f'}"


@pytest.fixture
def new_sockets() -> Iterator[Callable[[], Sockets]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Sockets(None)))


@contextmanager
def strange_context() -> Iterator[zmq.Context]:
    context = zmq.Context()
    try:
        yield context
    finally:
        context.destroy(0)


def wait_for(condition: Callable[[], object]) -> None:
    until_s = time.monotonic() + GENEROUS_S
    while not condition():
        assert time.monotonic() < until_s, "it never came"
        time.sleep(0.005)


def refused() -> float:
    return REGISTRY.get_sample_value("patchline_dropped_total", {"what": "receiver"}) or 0.0


def test_a_dashboard_receives_what_is_sent_while_it_listens(new_sockets, address):
    server, client = FeedServer(new_sockets(), address), FeedClient(new_sockets(), address)
    wait_for(server.has_subscribers)
    server.send(STATE)
    assert client.receive(int(GENEROUS_S * 1e3)) == [Received(STATE, [])]


def test_a_dashboard_finds_a_feed_that_starts_again(new_sockets, address):
    first = Sockets(None)
    server, client = FeedServer(first, address), FeedClient(new_sockets(), address)
    wait_for(server.has_subscribers)
    first.close()
    again = FeedServer(new_sockets(), address)
    wait_for(lambda: client.receive(10) or again.has_subscribers())
    again.send(STATE)
    assert client.receive(int(GENEROUS_S * 1e3)) == [Received(STATE, [])]


def test_any_number_of_subscriptions_costs_the_feed_no_memory(new_sockets, address):
    server, client = FeedServer(new_sockets(), address), FeedClient(new_sockets(), address)
    wait_for(server.has_subscribers)
    before = psutil.Process().memory_info().rss
    with strange_context() as context:
        subscriber = context.socket(zmq.XSUB)
        subscriber.linger = 0
        subscriber.connect(address)
        topics = 0
        while topics < 20_000:
            try:
                subscriber.send(b"\1" + b"%0200d" % topics, zmq.NOBLOCK)
            except zmq.Again:
                break
            topics += 1
        for _ in range(100):
            server.has_subscribers()
            server.send(STATE)
            client.receive(10)
        subscriber.close(0)
    assert psutil.Process().memory_info().rss - before < 20 * 2**20
    server.send(STATE)
    assert Received(STATE, []) in client.receive(int(GENEROUS_S * 1e3))


def test_more_receivers_than_there_is_room_for_are_refused_and_counted(new_sockets, address):
    server, before = FeedServer(new_sockets(), address), refused()
    others = new_sockets()
    clients = [FeedClient(others, address) for _ in range(MAX_RECEIVERS + 3)]
    wait_for(lambda: server.has_subscribers() and refused() == before + 3)
    server.send(STATE)
    served = [client for client in clients if client.receive(200)]
    assert len(served) == MAX_RECEIVERS


def test_a_long_message_to_the_feed_ends_its_connection_and_no_other(new_sockets, address):
    server, client = FeedServer(new_sockets(), address), FeedClient(new_sockets(), address)
    wait_for(server.has_subscribers)
    with strange_context() as context:
        stranger = context.socket(zmq.DEALER)
        stranger.linger = 0
        stranger.connect(address)
        for _ in range(20):
            stranger.send(bytes(1_000_000))
            server.has_subscribers()
        stranger.close(0)
    server.send(STATE)
    assert client.receive(int(GENEROUS_S * 1e3)) == [Received(STATE, [])]


@pytest.mark.parametrize("parts", [[b""], [b"\1topic"], [b"\xff", b"more"], [encode(Listen())[:3]]])
def test_what_cannot_be_read_makes_nobody_a_receiver(new_sockets, address, parts):
    server = FeedServer(new_sockets(), address)
    with strange_context() as context:
        stranger = context.socket(zmq.DEALER)
        stranger.linger = 0
        stranger.connect(address)
        before = unreadable()
        stranger.send_multipart(parts)
        wait_for(lambda: server.has_subscribers() or unreadable() == before + 1)
        assert not server.has_subscribers()
        stranger.close(0)


def test_every_listener_of_a_tap_has_the_whole_frame(new_sockets, address):
    frame = TapFrame("top", 17, 123, 2, 3)
    tap = Tap(new_sockets(), address)
    listeners = [TapListener(new_sockets(), address) for _ in range(2)]
    wait_for(lambda: tap.update_listeners() or len(tap._broadcaster._receivers) == 2)
    assert tap.has_listeners
    assert tap.send(frame, bytes(18))
    for listener in listeners:
        assert listener.receive(int(GENEROUS_S * 1e3)) == Received(frame, [bytes(18)])


def unreadable() -> float:
    return REGISTRY.get_sample_value("patchline_messages_refused_total", {"socket": "feed"}) or 0.0
