"""An event's picture with everything drawn in, as a file for people."""

from __future__ import annotations

import cv2
import numpy as np

from stream.model.visualization import draw
from stream.store.records import Event, EventImages


def overlay(event: Event, picture: EventImages) -> bytes | None:
    """Return the part with heat map, contour and header as JPEG; None when its view cannot be read."""
    view = cv2.imdecode(np.frombuffer(picture.view, np.uint8), cv2.IMREAD_COLOR)
    if view is None:
        return None
    drawn = draw(
        np.asarray(view, dtype=np.uint8),
        picture.anomaly_map,
        verdict=event.verdict,
        score=event.score,
        threshold=event.threshold,
        pixel_threshold=event.pixel_threshold,
        title=f"{event.station} {event.seq}",
        cause=event.cause,
    )
    _, data = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return data.tobytes()
