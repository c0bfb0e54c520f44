"""The frames of the live feed as a browser receives them."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from stream.core.images import encoded_size
from stream.core.verdict import Verdict
from stream.dashboard.live.latest import STATE, LatestParts, LivePart
from stream.model.patchcore.spots import spot_in_picture
from stream.transport.messages import SettledPart


def part_header(settled: SettledPart) -> dict[str, Any]:
    """Return the header of a live-feed frame with a part."""
    part = settled.part
    return {
        "channel": part.station,
        "seq": part.seq,
        "part_id": part.part_id,
        "verdict": part.verdict,
        "cause": part.cause,
        "detail": part.detail,
        "within_spec": part.within_spec,
        "rule": part.rule,
        "decision": settled.decision,
        "score": part.score,
        "threshold": part.threshold,
        "pixel_threshold": part.pixel_threshold,
        "captured_s": settled.captured_realtime_ns / 1e9,
        "total_ms": settled.total_ms,
        "stages": settled.stages,
        "placement": None if settled.placement is None else msgspec.to_builtins(settled.placement),
        "grid": settled.grid,
        "bundle_sha256": settled.bundle_sha256,
    }


def part_frame(part: LivePart) -> bytes:
    """Return the frame of a station's latest part; `spot` is the strongest one, None where the score is good."""
    header = part_header(part.settled) | {"spot": _spot(part)}
    return live_frame(header, part.patch_distances, part.preview_jpeg)


def _spot(part: LivePart) -> dict[str, Any] | None:
    pixel_threshold = part.settled.part.pixel_threshold
    outlined = part.settled.part.verdict is Verdict.DEFECT or part.settled.part.within_spec
    if not outlined or pixel_threshold is None or not part.patch_distances:
        return None
    size_px = encoded_size(part.preview_jpeg)
    if size_px is None:
        return None
    distances = np.frombuffer(part.patch_distances, "<f2").reshape(part.settled.grid)
    spot = spot_in_picture(distances, pixel_threshold, (size_px[1], size_px[0]))
    return None if spot is None else msgspec.to_builtins(spot)


def state_header(latest: LatestParts, acknowledged: Mapping[tuple[str, str, int], tuple[str, float]]) -> dict[str, Any]:
    """Return the header of a live-feed frame with the line's state.

    `acknowledged` has the user and the time (s) of each acknowledged alarm, by (kind, subject, raised_realtime_ns).
    """
    state = latest.state
    assert state is not None, "there is a state before there is a version of it"
    return {
        "channel": STATE,
        "age_s": max(0.0, time.time() - state.at_realtime_ns / 1e9),
        "line": state.line,
        "stations": msgspec.to_builtins(state.stations),
        **{
            kind: {name: {"up": peer.up, "text": peer.text} for name, peer in getattr(state, kind).items()}
            for kind in ("cameras", "workers", "actuators")
        },
        "alarms": [
            {
                "kind": alarm.kind,
                "subject": alarm.subject,
                "raised_ns": str(alarm.raised_realtime_ns),
                "raised_s": alarm.raised_realtime_ns / 1e9,
                "text": alarm.text,
                "acknowledged_by": acknowledged.get((alarm.kind, alarm.subject, alarm.raised_realtime_ns), (None,))[0],
            }
            for alarm in state.alarms
        ],
        "rejects": [
            part_header(part.settled) | {"picture": bool(part.preview_jpeg)} for part in reversed(latest.rejects)
        ],
    }


def live_frame(header: dict[str, Any], patch_distances: bytes = b"", preview_jpeg: bytes = b"") -> bytes:
    """Return a frame: length of the header (uint32, little endian), header (JSON), map (float16), preview (JPEG)."""
    text = json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + patch_distances + preview_jpeg
