"""Messages as a line sends them, one or two of each kind."""

from __future__ import annotations

from stream.core.clock import Clock
from stream.core.parts import PartResult
from stream.core.verdict import Cause, Verdict
from stream.transport.messages import (
    ActiveAlarm,
    Announcement,
    CameraStatus,
    ClockReply,
    ClockRequest,
    CreditGrant,
    DriftState,
    EndOfStream,
    FrameHeader,
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
)

Message = ToSink | ToWorker | ToCapture | ToListener | ToDashboard

_CLOCK = Clock("9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d", 1_700_000_000_123_456_789)
_HASH = "ab" * 32


def frame(seq: int = 17, *, side_px: int = 96) -> FrameHeader:
    """Return the header of a triggered part's frame."""
    return FrameHeader(
        station="cap",
        seq=seq,
        captured_ns=123_456_789_012,
        deadline_ns=123_956_789_012,
        mode="triggered",
        bundle_sha256=_HASH,
        height_px=side_px,
        width_px=side_px,
        region_px=(side_px, side_px),
        siblings=1,
        epoch="5f0c",
        stamps=FrameStamps(123_456_800_000, 123_456_900_000, 123_457_000_000),
        clock=_CLOCK,
        part_id="pallet 7 ü",
    )


def messages() -> list[Message]:
    """Return messages of every kind."""
    stamps = ResultStamps(123_457_100_000, 123_457_200_000, 1, 2, 3, 4, 123_460_000_000)
    defect = Result(
        frame=frame(),
        worker="worker0",
        verdict=Verdict.DEFECT,
        stamps=stamps,
        clock=_CLOCK,
        score=12.5,
        threshold=10.25,
        pixel_threshold=8.125,
        brightness=0.5,
        focus=12.0,
        grid=(12, 12),
    )
    refused = Result(
        frame=frame(18),
        worker="worker1",
        verdict=Verdict.UNINSPECTED,
        stamps=stamps,
        clock=_CLOCK,
        cause=Cause.BAD_FRAME,
        detail="black",
    )
    part = PartResult(station="cap", seq=17, verdict=Verdict.DEFECT, score=12.5, threshold=10.25, pixel_threshold=8.0)
    station = StationState(
        9, 4, 2, 1, {"timeout": 1}, 2, 9.5, 20.5, None, DriftState(50, 50, {"score": 0.5}, ("score",))
    )
    return [
        Announcement("cap", 17, 123_456_789_012, 123_956_789_012, _CLOCK, part_id="pallet 7 ü"),
        Announcement("cap", 18, 123_456_789_012, 123_956_789_012, _CLOCK, cause=Cause.OVERRUN, detail="16 waited"),
        CameraStatus("top", pid=4711, first_seq=3, up=True, last_frame_ns=99, clock=_CLOCK),
        CameraStatus("top", pid=4711, first_seq=3, up=False, last_frame_ns=None, clock=_CLOCK, detail="stalled"),
        CameraStatus("top", 4711, 3, True, None, _CLOCK, start="waiting", lacks=("worker0",)),
        EndOfStream("top", 1_000),
        ClockRequest(123_456_789_012),
        LineReady(),
        Watching(),
        ClockReply(123_456_789_012, 123_456_799_012, 123_456_809_012, _CLOCK),
        UnreadFrame("worker0", "cap", 17, "its header cannot be read"),
        WorkerStatus("worker0", 4_712, "openvino"),
        ReloadStatus("cap", _HASH, "cd" * 32, reason="truncated"),
        defect,
        refused,
        frame(),
        WantedBundles({"cap": (_HASH, "cd" * 32)}),
        CreditGrant("worker0", "5f0c", 12, 3, True, {"cap": (_HASH,)}, {"cap": Refusal("ef" * 32, 2, "damaged")}),
        TapFrame("top", 17, 123_456_789_012, 120, 160, "pallet 7 ü"),
        SettledPart(part, "reject", 1_700_000_000_123_456_789, "ab" * 32, {"search": 1.5}, 20.25, (12, 12)),
        LineState(
            line="bottling-3",
            at_realtime_ns=1_700_000_000_123_456_789,
            stations={"cap": station},
            cameras={"top": PeerState(True)},
            workers={"worker0": PeerState(False, "its process died")},
            actuators={"gate": PeerState(True)},
            alarms=[ActiveAlarm("worker_down", "worker0", 1_700_000_000_123_456_789, "its process died")],
        ),
    ]
