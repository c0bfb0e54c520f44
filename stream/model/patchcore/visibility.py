"""How small a defect may be and still be seen, from how much a picture is shrunk to the network input."""

from __future__ import annotations

from typing import NamedTuple

#: Diameter of the smallest spot that is found in most pictures, in px of the network input: see docs/backbones.md for
#: how it was measured.
SPOT_INPUT_PX = 14.0


class Visibility(NamedTuple):
    """What the geometry of a network input lets through.

    Attributes:
        shrinking: px of the picture that one px of the network input covers, along the side that is shrunk most.
        spot_px: diameter in px of the picture below which a spot of clear contrast is likely to be missed.
    """

    shrinking: float
    spot_px: float


def visibility_of(region_px: tuple[int, int], input_px: tuple[int, int]) -> Visibility:
    """Return what can be seen of a region; a rule of thumb for the geometry alone.

    A faint defect must be larger, and one on a smooth part may be smaller.

    Args:
        region_px: (width, height) of the inspected region in the picture.
        input_px: (width, height) of the network input.
    """
    shrinking = max(region_px[0] / input_px[0], region_px[1] / input_px[1])
    return Visibility(shrinking, max(1.0, SPOT_INPUT_PX * shrinking))
