"""Every Prometheus metric of PatchLine, once. Each process serves its own /metrics.

Labels are station, camera, worker and role names from the configuration, verdicts, causes and
stages from closed lists: their number is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from stream.core.errors import TransportError
from stream.core.verdict import Cause, Verdict

_MS = (0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000, 2000, 5000)
_RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_SECONDS = tuple(ms / 1000 for ms in _MS)

STAGE_SECONDS = Histogram(
    "patchline_stage_seconds",
    "Time a part spent in one stage; stage=total is exposure to decision",
    ["station", "stage"],
    buckets=_SECONDS,
)
DEADLINE_SECONDS = Gauge("patchline_deadline_seconds", "Deadline of a part, from exposure to decision", ["station"])
VERDICTS = Counter("patchline_verdicts_total", "Parts by verdict", ["station", "verdict"])
UNINSPECTED = Counter("patchline_uninspected_total", "Parts without inspection, by cause", ["station", "cause"])
ANNOUNCED = Counter("patchline_announced_total", "Parts announced to the line", ["station"])
PENDING = Gauge("patchline_pending", "Parts announced whose verdict is still due", ["station"])
DECISIONS = Counter("patchline_decisions_total", "Decisions of the line about its parts", ["station", "action"])
SCORE_RATIO = Histogram(
    "patchline_score_ratio",
    "Image score divided by the station's image threshold (above 1 is a defect)",
    ["station"],
    buckets=_RATIOS,
)
DRIFT_PSI = Gauge(
    "patchline_drift_psi",
    "How much good parts differ from the calibration (population stability index; above 0.25 is much)",
    ["station", "what"],
)
DRIFT_P_VALUE = Gauge(
    "patchline_drift_p_value",
    "How likely good parts differ so much from the calibration by chance (Kolmogorov-Smirnov)",
    ["station", "what"],
)
LATE_REJECTS = Counter("patchline_late_rejects_total", "Rejects that came too late and were not fired", ["station"])
FAILED_REJECTS = Counter("patchline_failed_rejects_total", "Rejects an actuator did not acknowledge", ["actuator"])
ACTUATOR_UP = Gauge("patchline_actuator_up", "1 while the output can be switched", ["actuator"])
ENCODER_UP = Gauge("patchline_encoder_up", "1 while the belt's encoder can be read", ["encoder"])
REJECT_ERROR_SECONDS = Histogram(
    "patchline_reject_error_seconds", "Reject fired after its planned moment", ["actuator"], buckets=_SECONDS
)
QUEUE_DEPTH = Gauge("patchline_queue_depth", "Entries waiting in a bounded queue", ["queue"])
DROPPED = Counter("patchline_dropped_total", "Overlays, events, previews and the like dropped to keep up", ["what"])
STRAY_RESULTS = Counter("patchline_stray_results_total", "Results for parts that already had a verdict", ["station"])
WIRE_ERRORS = Counter("patchline_wire_errors_total", "Messages that could not be decoded", ["socket"])
SEQ_REUSED = Counter("patchline_seq_reused_total", "Announcements with a number already used", ["station"])
FRAMES = Counter("patchline_frames_total", "Frames taken from the camera", ["camera"])
# Prometheus adds the name of the process.
RELOADS = Counter("patchline_reloads_total", "Bundles read while the line runs, by outcome", ["outcome"])
SHADOW_VERDICTS = Counter(
    "patchline_shadow_verdicts_total",
    "Parts by live verdict and that of the shadow bundle",
    ["station", "live", "shadow"],
)
SHADOW_SCORE_RATIO = Histogram(
    "patchline_shadow_score_ratio",
    "Image score of the shadow bundle divided by its image threshold",
    ["station"],
    buckets=_RATIOS,
)
SHADOW_SKIPPED = Counter("patchline_shadow_skipped_total", "Parts that the shadow bundle had no time for", ["station"])
BATCH_SIZE = Histogram(
    "patchline_batch_size", "Frames scored in one backbone pass", ["worker"], buckets=(1, 2, 4, 8, 16, 32, 64)
)
CAMERA_UP = Gauge("patchline_camera_up", "1 while the camera and its process deliver", ["camera"])
CAMERA_RECONNECTS = Counter("patchline_camera_reconnects_total", "Times a lost camera was opened again", ["camera"])
LAST_FRAME_AGE_SECONDS = Gauge("patchline_last_frame_age_seconds", "Age of the camera's newest frame", ["camera"])
WORKER_UP = Gauge("patchline_worker_up", "1 while the worker reports", ["worker"])
ROLE_UP = Gauge("patchline_role_up", "1 while the supervised process runs and is ready", ["role"])
RESTARTS = Counter("patchline_restarts_total", "Restarts of a dead process", ["role"])
ALARMS = Counter("patchline_alarms_total", "Alarms raised", ["kind", "subject"])
STORE_ERRORS = Counter("patchline_store_errors_total", "Writes of the event store that failed")
STORE_BYTES = Gauge("patchline_store_bytes", "Size of the event store on disk")
CLOCK_OFFSET_SECONDS = Gauge(
    "patchline_clock_offset_seconds",
    "How far the boot clocks of camera host and sink host lie apart once real time is taken as equal",
    ["camera"],
)


def begin_station(station: str, deadline_s: float, actions: Iterable[str]) -> None:
    """Publish a station's deadline and create its counters, so that their first increase is visible."""
    DEADLINE_SECONDS.labels(station).set(deadline_s)
    ANNOUNCED.labels(station)
    LATE_REJECTS.labels(station)
    for verdict in Verdict:
        VERDICTS.labels(station, verdict)
    for cause in Cause:
        UNINSPECTED.labels(station, cause)
    for action in actions:
        DECISIONS.labels(station, action)


def serve(address: tuple[str, int] | None) -> None:
    """Serve this process's metrics at `address` (host, port); None switches them off. Raises TransportError."""
    if address is None:
        return
    host, port = address
    try:
        start_http_server(port, addr=host)
    except OSError as error:
        raise TransportError(
            f"metrics.listen: cannot listen on {host}:{port}: {error.strerror}; "
            "is another line running? Choose another port or stop it"
        ) from None
