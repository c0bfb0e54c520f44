"""Pictures that cannot be judged, and good parts that change, on a real line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from support.pictures import good_picture, write_picture
from support.running import GATE, Line, belt, station

from stream.core.verdict import Cause, Verdict

MakeLine = Callable[..., Line]
#: Parts that pass before and after the lamp is changed: several windows of 20.
WINDOW, PARTS = 20, 120
BLACK, BLURRED = (2, 6), (4, 9)


def spoilt(number: int) -> NDArray[np.uint8]:
    """The picture of part `number`: good, but some are black and some out of focus."""
    picture = good_picture(900 + number)
    if number in BLACK:
        return np.zeros_like(picture)
    if number in BLURRED:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), 5), np.uint8)
    return picture


@pytest.fixture
def spoilt_folder(tmp_path: Path) -> Path:
    (tmp_path / "spoilt").mkdir()
    for number in range(10):
        write_picture(tmp_path / "spoilt" / f"part{number}.png", spoilt(number))
    return tmp_path / "spoilt"


@pytest.fixture(scope="module")
def steady_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 good parts in the light of the fit."""
    folder = tmp_path_factory.mktemp("steady")
    for number in range(PARTS):
        write_picture(folder / f"part{number:03d}.png", good_picture(2000 + number))
    return folder


@pytest.fixture(scope="module")
def brighter_folder(steady_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same parts twice, the second time under a lamp that is a little brighter."""
    folder = tmp_path_factory.mktemp("brighter")
    for number in range(2 * PARTS):
        picture = good_picture(2000 + number % PARTS)
        lit = picture if number < PARTS else cv2.add(picture, (6, 6, 6, 0))
        write_picture(folder / f"part{number:03d}.png", np.asarray(lit, np.uint8))
    return folder


def test_black_and_blurred_parts_are_bad_frames_and_rejected_and_the_others_are_judged(
    make_line: MakeLine, spoilt_folder: Path, small_bundle: Path
):
    line = make_line(
        {
            "cameras": {"top": belt(spoilt_folder, parts=30)},
            "stations": {"cap": station(small_bundle)},
            "actuators": GATE,
        }
    )
    line.start()
    assert line.finish() == 0, line.output()
    counts, events = line.ledger()["cap"], line.events()
    assert counts.closed
    assert (counts.announced, counts.uninspected) == (30, {"bad_frame": 12}), line.output()
    for event in events:
        number = event.part.seq % 10
        reason = "black" if number in BLACK else "out of focus" if number in BLURRED else None
        if reason is None:
            assert event.part.verdict is not Verdict.UNINSPECTED
            assert event.part.score is not None
        else:
            assert (event.part.verdict, event.part.cause, event.part.score) == (
                Verdict.UNINSPECTED,
                Cause.BAD_FRAME,
                None,
            )
            assert event.part.detail.startswith(reason)
    bad = {event.part.seq for event in events if event.part.verdict is not Verdict.GOOD}
    assert {reject["seq"] for reject in line.rejects()} == bad


def test_without_frame_checks_even_a_black_picture_is_judged_and_is_not_good(
    make_line: MakeLine, spoilt_folder: Path, small_bundle: Path
):
    line = make_line(
        {
            "cameras": {"top": belt(spoilt_folder)},
            "stations": {"cap": station(small_bundle, frame_checks=False)},
            "actuators": GATE,
        }
    )
    line.start()
    assert line.finish() == 0, line.output()
    assert line.ledger()["cap"].uninspected == {}
    assert [line.events()[number].part.verdict for number in (*BLACK, *BLURRED)] == [Verdict.DEFECT] * 4


def drift_line(make_line: MakeLine, folder: Path, bundle: Path, **options: object) -> Line:
    return make_line(
        {
            "cameras": {"top": belt(folder, rate_hz=40)},
            "stations": {"cap": station(bundle, drift={"window": WINDOW}, reject=None, backlog=64, **options)},
        }
    )


def drift_alarms(line: Line) -> list[str]:
    return [alarm.text for alarm in line.alarms() if alarm.kind == "drift"]


def test_a_line_whose_parts_stay_as_they_were_raises_no_drift_alarm(
    make_line: MakeLine, steady_folder: Path, small_bundle: Path
):
    line = drift_line(make_line, steady_folder, small_bundle)
    line.start()
    assert line.finish() == 0, line.output()
    assert line.ledger()["cap"].good > 2 * WINDOW
    assert drift_alarms(line) == []


def test_a_brighter_lamp_raises_one_drift_alarm_while_the_parts_are_still_good(
    make_line: MakeLine, brighter_folder: Path, small_bundle: Path
):
    line = drift_line(make_line, brighter_folder, small_bundle)
    line.start()
    line.wait_for(
        lambda: (line.metric("sink", "patchline_drift_psi", station="cap", what="brightness") or 0) > 1,
        "a large stability index of the brightness",
    )
    p_value = line.metric("sink", "patchline_drift_p_value", station="cap", what="brightness")
    assert p_value is not None
    assert p_value < 1e-4
    assert line.finish() == 0, line.output()
    (text,) = drift_alarms(line)
    assert text.startswith("good parts of cap are no longer like those of the calibration: brightness")
    assert line.ledger()["cap"].uninspected == {}


def test_a_station_can_have_the_line_stopped_when_its_parts_drift(
    make_line: MakeLine, brighter_folder: Path, small_bundle: Path
):
    line = drift_line(make_line, brighter_folder, small_bundle, on_drift="stop_line")
    line.start()
    assert line.finish() == 1, line.output()
    assert "sink stops the line: good parts of cap are no longer like those of the calibration" in line.output()
    counts = line.ledger()["cap"]
    assert counts.closed
    assert PARTS < counts.announced < 2 * PARTS
