"""A recorded run is judged again to the same bits."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from support.running import GATE, Line, belt, station

from stream.capture.recording import Recording
from stream.core.verdict import Verdict
from stream.store.event_reader import FILE_NAME

MakeLine = Callable[..., Line]
PARTS = 200


def replayed(line: Line, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stream", "replay", str(line.folder / "frames"), str(line.path), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


def test_a_recorded_run_is_judged_again_with_identical_scores(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=PARTS, rate_hz=15, record={"path": "frames", "keep": "all"})},
            "stations": {"cap": station(small_bundle, backlog=64)},
            "actuators": GATE,
        }
    )
    line.start()
    assert line.finish(120) == 0, line.output()
    events = line.events()
    assert sum(event.part.score is not None for event in events) == PARTS, line.output()
    assert len(Recording(line.folder / "frames")) == PARTS

    answer = replayed(line, "--report", str(line.folder / "replay.json"))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    report = json.loads((line.folder / "replay.json").read_text())
    (summary,) = report["summary"]
    assert summary["compared"] == {"same": PARTS}
    assert [part["score"] for part in report["parts"]] == [event.part.score for event in events]
    assert [part["part_id"] for part in report["parts"]] == [event.part.part_id for event in events]
    defects = sum(event.part.verdict is Verdict.DEFECT for event in events)
    assert summary["verdicts"]["DEFECT"] == defects > 0
    assert answer.stdout.count("DEFECT score") == defects

    # A store that says something else is found out.
    with sqlite3.connect(line.folder / "store" / FILE_NAME) as store:
        store.execute("UPDATE events SET score = score + 1e-9 WHERE seq = 17")
    answer = replayed(line)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert answer.stdout.count("DIFFERS") == 1
    assert "cap 17" in answer.stdout


def test_a_ring_of_a_triggered_camera_keeps_the_newest_parts_and_their_names(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    trigger = {"kind": "rate", "rate_hz": 20}
    camera = belt(parts_folder, rate_hz=5, fps=40, parts=15, trigger=trigger, record={"path": "frames", "keep": 10})
    line = make_line(
        {
            "cameras": {"top": camera},
            "stations": {"cap": station(small_bundle, backlog=64)},
            "actuators": GATE,
        }
    )
    line.start()
    assert line.finish() == 0, line.output()
    announced = line.ledger()["cap"].announced
    assert announced > 20
    recorded = [one for one in Recording(line.folder / "frames").frames() if one is not None]
    assert [one.seq for one in recorded] == list(range(announced - 10, announced))
    names = {event.part.seq: event.part.part_id for event in line.events()}
    assert [one.frame.part_id for one in recorded] == [names[one.seq] for one in recorded]
    answer = replayed(line)
    assert answer.returncode == 0, answer.stdout + answer.stderr
