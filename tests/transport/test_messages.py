from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.clock import Clock, local_clock, to_local_ns
from stream.core.errors import WireError
from stream.core.parts import PartResult
from stream.core.verdict import Cause, Verdict
from stream.transport.messages import (
    MAX_HEADER_BYTES,
    WIRE_VERSION,
    ActiveAlarm,
    Announcement,
    CameraStatus,
    ClockReply,
    ClockRequest,
    CreditGrant,
    DriftState,
    EndOfStream,
    FrameHeader,
    FrameName,
    FrameStamps,
    LineReady,
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
    UnreadFrame,
    WantedBundles,
    Watching,
    WorkerStatus,
    decode_clock_reply,
    decode_frame_name,
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
    region_px=(448, 448),
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
    CameraStatus("top", 4711, 3, True, 99, CLOCK, announced={"cap": 17, "neck": 2**53 - 1}),
    CameraStatus("top", pid=4711, first_seq=3, up=False, last_frame_ns=None, clock=CLOCK, detail="stalled"),
    CameraStatus("top", 4711, 3, True, None, CLOCK, start="waiting", lacks=("worker0", "worker1")),
    EndOfStream("top", 1000),
    WorkerStatus("worker0", 4712, "openvino", skews_ns={"top": -200_000_000}),
    UnreadFrame("worker0", "cap", 17, "Expected `int` <= 4611686018427387903"),
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
    bundle_sha256="ab" * 32,
    captured_realtime_ns=1_700_000_000_123_456_789,
    stages={"search": 1.5},
    total_ms=20.25,
    grid=(28, 28),
)
STATE = LineState(
    line="bottling-3",
    at_realtime_ns=1_700_000_000_123_456_789,
    stations={
        "cap": StationState(
            9, 4, 2, 1, {"timeout": 1}, 2, 9.5, 20.5, None, DriftState(50, 50, {"score": 0.5}, ("score",))
        )
    },
    cameras={"top": PeerState(False, "stalled")},
    workers={"worker0": PeerState(True)},
    actuators={},
    alarms=[ActiveAlarm("camera_down", "top", 1_700_000_000_123_456_789, "stalled")],
)

WAYS = [
    *((message, decode_to_sink) for message in TO_SINK),
    (FRAME, decode_to_worker),
    (ClockReply(1, 2, 3, CLOCK), decode_to_worker),
    (ClockRequest(2**62 - 1), decode_to_capture),
    (LineReady(), decode_to_capture),
    (Watching(), decode_to_capture),
    (msgspec.structs.replace(FRAME, view_shape=(857, 1024, 3), watched=True), decode_to_worker),
    (WantedBundles({"cap": ("ab" * 32,), "neck": ("cd" * 32, "ef" * 32)}), decode_to_worker),
    (GRANT, decode_to_capture),
    (GRANT_WITH_BUNDLES, decode_to_capture),
    (TapFrame("top", 17, 123_456_789, 480, 640, part_id="17"), decode_to_listener),
    (SETTLED, decode_to_dashboard),
    (STATE, decode_to_dashboard),
]
NAMES = [f"{type(message).__name__}-{index}" for index, (message, _) in enumerate(WAYS)]
DECODERS = [
    decode_to_sink,
    decode_to_worker,
    decode_to_capture,
    decode_to_listener,
    decode_to_dashboard,
    decode_clock_reply,
    decode_frame_name,
]


@pytest.mark.parametrize(("message", "decode"), WAYS, ids=NAMES)
def test_a_message_arrives_as_it_was_sent(message, decode):
    arrived = decode(encode(message))
    assert arrived == message
    assert type(arrived) is type(message)


def test_every_kind_of_message_is_among_those_tested_above():
    kinds = {*get_args(ToSink), *get_args(ToWorker), *get_args(ToCapture), ToListener, *get_args(ToDashboard)}
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


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("opening", [b"\x81\xa1y", b"\x91", b"\xdd\x00\x00\x00\x01", b"\x81\xa4type"])
@pytest.mark.parametrize("depth", [1_000, 50_000])
def test_deep_nesting_is_refused(decode, opening: bytes, depth: int):
    with pytest.raises(WireError):
        decode(bytes((WIRE_VERSION,)) + opening * depth + b"\xc0")


@pytest.mark.parametrize(("message", "decode"), WAYS, ids=NAMES)
def test_deep_nesting_in_an_unknown_field_is_refused(message, decode):
    fields = msgspec.msgpack.encode(msgspec.to_builtins(message) | {"unknown": None})
    assert fields.endswith(b"\xc0")
    with pytest.raises(WireError):
        decode(bytes((WIRE_VERSION,)) + fields[:-1] + b"\x91" * 50_000 + b"\xc0")


@pytest.mark.parametrize("decode", DECODERS)
def test_a_header_longer_than_any_sender_writes_is_refused(decode):
    with pytest.raises(WireError, match="header of"):
        decode(bytes((WIRE_VERSION,)) + bytes(MAX_HEADER_BYTES))


def numbers_of(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Where the numbers of a message are."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from numbers_of(item, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def at(value: Any, path: tuple[Any, ...]) -> object:
    return at(value[path[0]], path[1:]) if path else value


def replaced(value: Any, path: tuple[Any, ...], number: object) -> Any:
    if not path:
        return number
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], number)
    return changed


@pytest.mark.parametrize(("message", "decode"), WAYS, ids=NAMES)
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 2**64 - 1, -(2**63)])
def test_no_field_takes_a_number_that_is_none_or_that_no_sender_writes(message, decode, number):
    fields = json.loads(json.dumps(msgspec.to_builtins(message)))
    for path in numbers_of(fields):
        if isinstance(number, int) and isinstance(at(fields, path), float):
            continue  # an integer is a valid fraction
        with pytest.raises(WireError):
            decode(bytes((WIRE_VERSION,)) + msgspec.msgpack.encode(replaced(fields, path, number)))


@pytest.mark.parametrize("decode", DECODERS)
@given(data=st.data())
def test_a_mutated_message_raises_nothing_but_a_wire_error(decode, data):
    """Bytes of a real message replaced, removed and put in; also messages for other receivers."""
    message, _ = data.draw(st.sampled_from(WAYS))
    raw = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(1, len(raw)))
        cut = data.draw(st.integers(0, 4))
        raw[place : place + cut] = data.draw(st.binary(max_size=6))
    with contextlib.suppress(WireError):
        decode(bytes(raw))


ANY_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("decode", DECODERS)
@given(data=st.data())
def test_a_message_with_any_value_in_any_field_raises_nothing_but_a_wire_error(decode, data):
    message, _ = data.draw(st.sampled_from(WAYS))
    fields = msgspec.to_builtins(message)
    name = data.draw(st.sampled_from(sorted(fields)))
    fields[name] = data.draw(ANY_VALUE)
    with contextlib.suppress(WireError):
        decode(bytes((WIRE_VERSION,)) + msgspec.msgpack.encode(fields))


def test_a_file_name_that_is_no_utf_8_crosses_the_wire_escaped():
    name = b"bottle-\xff.png".decode("utf-8", "surrogateescape")
    message = Announcement("cap", 1, 1, 2, CLOCK, part_id=name, detail=name)
    arrived = decode_to_sink(encode(message))
    assert (arrived.part_id, arrived.detail) == (r"bottle-\udcff.png",) * 2


def test_a_frame_that_cannot_be_read_may_still_tell_its_name():
    fields = msgspec.to_builtins(FRAME) | {"deadline_ns": 2**63, "stamps": None}
    data = bytes((WIRE_VERSION,)) + msgspec.msgpack.encode(fields)
    with pytest.raises(WireError):
        decode_to_worker(data)
    assert decode_frame_name(data) == FrameName("cap", 2**40, "camera-7")


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


def test_what_is_said_of_an_unknown_kind_of_message_is_short_however_long_its_name():
    data = bytes((WIRE_VERSION,)) + msgspec.msgpack.encode({"type": "x" * 100_000})
    with pytest.raises(WireError, match="more characters") as refused:
        decode_to_sink(data)
    assert len(str(refused.value)) < 1_000
