"""The overlay of an event: its preview with hatching, heat map, contour and header."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.model.visualization import draw
from stream.store.records import Event, EventImages


def overlay(event: Event, images: EventImages, unjudged: NDArray[np.bool_] | None) -> bytes | None:
    """Return the overlay as JPEG; None when the preview cannot be decoded.

    Args:
        event: the part.
        images: its images.
        unjudged: (H, W), what of its region is not judged and will be hatched; None: nothing.
    """
    preview = cv2.imdecode(np.frombuffer(images.preview_jpeg, np.uint8), cv2.IMREAD_COLOR)
    if preview is None:
        return None
    drawn = draw(
        np.asarray(preview, dtype=np.uint8),
        images.patch_distances,
        verdict=event.part.verdict,
        score=event.part.score,
        threshold=event.part.threshold,
        pixel_threshold=event.part.pixel_threshold,
        title=f"{event.part.station} {event.part.seq}",
        within_spec=event.part.rule if event.part.within_spec else None,
        cause=event.part.cause,
        filled=unjudged,
    )
    _, data = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return data.tobytes()
