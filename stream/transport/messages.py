"""The wire: every message that one PatchLine process sends to another. Structs only.

All times are nanoseconds of the sender's monotonic clock; `Clock` lets a receiver on another host translate them (see
`stream.core.clock`). A message is one version byte and a msgpack map, so that a peer of another release is refused with
a clear error instead of being misread; attachments (pixels, JPEG) follow as raw bytes.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from stream.core.clock import Clock
from stream.core.errors import WireError
from stream.core.log_lines import bounded
from stream.core.parts import Finite, PartResult, Placement, Seq, SpotNumber, Spots
from stream.core.verdict import Cause, Mode, Verdict

#: Raised whenever the meaning or layout of any struct below changes.
WIRE_VERSION = 6

#: A time of the sender's monotonic clock.
Ns = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
GridSize = Annotated[int, msgspec.Meta(ge=0, lt=2**15)]
Pixels = Annotated[int, msgspec.Meta(ge=0, lt=2**20)]
Edge = Annotated[int, msgspec.Meta(ge=1, lt=2**20)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
#: Unix time, or a difference of clocks.
RealtimeNs = Annotated[int, msgspec.Meta(ge=-(2**62), lt=2**62)]

#: Whether a camera's parts wait for the whole line, have begun with it, or without it after the longest wait.
StartState = Literal["waiting", "begun", "alone"]

#: Longest text of an error about a message, characters.
_PROBLEM_CHARS = 500
#: Longest header, bytes; no sender comes near it.
MAX_HEADER_BYTES = 4 * 2**20


class Announcement(msgspec.Struct, tag="announcement", frozen=True):
    """Capture → sink: a part exists; its verdict is due by `deadline_ns`.

    With a `cause` the part is UNINSPECTED from the start and no result will follow. `epoch` and `bundle_sha256` are
    those of the frame that will be sent to a worker, empty where none will be.
    """

    station: str
    seq: Seq
    captured_ns: Ns
    deadline_ns: Ns
    clock: Clock
    part_id: str | None = None
    cause: Cause | None = None
    detail: str = ""
    epoch: str = ""
    bundle_sha256: str = ""


class CameraStatus(msgspec.Struct, tag="camera", frozen=True):
    """Capture → sink, several times a second: the camera's process is alive; `up` says whether the camera is.

    `first_seq` is the number with which the run began; `detail` names the camera's fault; `announced` has, for each
    station, the number below which every part has been announced in this run; `start` says whether its parts have
    begun, `lacks` names the workers that do not inspect its frames yet.
    """

    camera: str
    pid: Count
    first_seq: Seq
    up: bool
    last_frame_ns: Ns | None
    clock: Clock
    detail: str = ""
    announced: dict[str, Seq] = {}
    start: StartState = "begun"
    lacks: tuple[str, ...] = ()


class EndOfStream(msgspec.Struct, tag="end", frozen=True):
    """Capture → sink: this camera is finished; every part below `next_seq` has been announced."""

    camera: str
    next_seq: Seq


class ReloadStatus(msgspec.Struct, tag="reload", frozen=True):
    """Capture → sink: a station's parts are cropped for another bundle from now on; with a `reason`, they are not."""

    station: str
    old_sha256: str
    new_sha256: str
    reason: str | None = None


class WorkerStatus(msgspec.Struct, tag="worker", frozen=True):
    """Worker → sink, several times a second: the worker is alive; with `ending`, it stops on purpose."""

    worker: str
    pid: Count
    device: str
    ending: bool = False
    #: Skew of the camera hosts' clocks against the worker's, ns, where it was measured.
    skews_ns: dict[str, RealtimeNs] = {}


class ClockRequest(msgspec.Struct, tag="clock_request", frozen=True):
    """Worker or sink → capture: what time is it? `asked_ns` is the time of asking, by the sender's clock."""

    asked_ns: Ns


class LineReady(msgspec.Struct, tag="line_ready", frozen=True):
    """Sink → capture: every camera has all workers, and the sink has every camera and worker: parts may begin."""


class ClockReply(msgspec.Struct, tag="clock", frozen=True):
    """Capture → worker or sink: the request's time, and when it was received and answered by capture's clock."""

    asked_ns: Ns
    received_ns: Ns
    answered_ns: Ns
    clock: Clock


class Watching(msgspec.Struct, tag="watching", frozen=True):
    """Sink → capture, several times a second while a dashboard shows the line: mark parts as watched."""


class FrameStamps(msgspec.Struct, frozen=True, array_like=True):
    """When capture received the frame, when a worker had room for it, and when it was resized and encoded.

    `align_ns` is how long it took to find the part.
    """

    grabbed_ns: Ns
    granted_ns: Ns
    encoded_ns: Ns
    align_ns: Ns = 0


class FrameHeader(msgspec.Struct, tag="frame", frozen=True):
    """Capture → worker, followed by the network input (H·W·3 uint8 RGB) and the view of the region.

    `region_px` is (width, height) of the part's region; `siblings` counts all parts cropped from the same camera frame;
    `epoch` names the capture process; `placement` is how an aligned part lies in the frame. `view_shape` is (height,
    width, channels) of a view of uint8 pixels, BGR or grey; None: it is a JPEG. `watched`: somebody may look at the
    part even if it is GOOD.
    """

    station: str
    seq: Seq
    captured_ns: Ns
    deadline_ns: Ns
    mode: Mode
    bundle_sha256: str
    height_px: Pixels
    width_px: Pixels
    region_px: tuple[Edge, Edge]
    siblings: Count
    epoch: str
    stamps: FrameStamps
    clock: Clock
    part_id: str | None = None
    placement: Placement | None = None
    view_shape: tuple[Edge, Edge, Literal[1, 3]] | None = None
    watched: bool = False


class UnreadFrame(msgspec.Struct, tag="unread", frozen=True):
    """Worker → sink: a frame arrived of which no more than station and number could be read; no result will follow."""

    worker: str
    station: str
    seq: Seq
    detail: str


class WantedBundles(msgspec.Struct, tag="wanted_bundles", frozen=True):
    """Capture → worker, several times a second: for each station, the bundle in use and the one proposed, if any."""

    bundle_sha256s: dict[str, tuple[str, ...]]


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """Why a worker cannot use a bundle; `attempt` counts up, so that an old refusal is not taken for a new one.

    `bundle_sha256` is empty when the file could not be read at all.
    """

    bundle_sha256: str
    attempt: Count
    reason: str


class CreditGrant(msgspec.Struct, tag="credit", frozen=True):
    """Worker → capture, on every change and several times a second: the worker's credit, in totals.

    Repeating or losing a grant changes nothing, because the next one states the totals again.

    Attributes:
        worker: its name.
        epoch: the capture process whose frames are counted.
        received: frames of that process so far.
        free: frames that the worker can take beyond those.
        idle: it has nothing to do at all, which is the moment for a free-running frame.
        accepts: for each of the camera's stations, the bundles whose frames the worker inspects; no others.
        refused: for each station, the last bundle that the worker could not load.
    """

    worker: str
    epoch: str
    received: Count
    free: Count
    idle: bool
    accepts: dict[str, tuple[str, ...]] = {}
    refused: dict[str, Refusal] = {}


class ResultStamps(msgspec.Struct, frozen=True, array_like=True):
    """When the worker received the frame, when its batch began, how long each stage took, when it was inspected."""

    received_ns: Ns
    taken_ns: Ns
    preprocess_ns: Ns
    backbone_ns: Ns
    search_ns: Ns
    score_ns: Ns
    inspected_ns: Ns


class Result(msgspec.Struct, tag="result", frozen=True):
    """Worker → sink, followed by patch distances (float16 `grid`), the view of the frame, network input (uint8 RGB).

    Distances are empty for UNINSPECTED; the input is empty unless the verdict is DEFECT, the part is within the
    specification, or the store may keep it; of other GOOD parts the view is empty too, unless they are watched or late.
    `within_spec` and what follows are of `core.spots.Ruling`. The verdict is the worker's claim: the ledger's, in
    `PartResult`, may differ, since a late result is UNINSPECTED(timeout); so the fields are not shared. `brightness`
    and `focus` are those of `patchcore.health.Measures`.
    """

    frame: FrameHeader
    worker: str
    verdict: Verdict
    stamps: ResultStamps
    clock: Clock
    cause: Cause | None = None
    detail: str = ""
    score: Finite | None = None
    threshold: Finite | None = None
    pixel_threshold: Finite | None = None
    brightness: Finite | None = None
    focus: Finite | None = None
    grid: tuple[GridSize, GridSize] = (0, 0)
    within_spec: bool = False
    rule: str | None = None
    spot: SpotNumber | None = None
    spots: Spots = ()


class SettledPart(msgspec.Struct, tag="settled", frozen=True):
    """Sink → dashboards: a part with its verdict, followed by the preview (JPEG) and patch distances (float16 `grid`).

    Either may be empty; `captured_realtime_ns` is the moment of exposure, `stages` are milliseconds by stage,
    `bundle_sha256` is the bundle that judged it.
    """

    part: PartResult
    decision: str
    captured_realtime_ns: RealtimeNs
    bundle_sha256: str | None
    stages: dict[str, Finite] = {}
    total_ms: Finite | None = None
    placement: Placement | None = None
    grid: tuple[GridSize, GridSize] = (0, 0)


class DriftState(msgspec.Struct, frozen=True):
    """How a station's GOOD parts compare with its calibration; `parts` of the newest `window` have been collected.

    `psi` is the population stability index of each compared quantity; `drifting` are those with an alarm. A `window`
    of 0 means that the calibration is too small to distinguish any drift from chance.
    """

    parts: Count
    window: Count
    psi: dict[str, Finite] = {}
    drifting: tuple[str, ...] = ()


class StationState(msgspec.Struct, frozen=True):
    """One station's counts in the ledger, its parts per second and latency over the last seconds, and its drift.

    `within_spec` of the good ones are good only because rules let them pass.
    """

    announced: Count
    good: Count
    defect: Count
    within_spec: Count
    uninspected: dict[str, Count]
    pending: Count
    rate_hz: Finite
    p50_ms: Finite | None
    p99_ms: Finite | None
    drift: DriftState


class PeerState(msgspec.Struct, frozen=True):
    """Whether a camera, worker or actuator works; `text` says what is wrong."""

    up: bool
    text: str = ""


class ActiveAlarm(msgspec.Struct, frozen=True):
    """An alarm that is raised at present; its first three fields identify it, also in the event store."""

    kind: str
    subject: str
    raised_realtime_ns: RealtimeNs
    text: str


class LineState(msgspec.Struct, tag="state", frozen=True):
    """Sink → dashboards, a few times a second: the state of the whole line."""

    line: str
    at_realtime_ns: RealtimeNs
    stations: dict[str, StationState]
    cameras: dict[str, PeerState]
    workers: dict[str, PeerState]
    actuators: dict[str, PeerState]
    alarms: list[ActiveAlarm]


class Listen(msgspec.Struct, tag="listen", frozen=True):
    """Dashboard → sink, listener of a tap → capture, once a second: go on sending."""


class TapFrame(msgspec.Struct, tag="tap", frozen=True):
    """Capture → listeners of the camera's tap, followed by the whole frame (H·W·3 uint8 BGR)."""

    camera: str
    seq: Seq
    captured_ns: Ns
    height_px: Pixels
    width_px: Pixels
    part_id: str | None = None


ToSink = Announcement | CameraStatus | EndOfStream | ReloadStatus | WorkerStatus | Result | UnreadFrame
ToWorker = FrameHeader | WantedBundles | ClockReply
ToCapture = CreditGrant | ClockRequest | LineReady | Watching
ToListener = TapFrame
ToBroadcaster = Listen
ToDashboard = SettledPart | LineState

_encoder = msgspec.msgpack.Encoder()

T = TypeVar("T")


def encode(message: ToSink | ToWorker | ToCapture | ToListener | ToBroadcaster | ToDashboard) -> bytes:
    """Return the version byte followed by the msgpack map of `message`."""
    try:
        body = _encoder.encode(message)
    except UnicodeEncodeError:  # a file name that is no UTF-8
        body = _encoder.encode(_encodable(msgspec.to_builtins(message)))
    return bytes((WIRE_VERSION,)) + body


def _encodable(value: Any) -> Any:
    """Return the value with every character that UTF-8 does not have escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value


class Decoder(Generic[T]):
    """Decodes the messages that one kind of process receives; any thread may call it."""

    def __init__(self, kind: Any, receiver: str) -> None:
        """Decode one of the structs in the union `kind`; errors name the `receiver`."""
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
        self._receiver = receiver

    def __call__(self, data: bytes) -> T:
        """Return the message in a version byte and a msgpack map; raises WireError."""
        try:
            return self._decoder.decode(_body(data))
        except WireError:
            raise
        except Exception as error:  # noqa: BLE001 - no closed list: RecursionError of deep nesting, UnicodeError …
            # msgspec repeats an unknown value, which may be as long as the message.
            problem = bounded(str(error), _PROBLEM_CHARS)
            raise WireError(f"message to {self._receiver}: {type(error).__name__}: {problem}") from None


decode_to_sink: Decoder[ToSink] = Decoder(ToSink, "the sink")
decode_to_worker: Decoder[ToWorker] = Decoder(ToWorker, "a worker")
decode_to_capture: Decoder[ToCapture] = Decoder(ToCapture, "capture")
decode_to_broadcaster: Decoder[ToBroadcaster] = Decoder(ToBroadcaster, "a feed or tap")
decode_to_listener: Decoder[ToListener] = Decoder(ToListener, "a camera's listener")
decode_to_dashboard: Decoder[ToDashboard] = Decoder(ToDashboard, "a dashboard")


class FrameName(msgspec.Struct, tag="frame", frozen=True):
    """The fields of a `FrameHeader` that are needed to count and report a frame that cannot be read."""

    station: str
    seq: Seq
    epoch: str


decode_clock_reply: Decoder[ClockReply] = Decoder(ClockReply, "the sink")
decode_frame_name: Decoder[FrameName] = Decoder(FrameName, "a worker")


def _body(data: bytes) -> memoryview:
    if not data:
        raise WireError("empty header")
    if len(data) > MAX_HEADER_BYTES:
        raise WireError(f"header of {len(data)} bytes, at most {MAX_HEADER_BYTES} are read")
    if data[0] != WIRE_VERSION:
        raise WireError(
            f"the peer speaks wire version {data[0]}, this process {WIRE_VERSION}: "
            "run the same PatchLine release on every host"
        )
    return memoryview(data)[1:]
