"""What of a part the dashboard hatches."""

from __future__ import annotations

import cv2
import numpy as np
from fastapi import FastAPI
from starlette.requests import Request

from stream.dashboard.routes.live import unjudged
from stream.dashboard.services import Dashboard
from stream.line.config import LineConfig
from stream.model.bundle import change_bundle, load_bundle
from stream.model.patchcore.masks import Mask, Masks


def test_the_browser_is_given_what_the_bundle_does_not_judge_as_an_opaque_area(config: LineConfig):
    path = config.stations["cap"].bundle
    masks = Masks((160, 120), (Mask("right", "ignore", rectangle=(80, 0, 80, 120)),))
    live = change_bundle(path, path, masks=masks)
    app = FastAPI()
    app.state.dashboard = Dashboard(**(dict.fromkeys(Dashboard._fields) | {"config": config}))  # type: ignore[arg-type]
    answer = unjudged(Request({"type": "http", "app": app}), "cap", live.sha256)
    pixels = cv2.imdecode(np.frombuffer(bytes(answer.body), np.uint8), cv2.IMREAD_UNCHANGED)
    filled = load_bundle(path).info.filled
    assert filled is not None
    assert pixels is not None
    np.testing.assert_array_equal(pixels[..., 3] == 255, filled)
    assert set(np.unique(pixels[..., 3])) == {0, 255}
