"""Pixel formats of industrial cameras, by the names and numbers of the PFNC, and the way to grey or BGR."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

PixelFormat = Literal[
    "Mono8", "BayerRG8", "BayerGB8", "BayerGR8", "BayerBG8", "RGB8", "BGR8", "RGBa8", "BGRa8"
]  # fmt: skip


class _Layout(NamedTuple):
    name: PixelFormat
    channels: int
    conversion: str | None  # name of OpenCV's constant


# OpenCV's older constants name the Bayer pattern by another corner than the PFNC; these four agree with it.
_LAYOUTS = {
    0x01080001: _Layout("Mono8", 1, None),
    0x01080008: _Layout("BayerGR8", 1, "COLOR_BayerGRBG2BGR"),
    0x01080009: _Layout("BayerRG8", 1, "COLOR_BayerRGGB2BGR"),
    0x0108000A: _Layout("BayerGB8", 1, "COLOR_BayerGBRG2BGR"),
    0x0108000B: _Layout("BayerBG8", 1, "COLOR_BayerBGGR2BGR"),
    0x02180014: _Layout("RGB8", 3, "COLOR_RGB2BGR"),
    0x02180015: _Layout("BGR8", 3, None),
    0x02200016: _Layout("RGBa8", 4, "COLOR_RGBA2BGR"),
    0x02200017: _Layout("BGRa8", 4, "COLOR_BGRA2BGR"),
}


def pixels_of(
    data: NDArray[np.uint8], pixel_format: int, width_px: int, height_px: int, padding: int = 0
) -> NDArray[np.uint8]:
    """Return the image, (H, W, 3) uint8 BGR, or of Mono8 (H, W); a copy.

    Args:
        data: the bytes as they came, at least H lines of W pixels and `padding` bytes.
        pixel_format: PFNC number.

    Raises:
        ValueError: the format is none of those above, or there are too few bytes.
    """
    import cv2

    layout = _LAYOUTS.get(pixel_format)
    if layout is None:
        known = ", ".join(layout.name for layout in _LAYOUTS.values())
        raise ValueError(f"pixel format 0x{pixel_format:08X} cannot be read; set pixel_format to one of {known}")
    line = width_px * layout.channels + padding
    needed = line * height_px
    if min(width_px, height_px) < 1 or data.size < needed:
        raise ValueError(f"{data.size} bytes are no picture of {width_px}×{height_px} px in {layout.name}")
    lines = data[:needed].reshape(height_px, line)[:, : width_px * layout.channels]
    pixels = lines if layout.channels == 1 else lines.reshape(height_px, width_px, layout.channels)
    if layout.conversion is None:
        return pixels.copy()
    converted = cv2.cvtColor(np.ascontiguousarray(pixels), getattr(cv2, layout.conversion))
    return np.asarray(converted, dtype=np.uint8)
