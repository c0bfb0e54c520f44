"""Every Prometheus metric of PatchLine. Each process serves its own /metrics (`metrics_page.py`).

Labels are names from the configuration (station, camera, worker, role) or values of closed lists (verdict, cause,
stage), so the number of series is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from stream.core.verdict import Cause, Verdict

_MS = (0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000, 2000, 5000)
_RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_SECONDS = tuple(ms / 1000 for ms in _MS)

STAGE_SECONDS = Histogram(
    "patchline_stage_seconds",
    "Latency of a part by stage; stage=total is exposure to decision",
    ["station", "stage"],
    buckets=_SECONDS,
)
DEADLINE_SECONDS = Gauge(
    "patchline_deadline_seconds", "Deadline of a station: longest time from exposure to decision", ["station"]
)
VERDICTS = Counter("patchline_verdicts_total", "Parts by verdict", ["station", "verdict"])
WITHIN_SPEC = Counter(
    "patchline_parts_within_spec_total", "Parts that are GOOD only because rules let them pass", ["station"]
)
UNINSPECTED = Counter("patchline_uninspected_total", "Uninspected parts by cause", ["station", "cause"])
ANNOUNCED = Counter("patchline_announced_total", "Parts announced to the sink", ["station"])
PENDING = Gauge("patchline_pending", "Announced parts without a verdict yet", ["station"])
DECISIONS = Counter("patchline_decisions_total", "Parts by decision: reject, pass, ignore", ["station", "decision"])
SCORE_RATIO = Histogram(
    "patchline_score_ratio",
    "Image score divided by the station's image threshold (above 1 is a defect)",
    ["station"],
    buckets=_RATIOS,
)
ALIGNMENT_OFFSET_PX = Histogram(
    "patchline_alignment_offset_px",
    "How far an aligned part was from its place, px of the frame",
    ["station"],
    buckets=(0.5, 1, 2, 5, 10, 20, 30, 40, 60, 80, 120),
)
ALIGNMENT_ANGLE_DEGREES = Histogram(
    "patchline_alignment_angle_degrees",
    "How far an aligned part was turned, to either side",
    ["station"],
    buckets=(0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 15, 30),
)
ALIGNMENT_MATCH = Gauge(
    "patchline_alignment_match", "How well the newest aligned part matched the reference, 0 to 1", ["station"]
)
DRIFT_PSI = Gauge(
    "patchline_drift_psi",
    "Population stability index of good parts against the calibration; above 0.25 is a large change",
    ["station", "what"],
)
DRIFT_P_VALUE = Gauge(
    "patchline_drift_p_value",
    "p-value of the Kolmogorov-Smirnov test of good parts against the calibration",
    ["station", "what"],
)
LATE_REJECTS = Counter("patchline_late_rejects_total", "Rejects that were too late and not fired", ["station"])
FAILED_REJECTS = Counter("patchline_failed_rejects_total", "Rejects that an actuator did not acknowledge", ["actuator"])
ACTUATOR_UP = Gauge("patchline_actuator_up", "1 while the actuator can be switched, else 0", ["actuator"])
ENCODER_UP = Gauge("patchline_encoder_up", "1 while the belt's encoder can be read, else 0", ["encoder"])
REJECT_ERROR_SECONDS = Histogram(
    "patchline_reject_error_seconds", "Delay of a reject after its planned moment", ["actuator"], buckets=_SECONDS
)
QUEUE_DEPTH = Gauge("patchline_queue_depth", "Entries waiting in a bounded queue", ["queue"])
DROPPED = Counter("patchline_dropped_total", "Events, images, reports and messages dropped under overload", ["what"])
STRAY_RESULTS = Counter("patchline_stray_results_total", "Results for parts that already had a verdict", ["station"])
MESSAGES_REFUSED = Counter(
    "patchline_messages_refused_total", "Messages that could not be decoded or handled, by socket", ["socket"]
)
SOCKETS_BOUND_AGAIN = Counter(
    "patchline_sockets_bound_again_total", "Sockets bound again because their file had been removed", []
)
CREDIT_FORGOTTEN = Counter(
    "patchline_credit_forgotten_total", "Frames sent to a worker that it never counted as received", ["camera"]
)
LOG_LINES = Counter(
    "patchline_log_lines_changed_total",
    "Log lines escaped (control characters), cut (too long) or left_out (more of the same)",
    ["how"],
)
NUMBERS_REFUSED = Counter(
    "patchline_numbers_refused_total",
    "Announcements and results with a number that was used before or is too far ahead",
    ["station"],
)
FRAMES = Counter("patchline_frames_total", "Frames received from the camera", ["camera"])
# The label `process`, added by Prometheus, tells capture from workers.
RELOADS = Counter("patchline_reloads_total", "Bundle reloads while the line runs, by outcome", ["outcome"])
SHADOW_VERDICTS = Counter(
    "patchline_shadow_verdicts_total",
    "Parts by verdict of the live bundle and of the shadow bundle",
    ["station", "live", "shadow"],
)
SHADOW_SCORE_RATIO = Histogram(
    "patchline_shadow_score_ratio",
    "Image score of the shadow bundle divided by its image threshold (above 1 is a defect)",
    ["station"],
    buckets=_RATIOS,
)
SHADOW_SKIPPED = Counter(
    "patchline_shadow_skipped_total", "Parts not scored by the shadow bundle for lack of time", ["station"]
)
BATCH_SIZE = Histogram(
    "patchline_batch_size", "Frames in one backbone pass", ["worker"], buckets=(1, 2, 4, 8, 16, 32, 64)
)
CAMERA_UP = Gauge(
    "patchline_camera_up", "1 while the camera delivers frames and its process reports, else 0", ["camera"]
)
CAMERA_RECONNECTS = Counter("patchline_camera_reconnects_total", "Reconnections to a lost camera", ["camera"])
LAST_FRAME_AGE_SECONDS = Gauge("patchline_last_frame_age_seconds", "Age of the camera's newest frame", ["camera"])
WORKER_UP = Gauge("patchline_worker_up", "1 while the worker reports, else 0", ["worker"])
ROLE_UP = Gauge("patchline_role_up", "1 while the supervised process runs and is ready, else 0", ["role"])
RESTARTS = Counter("patchline_restarts_total", "Restarts of a process that died", ["role"])
ALARMS = Counter("patchline_alarms_total", "Alarms raised by kind and subject", ["kind", "subject"])
STORE_ERRORS = Counter("patchline_store_errors_total", "Failed writes of the event store")
STORE_BYTES = Gauge("patchline_store_bytes", "Size of the event store on disk")
HTTP_REFUSED = Counter(
    "patchline_http_refused_total",
    "HTTP connections closed and triggers refused, by server and reason: connections, slow, rate",
    ["server", "why"],
)
CLOCK_OFFSET_SECONDS = Gauge(
    "patchline_clock_offset_seconds",
    "Skew of the camera host's clock against this host's, measured; 0 on the same host",
    ["camera"],
)


def begin_station(station: str, deadline_s: float, decisions: Iterable[str]) -> None:
    """Set a station's deadline and create its counters at 0, so that their first increase is visible to Prometheus."""
    DEADLINE_SECONDS.labels(station).set(deadline_s)
    ANNOUNCED.labels(station)
    LATE_REJECTS.labels(station)
    WITHIN_SPEC.labels(station)
    for verdict in Verdict:
        VERDICTS.labels(station, verdict)
    for cause in Cause:
        UNINSPECTED.labels(station, cause)
    for decision in decisions:
        DECISIONS.labels(station, decision)
