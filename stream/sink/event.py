"""What is remembered of a settled part, from the ledger's verdict and the worker's result."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core.parts import PartResult, Settled
from stream.core.verdict import Verdict
from stream.store.records import Event
from stream.transport.messages import Result


class Answer(NamedTuple):
    """A worker's result with what came behind its header."""

    result: Result
    patch_distances: bytes
    preview_jpeg: bytes
    network_input: bytes
    arrived_ns: int


def event_of(
    settled: Settled,
    answer: Answer | None,
    decision: str,
    *,
    stages: dict[str, float],
    total_ms: float | None,
    captured_realtime_ns: int,
) -> Event:
    """Return what is remembered of a settled part; `answer` is None for a part that no worker judged."""
    part, result = settled.part, answer.result if answer else None
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
        ),
        decision=decision,
        captured_realtime_ns=captured_realtime_ns,
        worker=result.worker if result else None,
        bundle_sha256=result.frame.bundle_sha256 if result else None,
        stages=stages,
        total_ms=total_ms,
        preview_jpeg=answer.preview_jpeg if answer else b"",
        patch_distances=_grid(answer) if answer else None,
        network_input=_network_input(answer) if answer and settled.verdict is Verdict.DEFECT else None,
    )


def _grid(answer: Answer) -> NDArray[np.float16] | None:
    """Return the patch distances, or None when there are none or they are not what the header says."""
    height, width = answer.result.grid
    if not height or len(answer.patch_distances) != height * width * 2:
        return None
    return np.frombuffer(answer.patch_distances, np.float16).reshape(height, width)


def _network_input(answer: Answer) -> NDArray[np.uint8] | None:
    """Return the pixels that were judged, or None when there are none or they are not what the header says."""
    frame = answer.result.frame
    size_px = frame.width_px
    if size_px <= 0 or frame.height_px != size_px or len(answer.network_input) != size_px * size_px * 3:
        return None
    return np.frombuffer(answer.network_input, np.uint8).reshape(size_px, size_px, 3)
