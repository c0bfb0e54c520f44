"""The event of a settled part, made of the ledger's verdict and the worker's result."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core.images import jpeg_of
from stream.core.parts import PartResult, Settled
from stream.core.verdict import Verdict
from stream.store.records import Event
from stream.transport.messages import Result


class ReceivedResult(NamedTuple):
    """A worker's result with its attachments.

    Attributes:
        result: the message.
        patch_distances: float16, row-major, `result.grid` in size; empty: none.
        view: of the region, JPEG or pixels as the frame's header says; empty: none.
        network_input: uint8 RGB, as the frame's header says; empty: none.
        arrived_ns: moment of arrival, this host's clock.
    """

    result: Result
    patch_distances: bytes
    view: bytes
    network_input: bytes
    arrived_ns: int


def event_of(
    settled: Settled,
    received: ReceivedResult | None,
    decision: str,
    *,
    stages: dict[str, float],
    total_ms: float | None,
    captured_realtime_ns: int,
    jpeg_quality: int,
) -> Event:
    """Return the event of a settled part; `received` is None for a part without a worker's result.

    Its preview is encoded here, after the verdict: of most parts nobody wants one.
    """
    part, result = settled.part, received.result if received else None
    return Event(
        part=PartResult(
            station=part.station,
            seq=part.seq,
            part_id=part.part_id,
            verdict=settled.verdict,
            cause=settled.cause,
            detail=settled.detail,
            score=result.score if result else None,
            threshold=result.threshold if result else None,
            pixel_threshold=result.pixel_threshold if result else None,
            within_spec=settled.within_spec,
            rule=result.rule if result else None,
            spot=result.spot if result else None,
            spots=result.spots if result else (),
        ),
        decision=decision,
        captured_realtime_ns=captured_realtime_ns,
        worker=result.worker if result else None,
        bundle_sha256=result.frame.bundle_sha256 if result else None,
        stages=stages,
        total_ms=total_ms,
        placement=result.frame.placement if result else None,
        preview_jpeg=_preview_jpeg(received, jpeg_quality) if received else b"",
        patch_distances=_patch_distances(received) if received else None,
        network_input=_network_input(received) if received and settled.verdict is not Verdict.UNINSPECTED else None,
    )


def _preview_jpeg(received: ReceivedResult, quality: int) -> bytes:
    """Return the view as JPEG; empty when there is none, or its size contradicts the header or exceeds a JPEG's."""
    shape = received.result.frame.view_shape
    if shape is None:
        return received.view
    height, width, channels = shape
    if min(height, width) <= 0 or len(received.view) != height * width * channels:
        return b""
    pixels = np.frombuffer(received.view, np.uint8).reshape((height, width, channels)[: 2 + (channels == 3)])
    try:
        return jpeg_of(pixels, quality)
    except ValueError:
        return b""


def _patch_distances(received: ReceivedResult) -> NDArray[np.float16] | None:
    """Return the patch distances (h, w), or None when there are none or their size contradicts the header."""
    height, width = received.result.grid
    if not height or len(received.patch_distances) != height * width * 2:
        return None
    return np.frombuffer(received.patch_distances, np.float16).reshape(height, width)


def _network_input(received: ReceivedResult) -> NDArray[np.uint8] | None:
    """Return the network's input (H, W, 3), or None when there is none or its size contradicts the header."""
    frame = received.result.frame
    width_px, height_px = frame.width_px, frame.height_px
    if min(width_px, height_px) <= 0 or len(received.network_input) != width_px * height_px * 3:
        return None
    return np.frombuffer(received.network_input, np.uint8).reshape(height_px, width_px, 3)
