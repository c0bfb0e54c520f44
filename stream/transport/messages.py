"""Every message of the wire: what one PatchLine process says to another.

All times are nanoseconds of the sender's monotonic clock; `Clock` lets a receiver on another
host translate them (see `stream.core.clock`). A header travels as one version byte followed by a
msgpack map, so that a newer peer is refused with a clear error instead of being misread.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

import msgspec

from stream.core.clock import Clock
from stream.core.errors import WireError
from stream.core.parts import PartResult, Seq
from stream.core.verdict import Cause, Mode, Verdict

#: Raised whenever the meaning or layout of any struct below changes.
WIRE_VERSION = 4


#: A time of the sender's monotonic clock.
Ns = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
GridSize = Annotated[int, msgspec.Meta(ge=0, lt=2**15)]


class Announcement(msgspec.Struct, tag="announcement", frozen=True):
    """Capture → sink: a part exists; its verdict is due by `deadline_ns`.

    With a `cause` the part is UNINSPECTED from the start and no result will follow.
    """

    station: str
    seq: Seq
    captured_ns: Ns
    deadline_ns: Ns
    clock: Clock
    part_id: str | None = None
    cause: Cause | None = None
    detail: str = ""


class CameraStatus(msgspec.Struct, tag="camera", frozen=True):
    """Capture → sink, several times a second: the camera's process is alive, and so is the camera or not.

    `first_seq` is the number with which the run began.
    """

    camera: str
    pid: int
    first_seq: Seq
    up: bool
    last_frame_ns: Ns | None
    clock: Clock
    detail: str = ""


class EndOfStream(msgspec.Struct, tag="end", frozen=True):
    """Capture → sink: this camera is finished; every part below `next_seq` has been announced."""

    camera: str
    next_seq: Seq


class ReloadStatus(msgspec.Struct, tag="reload", frozen=True):
    """Capture → sink: a station is cut for another bundle from now on; or, with `why`, it is not."""

    station: str
    old_sha256: str
    new_sha256: str
    why: str | None = None


class WorkerStatus(msgspec.Struct, tag="worker", frozen=True):
    """Infer → sink, several times a second: the worker is alive; with `ending`, it stops on purpose."""

    worker: str
    pid: int
    device: str
    ending: bool = False


class FrameStamps(msgspec.Struct, frozen=True, array_like=True):
    """When capture had the frame in hand, found a worker for it, and had it resized and encoded."""

    grabbed_ns: Ns
    granted_ns: Ns
    encoded_ns: Ns


class FrameHeader(msgspec.Struct, tag="frame", frozen=True):
    """Capture → infer, followed by the pixels (H·W·3 uint8 RGB) and the view (JPEG of the region, for people).

    `siblings` counts the parts cut from the same camera frame; `epoch` names the capture process.
    """

    station: str
    seq: Seq
    captured_ns: Ns
    deadline_ns: Ns
    mode: Mode
    bundle_sha256: str
    height_px: int
    width_px: int
    siblings: int
    epoch: str
    stamps: FrameStamps
    clock: Clock
    part_id: str | None = None


class WantedBundles(msgspec.Struct, tag="cut_for", frozen=True):
    """Capture → infer, several times a second: for which bundles each station is cut, or may soon be cut."""

    bundle_sha256s: dict[str, tuple[str, ...]]


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """Why a worker does not take a bundle; `attempt` counts on, so that an old refusal is not taken for a new one.

    `bundle_sha256` is empty where the file could not even be read.
    """

    bundle_sha256: str
    attempt: int
    why: str


class CreditGrant(msgspec.Struct, tag="ready", frozen=True):
    """Infer → capture: the worker's credit, repeated often so that a lost one mends itself.

    Of the frames of capture's `epoch` it has `received` so many, and it takes `free` more. `idle`
    says that it has nothing to do at all: the moment for a free-running frame, not earlier. For each of
    the camera's stations it judges frames cut for the bundles that it `accepts`, and no others; `refused`
    is what became of the last one that it could not load.
    """

    worker: str
    epoch: str
    received: int
    free: int
    idle: bool
    accepts: dict[str, tuple[str, ...]] = {}
    refused: dict[str, Refusal] = {}


class ResultStamps(msgspec.Struct, frozen=True, array_like=True):
    """When the worker had the frame, when its batch began, how long each stage took, when it was judged."""

    received_ns: Ns
    taken_ns: Ns
    preprocess_ns: Ns
    backbone_ns: Ns
    search_ns: Ns
    score_ns: Ns
    judged_ns: Ns


class Result(msgspec.Struct, tag="result", frozen=True):
    """Infer → sink, followed by the anomaly map (float16 patch grid, may be empty), the untouched view and the input.

    The input is what the network saw, the frame's pixels (H·W·3 uint8 RGB); empty unless the verdict is DEFECT.
    `brightness` and `focus` are those of the picture (see `patchcore.health.Measures`), of a judged part.
    """

    frame: FrameHeader
    worker: str
    verdict: Verdict
    stamps: ResultStamps
    clock: Clock
    cause: Cause | None = None
    detail: str = ""
    score: float | None = None
    threshold: float | None = None
    pixel_threshold: float | None = None
    brightness: float | None = None
    focus: float | None = None
    grid: tuple[GridSize, GridSize] = (0, 0)


class SettledPart(msgspec.Struct, tag="settled", frozen=True):
    """Sink → dashboards: a part with its verdict, followed by the view (JPEG) and the anomaly map (float16 patch grid).

    Either may be empty; `captured_realtime_ns` is the moment of exposure, `stages` are milliseconds by stage.
    """

    part: PartResult
    decision: str
    captured_realtime_ns: int
    stages: dict[str, float] = {}
    total_ms: float | None = None
    grid: tuple[GridSize, GridSize] = (0, 0)


class DriftState(msgspec.Struct, frozen=True):
    """How a station's good parts stand against its calibration; `parts` of the newest `window` are there so far.

    `psi` is the population stability index of each quantity that has been compared; `drifting` are those that have
    changed for good. A `window` of 0: the calibration is too small for any drift to be told from chance.
    """

    parts: int
    window: int
    psi: dict[str, float] = {}
    drifting: tuple[str, ...] = ()


class StationState(msgspec.Struct, frozen=True):
    """One station's line of the ledger, its parts per second and its latency, both over the last seconds; its drift."""

    announced: int
    good: int
    defect: int
    uninspected: dict[str, int]
    pending: int
    rate_hz: float
    p50_ms: float | None
    p99_ms: float | None
    drift: DriftState


class PeerState(msgspec.Struct, frozen=True):
    """Whether a camera, worker or actuator is well; `text` says what is wrong."""

    up: bool
    text: str = ""


class ActiveAlarm(msgspec.Struct, frozen=True):
    """An alarm that stands; its three first fields name it, also in the event store."""

    kind: str
    subject: str
    raised_realtime_ns: int
    text: str


class LineState(msgspec.Struct, tag="state", frozen=True):
    """Sink → dashboards, a few times a second: how the line is."""

    line: str
    at_realtime_ns: int
    stations: dict[str, StationState]
    cameras: dict[str, PeerState]
    workers: dict[str, PeerState]
    actuators: dict[str, PeerState]
    alarms: list[ActiveAlarm]


class TapFrame(msgspec.Struct, tag="tap", frozen=True):
    """Capture → whoever listens, followed by the whole picture (H·W·3 uint8 BGR): what the camera sees."""

    camera: str
    seq: Seq
    captured_ns: Ns
    height_px: int
    width_px: int
    part_id: str | None = None


ToSink = Announcement | CameraStatus | EndOfStream | ReloadStatus | WorkerStatus | Result
ToWorker = FrameHeader | WantedBundles
ToCapture = CreditGrant
ToListener = TapFrame
ToDashboard = SettledPart | LineState

_encoder = msgspec.msgpack.Encoder()

T = TypeVar("T")


def encode(message: ToSink | ToWorker | ToCapture | ToListener | ToDashboard) -> bytes:
    """Return the version byte followed by the msgpack map of `message`."""
    return bytes((WIRE_VERSION,)) + _encoder.encode(message)


class Decoder(Generic[T]):
    """Reads the messages that one kind of process receives; any thread may call it."""

    def __init__(self, kind: Any, receiver: str) -> None:
        """Decode the union `kind`; `receiver` is named in errors."""
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
        self._receiver = receiver

    def __call__(self, data: bytes) -> T:
        """Return the message in a version byte and msgpack map; raises WireError."""
        try:
            return self._decoder.decode(_body(data))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise WireError(f"message to {self._receiver}: {error}") from error


decode_to_sink: Decoder[ToSink] = Decoder(ToSink, "the sink")
decode_to_worker: Decoder[ToWorker] = Decoder(ToWorker, "a worker")
decode_to_capture: Decoder[ToCapture] = Decoder(ToCapture, "capture")
decode_to_listener: Decoder[ToListener] = Decoder(ToListener, "a listener")
decode_to_dashboard: Decoder[ToDashboard] = Decoder(ToDashboard, "a dashboard")


def _body(data: bytes) -> memoryview:
    if not data:
        raise WireError("empty header")
    if data[0] != WIRE_VERSION:
        raise WireError(
            f"the peer speaks wire version {data[0]}, this process {WIRE_VERSION}: "
            "run the same PatchLine release on every host"
        )
    return memoryview(data)[1:]
