from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from stream.core.images import jpeg_within
from stream.core.parts import PartResult
from stream.core.verdict import Verdict
from stream.dashboard.live.frames import part_frame
from stream.dashboard.live.latest import LivePart
from stream.transport.messages import SettledPart

GRID = np.full((28, 28), 5, "<f2")
GRID[20:24, 2:6] = 9
PREVIEW = jpeg_within(np.full((240, 320, 3), 128, np.uint8), 320, 90)


def header_of(verdict: Verdict = Verdict.DEFECT, preview_jpeg: bytes = PREVIEW, **fields: Any) -> dict[str, Any]:
    part = PartResult(station="cap", seq=7, verdict=verdict, **{"pixel_threshold": 10.0} | fields)
    settled = SettledPart(part, "reject", 1, None, grid=(28, 28))
    frame = part_frame(LivePart(settled, preview_jpeg, GRID.tobytes()))
    (length,) = struct.unpack_from("<I", frame)
    assert frame[4 + length :] == GRID.tobytes() + preview_jpeg
    header: dict[str, Any] = json.loads(frame[4 : 4 + length])
    return header


def test_a_defect_comes_with_its_strongest_spot_in_pixels_of_the_preview():
    spot = header_of()["spot"]
    assert spot["place"] == "lower left"
    left_px, top_px, width_px, height_px = spot["box_px"]
    assert left_px < 320 * 4 / 28 < left_px + width_px < 100
    assert top_px < 240 * 22 / 28 < top_px + height_px <= 240
    assert 0.5 < spot["peak"] <= 0.9


@pytest.mark.parametrize(
    "fields",
    [
        {"verdict": Verdict.GOOD},
        {"verdict": Verdict.UNINSPECTED},
        {"pixel_threshold": None},
        {"preview_jpeg": b""},
        {"preview_jpeg": b"no image"},
    ],
)
def test_other_parts_have_none(fields: dict[str, Any]):
    assert header_of(**fields)["spot"] is None
