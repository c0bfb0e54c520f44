"""A worker that receives frames it cannot read: their credit returns, their parts are settled, the others inspected."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq
from support.running import GATE, Line, belt, station

from stream.core.clock import local_clock, now_ns
from stream.model.bundle import load_bundle
from stream.transport.messages import (
    WIRE_VERSION,
    CreditGrant,
    FrameHeader,
    FrameStamps,
    Result,
    UnreadFrame,
    decode_to_capture,
)
from stream.transport.pipeline import SinkInbox
from stream.transport.sockets import Sockets

GENEROUS_S = 60.0
DEEP = b"\x81\xa1y" * 50_000 + b"\xc0"


def test_frames_that_a_worker_cannot_read_cost_no_credit_and_their_parts_are_settled(
    make_line: Any, parts_folder: Path, small_bundle: Path
):
    line: Line = make_line(
        {"cameras": {"top": belt(parts_folder)}, "stations": {"cap": station(small_bundle)}, "actuators": GATE}
    )
    bundle = load_bundle(small_bundle)
    width_px, height_px = bundle.info.spec.input_px
    pixels = np.zeros((height_px, width_px, 3), np.uint8).tobytes()
    sockets = Sockets(None)
    try:
        inbox = SinkInbox(sockets, line.config.announcements_address(), line.config.results_address())
        capture = sockets.bind(zmq.ROUTER, line.config.frames_address("top"), 1_000)
        line.start("infer", str(line.path), "--worker", "0")
        worker, grant = credit(capture, 0)
        assert grant.free > 0

        count = 3 * grant.free
        for seq in range(count):
            header = msgspec.to_builtins(frame(seq, bundle.sha256, width_px, height_px))
            broken = msgspec.msgpack.encode(header | {"deadline_ns": 2**63})
            capture.send_multipart([worker, bytes((WIRE_VERSION,)) + broken, pixels, b""])
        capture.send_multipart([worker, bytes((WIRE_VERSION,)) + DEEP, pixels, b""])
        _, after = credit(capture, count + 1)
        assert (after.received, after.free) == (count + 1, grant.free)

        good = msgspec.msgpack.encode(frame(count, bundle.sha256, width_px, height_px))
        capture.send_multipart([worker, bytes((WIRE_VERSION,)) + good, pixels, b""])
        unread: list[int] = []
        until_s = time.monotonic() + GENEROUS_S
        results: list[Result] = []
        while not results and time.monotonic() < until_s:
            for item in inbox.receive(100_000_000):
                if isinstance(item.message, UnreadFrame):
                    assert "deadline_ns" in item.message.detail
                    unread.append(item.message.seq)
                elif isinstance(item.message, Result):
                    results.append(item.message)
        assert unread == list(range(count))
        assert [result.frame.seq for result in results] == [count]
        assert line.metric("worker0", "patchline_messages_refused_total", socket="frames") == count + 1
    finally:
        sockets.close()


def credit(capture: zmq.Socket[bytes], received: int) -> tuple[bytes, CreditGrant]:
    """The worker's identity, and its first grant that counts so many frames and has room again."""
    until_s = time.monotonic() + GENEROUS_S
    while time.monotonic() < until_s:
        if capture.poll(100):
            identity, data = capture.recv_multipart()
            message = decode_to_capture(data)
            if isinstance(message, CreditGrant) and message.received == received:
                return identity, message
    raise AssertionError(f"no grant that counts {received} frames")


def frame(seq: int, bundle_sha256: str, width_px: int, height_px: int) -> FrameHeader:
    now = now_ns()
    return FrameHeader(
        station="cap",
        seq=seq,
        captured_ns=now,
        deadline_ns=now + 20_000_000_000,
        mode="triggered",
        bundle_sha256=bundle_sha256,
        height_px=height_px,
        width_px=width_px,
        region_px=(160, 120),
        siblings=1,
        epoch="the test",
        stamps=FrameStamps(now, now, now),
        clock=local_clock(),
    )
