from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.core.parts import PartResult
from stream.core.verdict import Cause, Verdict
from stream.model.visualization import draw
from stream.store.overlay import overlay
from stream.store.records import Event, EventImages

VIEW = np.full((240, 320, 3), 128, np.uint8)
JPEG = cv2.imencode(".jpg", VIEW)[1].tobytes()
#: Where the map is nowhere near the threshold.
QUIET = np.full((28, 28), 1, np.float16)


def event(verdict: Verdict = Verdict.GOOD, **part: object) -> Event:
    result = PartResult(station="cap", seq=17, verdict=verdict, score=12.5, threshold=10.0, pixel_threshold=9.0, **part)  # type: ignore[arg-type]
    return Event(part=result, decision="pass", captured_realtime_ns=1)


def drawn(of: Event, unjudged: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    data = overlay(of, EventImages(JPEG, QUIET), unjudged)
    assert data is not None
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.int64)


def header(of: Event) -> NDArray[np.int64]:
    return drawn(of)[:-240]


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (event(within_spec=True, rule="short scratches"), {"within_spec": "short scratches", "cause": None}),
        (event(), {"cause": None}),
        (event(Verdict.UNINSPECTED, cause=Cause.TIMEOUT), {"cause": Cause.TIMEOUT}),
    ],
    ids=["within specification", "good", "uninspected"],
)
def test_the_title_has_station_number_verdict_and_what_decided_it(of: Event, expected: dict[str, object]):
    wanted = draw(
        VIEW,
        QUIET,
        verdict=of.part.verdict,
        score=12.5,
        threshold=10.0,
        pixel_threshold=9.0,
        title="cap 17",
        **expected,  # type: ignore[arg-type]
    )
    _, jpeg = cv2.imencode(".jpg", wanted, [cv2.IMWRITE_JPEG_QUALITY, 90])
    np.testing.assert_array_equal(drawn(of), cv2.imdecode(jpeg, cv2.IMREAD_COLOR))


def test_the_rule_that_lets_a_part_pass_is_in_the_title():
    plain, ruled = header(event()), header(event(within_spec=True, rule="short scratches"))
    assert plain.shape != ruled.shape or np.abs(plain - ruled).max() > 100


def test_what_is_not_judged_is_hatched_over_the_whole_region():
    unjudged = np.zeros((28, 28), np.bool_)
    unjudged[:, 14:] = True
    changed = np.abs(drawn(event(), unjudged)[-240:] - 128).max(axis=2) > 30
    assert changed[:, 168:].mean() > 0.1
    assert not changed[:, :152].any()


def test_a_preview_that_cannot_be_decoded_has_no_overlay():
    assert overlay(event(), EventImages(b"\xff\xd8", QUIET), None) is None
