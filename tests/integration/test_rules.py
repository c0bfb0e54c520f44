"""Rules on spots in a real line: what passes by a rule is GOOD with its record, and replay agrees."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from support.pictures import defective_picture, good_picture, write_picture
from support.running import GATE, Line, belt, complaint, patchline, station

from stream.core.verdict import Verdict
from stream.store.event_reader import FILE_NAME, EventReader

MakeLine = Callable[..., Line]
SHORT = {"name": "short marks", "within_spec": {"length_mm": 10.5}}
PARTS = 30


@pytest.fixture(scope="module")
def marked_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten parts: part 3 has a small mark, part 7 a large defect."""
    folder = tmp_path_factory.mktemp("marked")
    for number in range(10):
        picture = defective_picture(900 + number) if number == 7 else good_picture(900 + number)
        if number == 3:
            cv2.circle(picture, (40, 40), 4, (15, 20, 25), -1)
        write_picture(folder / f"part{number}.png", picture)
    return folder


def test_a_small_mark_is_good_with_its_record_and_a_large_one_a_defect_that_names_the_rule(
    make_line: MakeLine, marked_parts: Path, small_bundle: Path
):
    camera = belt(marked_parts, parts=PARTS, record={"path": "frames", "keep": "all"})
    line = make_line(
        {
            "cameras": {"top": camera},
            "stations": {"cap": station(small_bundle, backlog=64, mm_per_px=0.1, rules=[SHORT])},
            "actuators": GATE,
            "store": {"path": "store", "record": "non_good", "good_per_hour": 0, "good_one_in": 0},
        }
    )
    line.start()
    assert line.finish(120) == 0, line.output()
    counts = line.ledger()["cap"]
    assert (counts.announced, counts.good, counts.defect, counts.within_spec) == (PARTS, 27, 3, 3), line.output()
    assert counts.closed
    assert "good 27 (3 within specification) + defect 3" in line.output()

    # The store keeps no plain good part here.
    small, large = ([event for event in line.events() if event.part.part_id == f"part{n}.png"] for n in (3, 7))
    assert (len(small), len(large), len(line.events())) == (3, 3, 6)
    for event in small:
        part = event.part
        assert (part.verdict, part.within_spec, part.rule, part.spot) == (Verdict.GOOD, True, "short marks", 1)
        assert part.score is not None
        assert part.threshold is not None
        assert part.score > part.threshold
        assert event.decision == "pass"
        assert part.spots[0].length_mm == pytest.approx(part.spots[0].length_px * 0.1)
        assert part.spots[0].length_mm <= 10.5
    for event in large:
        part = event.part
        assert (part.verdict, part.within_spec, part.rule, part.spot) == (Verdict.DEFECT, False, "short marks", 1)
        assert part.spots[0].length_mm > 10.5
        assert "exceeds rule 'short marks': length_mm" in part.detail
    assert {reject["seq"] for reject in line.rejects()} == {event.part.seq for event in large}

    with EventReader.open(line.folder / "store" / FILE_NAME) as store:
        assert [event.part.seq for event in store.search(within_spec=True)] == [e.part.seq for e in reversed(small)]
        assert small[0].event_id is not None
        images = store.images(small[0].event_id)
        assert images is not None
        assert images.preview_jpeg
        assert store.network_input(small[0].event_id) is not None
    overlays = {path.name for path in (line.folder / "store" / "overlays" / "cap").glob("*_GOOD.jpg")}
    assert f"{small[0].part.seq:09d}_GOOD.jpg" in overlays

    command = [sys.executable, "-m", "stream", "replay", str(line.folder / "frames"), str(line.path)]
    report = line.folder / "replay.json"
    answer = subprocess.run(
        [*command, "--report", str(report)], capture_output=True, text=True, timeout=180, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (summary,) = json.loads(report.read_text())["summary"]
    assert summary["within_spec"] == 3
    assert summary["compared"] == {"same": 6, "unknown": PARTS - 6}

    # Another rule gives other verdicts, which is a difference from the line.
    line.path.write_text(line.path.read_text().replace("10.5", "1"))
    answer = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert answer.stdout.count("DIFFERS from the line: GOOD") == 3


def test_a_line_whose_rules_cannot_be_used_does_not_start_and_says_why_in_one_line(
    make_line: MakeLine, marked_parts: Path, small_bundle: Path
):
    line = make_line(
        {
            "cameras": {"top": belt(marked_parts, parts=PARTS)},
            "stations": {"cap": station(small_bundle, rules=[SHORT])},
            "actuators": GATE,
        }
    )
    assert "stations.cap.rules: rule 'short marks': length_mm needs a ruler" in complaint(patchline("run", line.path))
