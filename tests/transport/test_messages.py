from __future__ import annotations

import time
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.clock import Clock, local_clock, to_local_ns
from stream.core.errors import WireError
from stream.core.parts import PartResult
from stream.core.verdict import Cause, Verdict
from stream.transport.messages import (
    WIRE_VERSION,
    ActiveAlarm,
    Announcement,
    CameraStatus,
    CreditGrant,
    DriftState,
    EndOfStream,
    FrameHeader,
    FrameStamps,
    LineState,
    PeerState,
    Refusal,
    ReloadStatus,
    Result,
    ResultStamps,
    SettledPart,
    StationState,
    TapFrame,
    ToCapture,
    ToDashboard,
    ToListener,
    ToSink,
    ToWorker,
    WantedBundles,
    WorkerStatus,
    decode_to_capture,
    decode_to_dashboard,
    decode_to_listener,
    decode_to_sink,
    decode_to_worker,
    encode,
)

CLOCK = Clock("9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d", 1_700_000_000_123_456_789)

FRAME = FrameHeader(
    station="cap",
    seq=2**40,
    captured_ns=123_456_789_012_345,
    deadline_ns=123_456_939_012_345,
    mode="triggered",
    bundle_sha256="ab" * 32,
    height_px=224,
    width_px=224,
    siblings=2,
    epoch="camera-7",
    stamps=FrameStamps(123_456_789_100_000, 123_456_789_200_000, 123_456_790_000_000),
    clock=CLOCK,
    part_id="Flasche 17 ü",
)

RESULT = Result(
    frame=FRAME,
    worker="worker0",
    verdict=Verdict.DEFECT,
    stamps=ResultStamps(1, 2, 3, 4, 5, 6, 7),
    clock=CLOCK,
    score=12.5,
    threshold=10.25,
    pixel_threshold=8.125,
    grid=(28, 28),
)

TO_SINK = [
    Announcement("cap", 0, 1, 2, CLOCK),
    Announcement("cap", 1, 1, 2, CLOCK, part_id="17", cause=Cause.OVERRUN, detail="the backlog of 16 was full"),
    CameraStatus("top", pid=4711, first_seq=3, up=True, last_frame_ns=99, clock=CLOCK),
    CameraStatus("top", pid=4711, first_seq=3, up=False, last_frame_ns=None, clock=CLOCK, detail="stalled"),
    EndOfStream("top", 1000),
    WorkerStatus("worker0", 4712, "openvino"),
    ReloadStatus("cap", "ab" * 32, "cd" * 32),
    ReloadStatus("cap", "ab" * 32, "", reason="truncated"),
    RESULT,
    msgspec.structs.replace(
        RESULT, verdict=Verdict.UNINSPECTED, cause=Cause.WORKER_ERROR, detail="…", score=None, grid=(0, 0)
    ),
]
GRANT = CreditGrant("worker0", "camera-7", received=12, free=3, idle=True)
GRANT_WITH_BUNDLES = msgspec.structs.replace(
    GRANT, accepts={"cap": ("ab" * 32, "cd" * 32), "neck": ()}, refused={"cap": Refusal("ef" * 32, 2, "damaged")}
)

SETTLED = SettledPart(
    part=PartResult(
        station="cap",
        seq=2**40,
        verdict=Verdict.UNINSPECTED,
        part_id="Flasche 17 ü",
        cause=Cause.TIMEOUT,
        score=12.5,
        threshold=10.25,
        pixel_threshold=8.125,
    ),
    decision="reject",
    captured_realtime_ns=1_700_000_000_123_456_789,
    stages={"search": 1.5},
    total_ms=20.25,
    grid=(28, 28),
)
STATE = LineState(
    line="bottling-3",
    at_realtime_ns=1_700_000_000_123_456_789,
    stations={
        "cap": StationState(9, 4, 2, {"timeout": 1}, 2, 9.5, 20.5, None, DriftState(50, 50, {"score": 0.5}, ("score",)))
    },
    cameras={"top": PeerState(False, "stalled")},
    workers={"worker0": PeerState(True)},
    actuators={},
    alarms=[ActiveAlarm("camera_down", "top", 1_700_000_000_123_456_789, "stalled")],
)

WAYS = [
    *((message, decode_to_sink) for message in TO_SINK),
    (FRAME, decode_to_worker),
    (WantedBundles({"cap": ("ab" * 32,), "neck": ("cd" * 32, "ef" * 32)}), decode_to_worker),
    (GRANT, decode_to_capture),
    (GRANT_WITH_BUNDLES, decode_to_capture),
    (TapFrame("top", 17, 123_456_789, 480, 640, part_id="17"), decode_to_listener),
    (SETTLED, decode_to_dashboard),
    (STATE, decode_to_dashboard),
]
NAMES = [f"{type(message).__name__}-{index}" for index, (message, _) in enumerate(WAYS)]
DECODERS = [decode_to_sink, decode_to_worker, decode_to_capture, decode_to_listener, decode_to_dashboard]


@pytest.mark.parametrize(("message", "decode"), WAYS, ids=NAMES)
def test_a_message_arrives_as_it_was_sent(message, decode):
    arrived = decode(encode(message))
    assert arrived == message
    assert type(arrived) is type(message)


def test_every_kind_of_message_is_among_those_tested_above():
    kinds = {*get_args(ToSink), *get_args(ToWorker), ToCapture, ToListener, *get_args(ToDashboard)}
    assert {type(message) for message, _ in WAYS} == kinds


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_crosses_the_wire(cause: Cause):
    message = Announcement("cap", 5, 1, 2, CLOCK, cause=cause)
    assert decode_to_sink(encode(message)).cause is cause


@pytest.mark.parametrize(("message", "decode"), WAYS, ids=NAMES)
@pytest.mark.parametrize("version", [WIRE_VERSION - 1, WIRE_VERSION + 1, 255])
def test_another_version_is_refused_with_both_versions_named(message, decode, version: int):
    data = bytes((version,)) + encode(message)[1:]
    with pytest.raises(WireError, match=rf"wire version {version}, this process {WIRE_VERSION}"):
        decode(data)


@pytest.mark.parametrize("decode", DECODERS)
def test_an_empty_message_is_refused(decode):
    with pytest.raises(WireError, match="empty"):
        decode(b"")


@pytest.mark.parametrize(("message", "decode"), WAYS, ids=NAMES)
def test_a_message_cut_short_anywhere_is_refused(message, decode):
    data = encode(message)
    for length in range(len(data)):
        with pytest.raises(WireError):
            decode(data[:length])


@pytest.mark.parametrize(("message", "decode"), WAYS, ids=NAMES)
def test_bytes_after_a_message_are_refused(message, decode):
    with pytest.raises(WireError):
        decode(encode(message) + b"\x00")


@pytest.mark.parametrize("decode", DECODERS)
@given(garbage=st.binary(max_size=60))
def test_garbage_is_refused(decode, garbage: bytes):
    with pytest.raises(WireError):
        decode(bytes((WIRE_VERSION,)) + garbage)


@pytest.mark.parametrize(("message", "decode"), WAYS, ids=NAMES)
def test_a_damaged_byte_raises_nothing_but_a_wire_error(message, decode):
    data = encode(message)
    refused = 0
    for place in range(1, len(data)):
        damaged = data[:place] + bytes((data[place] ^ 0xFF,)) + data[place + 1 :]
        try:
            decode(damaged)  # a damaged number or text may still be valid
        except WireError:
            refused += 1
    assert refused > len(data) / 2


@pytest.mark.parametrize(
    ("message", "decode"),
    [
        (GRANT, decode_to_sink),
        (FRAME, decode_to_sink),
        (RESULT, decode_to_worker),
        (TO_SINK[0], decode_to_capture),
        (RESULT, decode_to_dashboard),
    ],
)
def test_a_message_for_another_receiver_is_refused(message, decode):
    with pytest.raises(WireError):
        decode(encode(message))


def test_a_cause_outside_the_closed_list_is_refused():
    fields = {
        "type": "announcement",
        "station": "cap",
        "seq": 1,
        "captured_ns": 1,
        "deadline_ns": 2,
        "clock": ["boot", 0],
        "cause": "unheard_of",
    }
    with pytest.raises(WireError, match="unheard_of"):
        decode_to_sink(bytes((WIRE_VERSION,)) + msgspec.msgpack.encode(fields))


@pytest.mark.parametrize("wrong", [{"seq": "one"}, {"station": 7}, {"clock": ["boot"]}, {"deadline_ns": None}])
def test_a_field_of_the_wrong_type_is_refused_and_named(wrong: dict[str, object]):
    fields = {
        "type": "announcement",
        "station": "cap",
        "seq": 1,
        "captured_ns": 1,
        "deadline_ns": 2,
        "clock": ["b", 0],
    }
    with pytest.raises(WireError, match=next(iter(wrong))):
        decode_to_sink(bytes((WIRE_VERSION,)) + msgspec.msgpack.encode(fields | wrong))


def test_a_missing_field_is_refused_and_named():
    with pytest.raises(WireError, match="next_seq"):
        decode_to_sink(bytes((WIRE_VERSION,)) + msgspec.msgpack.encode({"type": "end", "camera": "top"}))


def test_within_one_boot_times_stay_as_they_are():
    sender, here = Clock("boot", 1_000_000), Clock("boot", 1_000_777)
    assert to_local_ns(42, sender, here) == 42


def test_a_time_of_another_host_is_translated_through_real_time():
    # The sender has been up for 10 s and this host for 1000 s at the same real time.
    sender, here = Clock("there", 1_700_000_990_000_000_000), Clock("here", 1_700_000_000_000_000_000)
    assert to_local_ns(10_000_000_000, sender, here) == 1_000_000_000_000


@given(time_ns=st.integers(0, 2**62), there=st.integers(0, 2**61), here=st.integers(0, 2**61))
def test_translating_there_and_back_returns_the_time_to_the_nanosecond(time_ns: int, there: int, here: int):
    a, b = Clock("a", there), Clock("b", here)
    assert to_local_ns(to_local_ns(time_ns, a, b), b, a) == time_ns


def test_a_restarted_host_is_another_clock():
    before, after = Clock("boot-1", 1_000), Clock("boot-2", 5_000)
    assert to_local_ns(10_000, before, after) == 6_000


def test_the_local_clock_converts_monotonic_time_to_real_time():
    clock = local_clock()
    real_ns = time.monotonic_ns() + clock.realtime_offset_ns
    assert abs(real_ns - time.time_ns()) < 1_000_000_000
    assert clock.boot_id == local_clock().boot_id != ""
