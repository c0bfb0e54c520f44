"""Network inputs as files that lose nothing: PNG."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """Return (S, S, 3) uint8 RGB as PNG."""
    # Without options OpenCV tries one filter only: quicker than the lowest level it can be told, and about as small.
    _, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return data.tobytes()


def pixels_of(png: bytes) -> NDArray[np.uint8]:
    """Return what `png_of` was given; raises ValueError for what is no PNG of colours."""
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) if png else None
    if picture is None:
        raise ValueError("not a picture")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)
