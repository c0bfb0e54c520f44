from __future__ import annotations

import msgspec
import numpy as np
import pytest

from stream.core.clock import Clock
from stream.core.images import jpeg_of
from stream.core.parts import Part, Placement, Settled
from stream.core.verdict import Cause, Verdict
from stream.sink.event import ReceivedResult, event_of
from stream.store.records import Event
from stream.transport.messages import FrameHeader, FrameStamps, Result, ResultStamps

CLOCK = Clock("boot", 0)
FRAME = FrameHeader("cap", 7, 1, 2, "triggered", "ab", 4, 4, (4, 4), 1, "epoch", FrameStamps(1, 2, 3), CLOCK)
RESULT = Result(FRAME, "worker0", Verdict.DEFECT, ResultStamps(1, 2, 3, 4, 5, 6, 7), CLOCK, score=9.5, threshold=8.0)
PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def event_with(
    network_input: bytes,
    verdict: Verdict = Verdict.DEFECT,
    cause: Cause | None = None,
    view: bytes = b"",
    **frame: object,
) -> Event:
    result = msgspec.structs.replace(RESULT, frame=msgspec.structs.replace(FRAME, **frame))
    settled = Settled(Part("cap", 7, 1, 2), verdict, cause, "", 3)
    received = ReceivedResult(result, b"", view, network_input, 3)
    return event_of(settled, received, "reject", stages={}, total_ms=None, captured_realtime_ns=0, jpeg_quality=90)


def test_the_event_of_a_defect_has_the_network_input():
    np.testing.assert_array_equal(event_with(PIXELS.tobytes()).network_input, PIXELS)


def test_the_event_of_a_good_part_has_the_network_input_that_a_worker_found_worth_sending():
    np.testing.assert_array_equal(event_with(PIXELS.tobytes(), Verdict.GOOD).network_input, PIXELS)
    assert event_with(b"", Verdict.GOOD).network_input is None


def test_the_event_of_a_part_whose_result_came_too_late_has_no_network_input():
    event = event_with(PIXELS.tobytes(), Verdict.UNINSPECTED, Cause.TIMEOUT)
    assert (event.part.verdict, event.network_input) == (Verdict.UNINSPECTED, None)


def test_a_view_of_pixels_becomes_the_preview():
    colours = event_with(b"", view=PIXELS.tobytes(), view_shape=(4, 4, 3)).preview_jpeg
    grey = event_with(b"", view=PIXELS[:, :, 0].tobytes(), view_shape=(4, 4, 1)).preview_jpeg
    assert colours == jpeg_of(PIXELS, 90)
    assert grey == jpeg_of(PIXELS[:, :, 0], 90)


def test_a_view_that_is_a_jpeg_is_the_preview():
    assert event_with(b"", view=b"jpeg").preview_jpeg == b"jpeg"


@pytest.mark.parametrize(
    ("size", "shape"),
    [(0, (4, 4, 3)), (47, (4, 4, 3)), (16, (4, 4, 3)), (48, (-4, -4, 3)), (0, (0, 0, 3)), (70_000, (1, 70_000, 1))],
    ids=["none", "cut short", "of one channel", "negative", "empty", "too wide for a JPEG"],
)
def test_a_view_that_contradicts_the_header_is_left_out(size: int, shape: tuple[int, int, int]):
    event = event_with(b"", view=bytes(size), view_shape=shape)
    assert (event.part.verdict, event.part.score, event.preview_jpeg) == (Verdict.DEFECT, 9.5, b"")


def test_the_event_of_an_aligned_part_says_how_it_lay():
    placement = Placement(dx_px=1.5, dy_px=-2.0, angle_deg=0.25, match=0.9)
    assert event_with(b"", Verdict.GOOD, placement=placement).placement == placement
    assert event_with(b"", Verdict.GOOD).placement is None


@pytest.mark.parametrize(
    ("size", "frame"),
    [
        (0, {}),
        (47, {}),
        (49, {}),
        (48, {"height_px": 2, "width_px": 7}),
        (48, {"height_px": -4, "width_px": -4}),
        (0, {"height_px": 0, "width_px": 0}),
    ],
    ids=["none", "cut short", "too long", "of another shape", "negative", "empty"],
)
def test_pixels_that_contradict_the_header_are_left_out_of_the_event(size: int, frame: dict[str, int]):
    event = event_with(bytes(size), **frame)
    assert (event.part.verdict, event.part.score, event.network_input) == (Verdict.DEFECT, 9.5, None)
