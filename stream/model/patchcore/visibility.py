"""How small a defect may be and still be seen, from how much a picture is shrunk to the network input."""

from __future__ import annotations

#: Diameter of the smallest spot that is found in most pictures, in px of the network input, per stride of the finest
#: level, and the least whatever the stride: see docs/backbones.md for how both were measured.
SPOT_STRIDES, LEAST_SPOT_PX = 0.5, 2.0


def shrinking(region_px: tuple[int, int], input_px: tuple[int, int]) -> float:
    """Return the px of the picture that one px of the network input covers along the side that is shrunk most.

    Args:
        region_px: (width, height) of the inspected region in the picture.
        input_px: (width, height) of the network input.
    """
    return max(region_px[0] / input_px[0], region_px[1] / input_px[1])


def smallest_visible_px(region_px: tuple[int, int], input_px: tuple[int, int], finest_stride_px: int) -> float:
    """Return the diameter, in px of the picture, below which a spot of clear contrast is likely to be missed.

    A rule of thumb for the geometry alone: a faint defect must be larger, and one on a smooth part may be smaller.

    Args:
        region_px: (width, height) of the inspected region in the picture.
        input_px: (width, height) of the network input.
        finest_stride_px: distance of patches in px of the network input.
    """
    return shrinking(region_px, input_px) * max(LEAST_SPOT_PX, SPOT_STRIDES * finest_stride_px)
