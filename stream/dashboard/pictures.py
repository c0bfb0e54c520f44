"""Pictures of parts as the dashboard sends them."""

from __future__ import annotations

import functools

import numpy as np

_THUMBNAIL_PX = 240


@functools.lru_cache(maxsize=64)
def thumbnail(view: bytes) -> bytes:
    """Return a JPEG whose longer side has about 240 px; one that cannot be read stays as it is."""
    import cv2

    picture = cv2.imdecode(np.frombuffer(view, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        return view
    factor = _THUMBNAIL_PX / max(picture.shape[:2])
    if factor >= 1:
        return view
    size_px = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    _, data = cv2.imencode(".jpg", cv2.resize(picture, size_px, interpolation=cv2.INTER_AREA))
    return data.tobytes()
