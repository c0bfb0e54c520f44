"""Verdicts, the causes of UNINSPECTED, and the modes of a station."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal


def verdict_of(score: float, threshold: float) -> Verdict:
    """Return GOOD or DEFECT; written so that a score that compares with nothing (NaN) could never be GOOD."""
    return Verdict.GOOD if score <= threshold else Verdict.DEFECT


Mode = Literal["triggered", "freerun"]


class Verdict(StrEnum):
    """The result of one part."""

    GOOD = "GOOD"
    DEFECT = "DEFECT"
    UNINSPECTED = "UNINSPECTED"


class Cause(StrEnum):
    """Why a part is UNINSPECTED: a closed list, also the label of the metrics."""

    TIMEOUT = "timeout"  # no result by the deadline
    OVERRUN = "overrun"  # the backlog was full when the part came
    SKIPPED = "skipped"  # a free-running camera passed it over for a newer frame
    CAMERA_FAULT = "camera_fault"  # the camera or its process lost it
    BAD_FRAME = "bad_frame"  # the frame is damaged
    WRONG_GEOMETRY = "wrong_geometry"  # the frame does not have the shape that the bundle was fitted for
    NOT_FOUND = "not_found"  # alignment did not find the part, or found it beyond the limits
    WORKER_ERROR = "worker_error"  # inference raised
    MODEL_MISMATCH = "model_mismatch"  # cropped for another bundle than the worker holds
    SINK_DOWN = "sink_down"  # the sink was not running
    SHUTDOWN = "shutdown"  # the line was stopped while it was pending
