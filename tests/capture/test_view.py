from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.pictures import good_picture

from stream.capture.view import goes_raw, view_of
from stream.core.halvings import Halvings
from stream.core.images import jpeg_within
from stream.line.config import LineConfig
from stream.line.sections import StoreOptions

STORE = StoreOptions(preview_max_px=100)
PART = good_picture(1, width_px=240, height_px=180)


@pytest.mark.parametrize("part", [PART, np.ascontiguousarray(PART[:, :, 0])], ids=["colour", "grey"])
def test_a_raw_view_is_the_pixels_of_which_the_jpeg_is_made(part: np.ndarray):
    view, jpeg = (view_of(Halvings(part), STORE, raw=raw) for raw in (True, False))
    assert view.shape is not None
    assert view.shape == (75, 100, 3 if part.ndim == 3 else 1)
    assert len(view.data) == 75 * 100 * view.shape[2]
    assert jpeg.shape is None
    assert jpeg.data == jpeg_within(part, 100, STORE.preview_jpeg_quality)


@pytest.mark.parametrize(
    ("transport", "raw"),
    [
        ({}, True),
        ({"announcements": "tcp://127.0.0.1:5551"}, True),
        ({"frames": {"top": "tcp://127.0.0.1:5552"}}, False),
        ({"results": "tcp://127.0.0.1:5553"}, False),
    ],
    ids=["one host", "announcements", "workers elsewhere", "sink elsewhere"],
)
def test_views_are_sent_as_pixels_within_a_host_only(tmp_path: Path, transport: dict[str, object], raw: bool):
    config = LineConfig.model_validate(
        {
            "line": "test",
            "cameras": {"top": {"kind": "folder", "path": str(tmp_path)}},
            "stations": {"cap": {"camera": "top", "bundle": "cap.safetensors"}},
            "store": {"path": str(tmp_path / "store")},
            "transport": transport,
        }
    )
    assert goes_raw(config, "top") is raw
