from __future__ import annotations

import re
import shutil
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import zmq
import zmq.auth
from prometheus_client import REGISTRY

from stream.core.clock import Clock
from stream.core.errors import TransportError
from stream.core.verdict import Cause, Verdict
from stream.transport.broadcast import Tap, TapListener
from stream.transport.messages import (
    WIRE_VERSION,
    Announcement,
    ClockReply,
    CreditGrant,
    EndOfStream,
    FrameHeader,
    FrameName,
    FrameStamps,
    Result,
    ResultStamps,
    TapFrame,
    encode,
)
from stream.transport.pipeline import FrameClients, FrameServer, SinkInbox, SinkOutbox
from stream.transport.sockets import Received, Sockets, make_keys

GENEROUS_S = 10.0
TURN_NS = 20_000_000
CLOCK = Clock("boot", 17)
PIXELS, PREVIEW_JPEG, GRID = bytes(range(256)) * 30, b"\xff\xd8 jpeg \x00\xff\xd9", bytes(1_568)
FRAME = FrameHeader(
    station="cap",
    seq=17,
    captured_ns=1_000,
    deadline_ns=2_000,
    mode="triggered",
    bundle_sha256="0f3c",
    height_px=40,
    width_px=64,
    region_px=(64, 64),
    siblings=2,
    epoch="top-1",
    stamps=FrameStamps(1_100, 1_200, 1_300),
    clock=CLOCK,
    part_id="A-17",
)
RESULT = Result(
    frame=FRAME,
    worker="worker0",
    verdict=Verdict.DEFECT,
    stamps=ResultStamps(1, 2, 3, 4, 5, 6, 7),
    clock=CLOCK,
    score=31.25,
    grid=(28, 28),
)
GRANT = CreditGrant("worker0", "top-1", received=3, free=2, idle=False)


def announcement(seq: int) -> Announcement:
    return Announcement("cap", seq, 1_000, 2_000, CLOCK, part_id=f"A-{seq}")


@pytest.fixture
def new_sockets() -> Iterator[Callable[..., Sockets]]:
    """Make the sockets of one process; all are closed together at the end."""
    made: list[Sockets] = []

    def make(keys: Path | None = None) -> Sockets:
        made.append(Sockets(keys))
        return made[-1]

    yield make
    closing = [threading.Thread(target=sockets.close) for sockets in made]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join(GENEROUS_S)
        assert not thread.is_alive(), "sockets give up after their two seconds"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: socket paths are limited to 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="pl"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=["ipc", "tcp"])
def address(request: pytest.FixtureRequest, folder: Path) -> Callable[[str], str]:
    """Free addresses by name, on Unix sockets and on TCP."""
    ports = {name: f"tcp://127.0.0.1:{port}" for name, port in zip("arf", free_ports(3), strict=True)}
    return lambda name: ports[name] if request.param == "tcp" else f"ipc://{folder}/{name}"


def free_ports(count: int) -> list[int]:
    opened = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in opened]
    for server in opened:
        server.close()
    return ports


def tcp() -> str:
    return f"tcp://127.0.0.1:{free_ports(1)[0]}"


def received(inbox: SinkInbox, count: int) -> list[Received]:
    """Receive until `count` messages have arrived."""
    messages: list[Received] = []
    until_s = time.monotonic() + GENEROUS_S
    while len(messages) < count:
        assert time.monotonic() < until_s, f"{len(messages)} of {count} messages have arrived"
        messages += inbox.receive(TURN_NS)
    return messages


def frames(clients: FrameClients, count: int) -> list[tuple[str, Received[FrameHeader]]]:
    messages: list[tuple[str, Received[FrameHeader]]] = []
    until_s = time.monotonic() + GENEROUS_S
    while len(messages) < count:
        assert time.monotonic() < until_s, f"{len(messages)} of {count} frames have arrived"
        messages += clients.receive(TURN_NS)
    return messages


def credit(server: FrameServer, count: int) -> list[tuple[bytes, CreditGrant]]:
    grants: list[tuple[bytes, CreditGrant]] = []
    until_s = time.monotonic() + GENEROUS_S
    while len(grants) < count:
        assert time.monotonic() < until_s, f"{len(grants)} of {count} grants have arrived"
        server.wait(timeout_ms=20)
        grants += server.receive_credit()
    return grants


def unreadable(name: str) -> float:
    return REGISTRY.get_sample_value("patchline_messages_refused_total", {"socket": name}) or 0.0


def test_announcements_and_results_arrive_in_order_with_their_attachments_untouched(new_sockets, address):
    inbox = SinkInbox(new_sockets(), address("a"), address("r"))
    capture = SinkOutbox(new_sockets(), address("a"), 100)
    worker = SinkOutbox(new_sockets(), address("r"), 100)
    sent = [announcement(seq) for seq in range(20)] + [EndOfStream("top", 20)]
    for message in sent:
        assert capture.send(message)
    assert worker.send(RESULT, [GRID, PREVIEW_JPEG])
    assert worker.send(RESULT, [b"", b""])
    messages = received(inbox, len(sent) + 2)
    assert [item.message for item in messages if not isinstance(item.message, Result)] == sent
    assert [item for item in messages if isinstance(item.message, Result)] == [
        Received(RESULT, [GRID, PREVIEW_JPEG]),
        Received(RESULT, [b"", b""]),
    ]


def test_an_announcement_that_waits_beside_its_result_is_read_before_it(new_sockets, folder):
    inbox = SinkInbox(new_sockets(), f"ipc://{folder}/a", f"ipc://{folder}/r")
    capture, worker = (SinkOutbox(new_sockets(), f"ipc://{folder}/{name}", 100) for name in "ar")
    assert worker.send(RESULT, [GRID, PREVIEW_JPEG])
    assert capture.send(announcement(0))
    received(inbox, 2)  # both are connected
    assert worker.send(RESULT, [GRID, PREVIEW_JPEG])
    assert capture.send(announcement(1))
    poll_both = zmq.Poller()
    for pull in (inbox._announcements, inbox._results):
        poll_both.register(pull, zmq.POLLIN)
    until_s = time.monotonic() + GENEROUS_S
    while len(poll_both.poll(20)) < 2:
        assert time.monotonic() < until_s
    assert [type(item.message) for item in inbox.receive(0)] == [Announcement, Result]


def test_a_sink_that_receives_nothing_waits_until_its_timeout(new_sockets, folder):
    inbox = SinkInbox(new_sockets(), f"ipc://{folder}/a", f"ipc://{folder}/r")
    for timeout_ns in (0, -5, 30_000_000):
        begun_ns = time.monotonic_ns()
        assert inbox.receive(timeout_ns) == []
        waited_ns = time.monotonic_ns() - begun_ns
        assert timeout_ns - 2_000_000 <= waited_ns < 5_000_000_000


def test_a_message_sent_before_the_sink_is_there_waits_for_it(new_sockets, address):
    capture = SinkOutbox(new_sockets(), address("a"), 100)
    assert capture.send(announcement(0))
    inbox = SinkInbox(new_sockets(), address("a"), address("r"))
    assert [item.message for item in received(inbox, 1)] == [announcement(0)]


def test_a_sink_that_comes_back_receives_what_was_sent_while_it_was_away(new_sockets, address):
    before = new_sockets()
    capture = SinkOutbox(new_sockets(), address("a"), 100)
    inbox = SinkInbox(before, address("a"), address("r"))
    assert capture.send(announcement(0))
    received(inbox, 1)
    before.close()
    inbox = SinkInbox(new_sockets(), address("a"), address("r"))
    assert capture.send(announcement(1))
    assert [item.message for item in received(inbox, 1)] == [announcement(1)]


def test_a_full_queue_is_reported_and_blocks_no_sender(new_sockets, folder):
    """Without a sink the queue takes as many messages as it may and refuses the rest; those it took arrive later."""
    capture = SinkOutbox(new_sockets(), f"ipc://{folder}/a", 5)
    begun_s = time.monotonic()
    taken = [capture.send(announcement(seq)) for seq in range(8)]
    assert time.monotonic() - begun_s < 5.0
    assert taken == [True] * 5 + [False] * 3
    inbox = SinkInbox(new_sockets(), f"ipc://{folder}/a", f"ipc://{folder}/r")
    assert [item.message.seq for item in received(inbox, 5)] == [0, 1, 2, 3, 4]
    until_s = time.monotonic() + GENEROUS_S
    while not capture.send(announcement(8)):
        assert time.monotonic() < until_s
    assert [item.message.seq for item in received(inbox, 1)] == [8]


GARBAGE = [
    [b""],
    [b"\x00"],
    [b"GET / HTTP/1.1\r\n\r\n"],
    [bytes((WIRE_VERSION,)) + b"\xc1\xff"],
    [bytes((WIRE_VERSION + 1,)) + encode(announcement(0))[1:]],
    [b"", encode(announcement(0))],
    [encode(GRANT)],
    [bytes(100_000), PIXELS],
]


@pytest.mark.parametrize("name", ["announcements", "results"])
def test_a_message_that_the_sink_cannot_read_is_counted_and_the_next_one_arrives(new_sockets, address, name: str):
    inbox = SinkInbox(new_sockets(), address("a"), address("r"))
    stranger = new_sockets().connect(zmq.PUSH, address(name[0]), 100)
    before = unreadable(name)
    for parts in GARBAGE:
        stranger.send_multipart(parts)
    stranger.send_multipart([encode(RESULT), GRID, PREVIEW_JPEG])
    assert received(inbox, 1) == [Received(RESULT, [GRID, PREVIEW_JPEG])]
    assert unreadable(name) == before + len(GARBAGE)


def test_a_frame_reaches_the_worker_it_was_sent_to_untouched(new_sockets, address):
    server = FrameServer(new_sockets(), address("f"))
    first, second = (FrameClients(new_sockets(), {"top": address("f")}) for _ in range(2))
    first.send_credit("top", GRANT)
    [(first_identity, grant)] = credit(server, 1)
    assert grant == GRANT
    second.send_credit("top", GRANT)
    [(second_identity, _)] = credit(server, 1)
    assert first_identity != second_identity

    assert server.send_frame(first_identity, FRAME, PIXELS, PREVIEW_JPEG)
    assert frames(first, 1) == [("top", Received(FRAME, [PIXELS, PREVIEW_JPEG]))]
    assert second.receive(TURN_NS) == []


def test_a_worker_serves_several_cameras_and_knows_the_camera_of_each_frame(new_sockets, folder):
    addresses = {camera: f"ipc://{folder}/{camera}" for camera in ("top", "side")}
    servers = {camera: FrameServer(new_sockets(), address) for camera, address in addresses.items()}
    worker = FrameClients(new_sockets(), addresses)
    for camera, server in servers.items():
        worker.send_credit(camera, GRANT)
        [(identity, _)] = credit(server, 1)
        assert server.send_frame(identity, FRAME, camera.encode(), PREVIEW_JPEG)
    assert sorted(frames(worker, 2)) == [
        ("side", Received(FRAME, [b"side", PREVIEW_JPEG])),
        ("top", Received(FRAME, [b"top", PREVIEW_JPEG])),
    ]


def test_a_frame_for_a_worker_that_has_vanished_is_refused(new_sockets, address):
    server = FrameServer(new_sockets(), address("f"))
    process = new_sockets()
    worker = FrameClients(process, {"top": address("f")})
    worker.send_credit("top", GRANT)
    [(identity, _)] = credit(server, 1)
    assert server.send_frame(identity, FRAME, PIXELS, PREVIEW_JPEG)
    frames(worker, 1)
    process.close()
    until_s = time.monotonic() + GENEROUS_S
    while server.send_frame(identity, FRAME, PIXELS, PREVIEW_JPEG):
        assert time.monotonic() < until_s
        time.sleep(0.005)
    assert server.send_frame(identity, FRAME, PIXELS, PREVIEW_JPEG) is False


def test_a_frame_for_an_unknown_worker_is_refused(new_sockets, folder):
    server = FrameServer(new_sockets(), f"ipc://{folder}/f")
    assert server.send_frame(b"nobody", FRAME, PIXELS, PREVIEW_JPEG) is False


def test_a_worker_that_reads_nothing_fills_its_queue_and_does_not_block_capture(new_sockets, folder):
    server = FrameServer(new_sockets(), f"ipc://{folder}/f")
    worker = FrameClients(new_sockets(), {"top": f"ipc://{folder}/f"})
    worker.send_credit("top", GRANT)
    [(identity, _)] = credit(server, 1)
    sent = 0
    while server.send_frame(identity, FRAME, bytes(2_000), b""):
        sent += 1
        assert sent < 50_000
    assert sent > 0
    assert len(frames(worker, sent)) == sent


def test_a_message_that_capture_cannot_read_is_counted_and_the_next_credit_arrives(new_sockets, address):
    server = FrameServer(new_sockets(), address("f"))
    stranger = new_sockets().connect(zmq.DEALER, address("f"), 100)
    before = unreadable("credit")
    garbage = [[b""], [b"\x07hello"], [encode(FRAME)], [b"", encode(GRANT)]]
    for parts in garbage:
        stranger.send_multipart(parts)
    stranger.send(encode(GRANT))
    assert [grant for _, grant in credit(server, 1)] == [GRANT]
    assert unreadable("credit") == before + len(garbage)


def test_a_message_that_a_worker_cannot_read_is_counted_and_the_next_frame_arrives(new_sockets, address):
    stranger = new_sockets().bind(zmq.ROUTER, address("f"), 100)
    worker = FrameClients(new_sockets(), {"top": address("f")})
    worker.send_credit("top", GRANT)
    assert stranger.poll(GENEROUS_S * 1e3)
    identity = stranger.recv_multipart()[0]
    before = unreadable("frames")
    garbage = [[b""], [b"\x07hello", PIXELS], [encode(GRANT)], [b"", encode(FRAME), PIXELS, PREVIEW_JPEG]]
    for parts in [*garbage, [encode(FRAME), PIXELS, PREVIEW_JPEG]]:
        stranger.send_multipart([identity, *parts])
    assert frames(worker, 1) == [("top", Received(FRAME, [PIXELS, PREVIEW_JPEG]))]
    assert unreadable("frames") == before + len(garbage)


def test_a_worker_may_send_credit_to_a_camera_whose_process_is_down(new_sockets, folder):
    worker = FrameClients(new_sockets(), {"top": f"ipc://{folder}/f"})
    for received_count in range(2_000):
        worker.send_credit("top", CreditGrant("worker0", "", received_count, 3, True))
    assert worker.receive(0) == []


def test_capture_wakes_up_for_credit_and_for_its_own_file_descriptor(new_sockets, folder):
    server = FrameServer(new_sockets(), f"ipc://{folder}/f")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server.wake_on(ours.fileno())
        theirs.send(b"a frame was read")
        begun_s = time.monotonic()
        server.wait(timeout_ms=GENEROUS_S * 1e3)
        assert time.monotonic() - begun_s < GENEROUS_S / 2
        ours.recv(100)
        worker = FrameClients(new_sockets(), {"top": f"ipc://{folder}/f"})
        worker.send_credit("top", GRANT)
        server.wait(timeout_ms=GENEROUS_S * 1e3)
        assert time.monotonic() - begun_s < GENEROUS_S / 2
        assert server.receive_credit() != []


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def other_keys(tmp_path: Path) -> Path:
    make_keys(tmp_path / "other")
    return tmp_path / "other"


def test_hosts_with_the_lines_keys_are_connected_over_tcp(new_sockets, keys: Path):
    announcements, results, offered = (f"tcp://127.0.0.1:{port}" for port in free_ports(3))
    inbox = SinkInbox(new_sockets(keys), announcements, results)
    line = new_sockets(keys)
    server, outbox = FrameServer(line, offered), SinkOutbox(line, announcements, 10)
    assert outbox.send(announcement(0))
    assert [item.message for item in received(inbox, 1)] == [announcement(0)]
    worker_host = new_sockets(keys)
    worker, answers = FrameClients(worker_host, {"top": offered}), SinkOutbox(worker_host, results, 10)
    worker.send_credit("top", GRANT)
    [(identity, _)] = credit(server, 1)
    assert server.send_frame(identity, FRAME, PIXELS, PREVIEW_JPEG)
    assert frames(worker, 1) == [("top", Received(FRAME, [PIXELS, PREVIEW_JPEG]))]
    assert answers.send(RESULT, [GRID, PREVIEW_JPEG])
    assert received(inbox, 1) == [Received(RESULT, [GRID, PREVIEW_JPEG])]


@pytest.mark.parametrize("stranger_has", ["other keys", "no keys", "the line's public key"])
def test_nothing_is_received_from_a_peer_without_the_lines_keys(
    new_sockets, keys: Path, other_keys: Path, stranger_has: str
):
    to = tcp()
    inbox = SinkInbox(new_sockets(keys), to, tcp())
    with zmq.Context() as context, context.socket(zmq.PUSH) as stranger:
        stranger.linger = 0
        if stranger_has == "other keys":
            theirs = zmq.auth.load_certificate(other_keys / "line.key_secret")
            stranger.curve_publickey, stranger.curve_secretkey = theirs
            stranger.curve_serverkey = theirs[0]
        elif stranger_has == "the line's public key":  # it knows the server's key, but does not hold its own
            stranger.curve_publickey, stranger.curve_secretkey = zmq.curve_keypair()
            stranger.curve_serverkey, _ = zmq.auth.load_certificate(keys / "line.key")
        stranger.connect(to)
        stranger.send(encode(announcement(666)))
        time.sleep(0.3)  # a head start; yet the line's own host is the first that is received
        friend = SinkOutbox(new_sockets(keys), to, 10)
        assert friend.send(announcement(1))
        assert [item.message.seq for item in received(inbox, 1)] == [1]
        assert friend.send(announcement(2))
        assert [item.message.seq for item in received(inbox, 1)] == [2]
        assert inbox.receive(200_000_000) == []


def test_an_impostor_of_the_sink_receives_nothing(new_sockets, keys: Path, other_keys: Path):
    """Listening on the sink's address is not enough to receive announcements."""
    to = tcp()
    impostor = new_sockets(other_keys)
    theirs = SinkInbox(impostor, to, tcp())
    capture = SinkOutbox(new_sockets(keys), to, 10)
    assert capture.send(announcement(1))
    assert theirs.receive(500_000_000) == []
    impostor.close()
    ours = SinkInbox(new_sockets(keys), to, tcp())
    assert [item.message.seq for item in received(ours, 1)] == [1]


def test_unix_sockets_need_no_keys_and_use_none(new_sockets, folder: Path, keys: Path):
    inbox = SinkInbox(new_sockets(keys), f"ipc://{folder}/a", f"ipc://{folder}/r")
    assert SinkOutbox(new_sockets(), f"ipc://{folder}/a", 10).send(announcement(0))
    assert [item.message for item in received(inbox, 1)] == [announcement(0)]


def test_keys_are_readable_by_their_owner_only_and_never_overwritten(tmp_path: Path):
    secret = make_keys(tmp_path / "keys")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    before = secret.read_bytes()
    with pytest.raises(TransportError, match=r"line\.key_secret exists already; remove it first"):
        make_keys(tmp_path / "keys")
    assert secret.read_bytes() == before


def test_two_lines_have_different_keys(keys: Path, other_keys: Path):
    assert (keys / "line.key").read_bytes() != (other_keys / "line.key").read_bytes()


def test_missing_keys_are_refused_with_the_command_that_makes_them(tmp_path: Path):
    with pytest.raises(TransportError, match=rf"transport\.keys: .*make the keys with `patchline keys {tmp_path}/k`"):
        Sockets(tmp_path / "k")


@pytest.mark.parametrize(
    "text",
    ["", "not a key", 'curve\n    public-key = "abc"\n    secret-key = "def"\n', 'curve\n    public-key = "abc"\n'],
    ids=["empty", "no key", "short keys", "no secret"],
)
def test_damaged_keys_are_refused_by_name(tmp_path: Path, text: str):
    (tmp_path / "line.key_secret").write_text(text)
    with pytest.raises(TransportError, match=r"transport\.keys: .*line\.key_secret"):
        Sockets(tmp_path).bind(zmq.PULL, tcp(), 1)


def test_the_public_key_alone_is_refused_as_a_secret(tmp_path: Path, keys: Path):
    (tmp_path / "line.key_secret").write_bytes((keys / "line.key").read_bytes())
    with pytest.raises(TransportError, match="holds no secret key"):
        Sockets(tmp_path)


def test_an_address_in_use_is_refused_and_stays_with_the_process_that_has_it(new_sockets, address):
    """Two lines with one address would receive each other's announcements."""
    inbox = SinkInbox(new_sockets(), address("a"), address("r"))
    with pytest.raises(TransportError, match="is another line running"):
        SinkInbox(new_sockets(), address("a"), address("r"))
    assert SinkOutbox(new_sockets(), address("a"), 10).send(announcement(0))
    assert [item.message for item in received(inbox, 1)] == [announcement(0)]


def test_the_socket_a_killed_process_left_behind_is_taken_over(new_sockets, folder: Path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "a"))
    assert (folder / "a").is_socket()
    inbox = SinkInbox(new_sockets(), f"ipc://{folder}/a", f"ipc://{folder}/r")
    assert SinkOutbox(new_sockets(), f"ipc://{folder}/a", 10).send(announcement(0))
    assert [item.message for item in received(inbox, 1)] == [announcement(0)]


def test_the_folder_of_the_sockets_is_made_for_its_owner_only(new_sockets, folder: Path):
    SinkInbox(new_sockets(), f"ipc://{folder}/run/a", f"ipc://{folder}/run/r")
    assert stat.S_IMODE((folder / "run").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "impossible",
    ["tcp://127.0.0.1:port", "tcp://127.0.0.1", f"ipc://{'x' * 120}", "udp:1"],
    ids=["no number", "no port", "too long", "no protocol"],
)
def test_an_impossible_address_is_refused_by_name_on_both_sides(new_sockets, impossible: str):
    sockets = new_sockets()
    with pytest.raises(TransportError, match=re.escape(impossible)):
        sockets.bind(zmq.PULL, impossible, 1)
    with pytest.raises(TransportError, match=re.escape(impossible)):
        sockets.connect(zmq.PUSH, impossible, 1)


def test_closing_gives_queued_messages_time_to_leave(new_sockets, address):
    inbox = SinkInbox(new_sockets(), address("a"), address("r"))
    worker = Sockets(None)
    outbox = SinkOutbox(worker, address("r"), 100)
    for _ in range(50):
        assert outbox.send(RESULT, [GRID, bytes(50_000)])
    closing = threading.Thread(target=worker.close)
    closing.start()
    assert len(received(inbox, 50)) == 50
    closing.join(GENEROUS_S)
    assert not closing.is_alive()


def test_closing_without_a_receiver_takes_no_more_than_its_two_seconds(folder: Path):
    sockets = Sockets(None)
    assert SinkOutbox(sockets, f"ipc://{folder}/a", 10).send(EndOfStream("top", 1))
    begun_s = time.monotonic()
    sockets.close()
    assert time.monotonic() - begun_s < 5.0


def test_a_cause_crosses_the_wire(new_sockets, folder: Path):
    inbox = SinkInbox(new_sockets(), f"ipc://{folder}/a", f"ipc://{folder}/r")
    overrun = Announcement("cap", 1, 1, 2, CLOCK, cause=Cause.OVERRUN, detail="16 parts waited; größer nicht")
    assert SinkOutbox(new_sockets(), f"ipc://{folder}/a", 10).send(overrun)
    assert [item.message for item in received(inbox, 1)] == [overrun]


TAP_FRAME = TapFrame("top", 17, 123_456_789, 2, 3, part_id="17")


def test_whole_frames_are_sent_only_while_a_listener_is_connected(new_sockets, address):
    tap_address = address("f")
    tap = Tap(new_sockets(), tap_address)
    tap.update_listeners()
    assert not tap.has_listeners
    listener = TapListener(new_sockets(), tap_address)
    until_s = time.monotonic() + GENEROUS_S
    while not tap.has_listeners and time.monotonic() < until_s:
        time.sleep(0.01)
        tap.update_listeners()
    assert tap.has_listeners
    assert tap.send(TAP_FRAME, bytes(18))
    assert listener.receive(int(GENEROUS_S * 1e3)) == Received(TAP_FRAME, [bytes(18)])
    assert listener.receive(0) is None


def test_a_listener_that_does_not_read_costs_frames_and_no_time(new_sockets, address):
    tap_address = address("f")
    tap, sockets = Tap(new_sockets(), tap_address), new_sockets()
    listener = TapListener(sockets, tap_address)
    until_s = time.monotonic() + GENEROUS_S
    while not tap.has_listeners and time.monotonic() < until_s:
        time.sleep(0.01)
        tap.update_listeners()
    pixels = bytes(1_000_000)
    assert not all(tap.send(TAP_FRAME, pixels) for _ in range(200)), "the loss is reported"
    assert listener.receive(int(GENEROUS_S * 1e3)) is not None
    sockets.close()
    while tap.has_listeners and time.monotonic() < until_s:
        time.sleep(0.01)
        tap.update_listeners()
    assert not tap.has_listeners


def test_a_frame_that_cannot_be_read_is_reported_with_its_name_as_far_as_it_tells(new_sockets, address):
    capture = new_sockets().bind(zmq.ROUTER, address("f"), 100)
    worker = FrameClients(new_sockets(), {"top": address("f")})
    worker.send_credit("top", GRANT)
    assert capture.poll(GENEROUS_S * 1e3)
    identity = capture.recv_multipart()[0]
    out_of_range = msgspec.msgpack.encode(msgspec.to_builtins(FRAME) | {"deadline_ns": 2**63})
    for header in (bytes((WIRE_VERSION,)) + out_of_range, b"\x07hello"):
        capture.send_multipart([identity, header, PIXELS, PREVIEW_JPEG])
    capture.send_multipart([identity, b"no frame: nothing follows it"])
    capture.send_multipart([identity, encode(FRAME), PIXELS, PREVIEW_JPEG])
    assert frames(worker, 1) == [("top", Received(FRAME, [PIXELS, PREVIEW_JPEG]))]
    first, second = worker.take_unreadable()
    assert (first.camera, first.name) == ("top", FrameName(FRAME.station, FRAME.seq, FRAME.epoch))
    assert "deadline_ns" in first.detail
    assert (second.camera, second.name) == ("top", None)
    assert worker.take_unreadable() == []


def test_capture_hears_from_the_sink_that_the_line_is_watched(new_sockets, address):
    server = FrameServer(new_sockets(), address("f"), lambda: CLOCK)
    inbox = SinkInbox(new_sockets(), address("a"), address("r"), {"top": address("f")})
    assert server.watching_ns is None
    begun_ns = time.monotonic_ns()
    inbox.send_watching()
    server.wait(GENEROUS_S * 1e3)
    assert server.receive_credit() == []
    assert server.watching_ns is not None
    assert begun_ns <= server.watching_ns <= time.monotonic_ns()


def test_capture_answers_workers_and_the_sink_what_time_it_is(new_sockets, address):
    server = FrameServer(new_sockets(), address("f"), lambda: CLOCK)
    worker = FrameClients(new_sockets(), {"top": address("f")})
    inbox = SinkInbox(new_sockets(), address("a"), address("r"), {"top": address("f")})
    asked_ns = {worker.ask_clock("top"), inbox.ask_clock("top")}
    replies: list[ClockReply] = []
    until_s = time.monotonic() + GENEROUS_S
    while len(replies) < 2 and time.monotonic() < until_s:
        server.wait(20)
        assert server.receive_credit() == []
        replies += [item.message for _, item in worker.receive(0)]
        inbox.receive(0)
        replies += [reply for camera, reply in inbox.clock_replies() if camera == "top"]
    assert {reply.asked_ns for reply in replies} == asked_ns
    assert all(reply.asked_ns <= reply.received_ns <= reply.answered_ns for reply in replies)
    assert all(reply.clock == CLOCK for reply in replies)


def test_the_sink_learns_why_a_message_was_refused(new_sockets, address):
    inbox = SinkInbox(new_sockets(), address("a"), address("r"))
    stranger = new_sockets().connect(zmq.PUSH, address("a"), 100)
    stranger.send(b"\x07hello")
    stranger.send(encode(announcement(0)))
    assert len(received(inbox, 1)) == 1
    assert inbox.take_refused() == {
        "announcements": f"the peer speaks wire version 7, this process {WIRE_VERSION}: "
        "run the same PatchLine release on every host"
    }
    assert inbox.take_refused() == {}
