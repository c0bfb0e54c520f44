"""A line whose parts lie elsewhere in every frame."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.pictures import part_picture, write_picture
from support.running import GATE, Line, station

from stream.core.images import list_images
from stream.core.verdict import Cause, Verdict
from stream.training.aligned_images import teach_alignment
from stream.training.fit import fit
from stream.training.fit_options import FitOptions

MakeLine = Callable[..., Line]
ROI = (50, 40, 140, 120)
MOVES = [(12.0, -9.0, 3.0), (0.0, 0.0, 0.0), (-16.5, 7.25, -4.0), (55.0, 0.0, 0.0)]


@pytest.fixture
def aligned_bundle(tmp_path: Path) -> Path:
    good = tmp_path / "good"
    good.mkdir()
    for seed in range(16):
        move = {"x_px": seed - 8.0, "angle_deg": seed % 5 - 2.0} if seed else {}
        write_picture(good / f"{seed:02d}.png", part_picture(seed, **move))
    alignment = teach_alignment(
        list_images(good), [(52, 42, 136, 116)], reference=None, rotates=True, by="edges", limit_px=40.0, limit_deg=10.0
    )
    fit(good, tmp_path / "aligned.safetensors", FitOptions(size_px=96, coreset=0.1, roi=ROI, alignment=alignment))
    return tmp_path / "aligned.safetensors"


def test_moved_parts_are_judged_as_they_lay_at_fit_and_absent_ones_are_not_found(
    make_line: MakeLine, aligned_bundle: Path, tmp_path: Path
):
    folder = tmp_path / "passing"
    folder.mkdir()
    for number, (x_px, y_px, angle_deg) in enumerate(MOVES):
        picture = part_picture(5, x_px=x_px, y_px=y_px, angle_deg=angle_deg)
        write_picture(folder / f"{number}.png", picture)
    write_picture(folder / "4.png", part_picture(6, part=False))
    write_picture(folder / "5.png", part_picture(5, x_px=12.0, y_px=-9.0, angle_deg=3.0, defect=True))
    line = make_line(
        {
            "cameras": {"top": {"kind": "folder", "path": str(folder), "record": {"path": "frames", "keep": "all"}}},
            "stations": {
                "cap": station(aligned_bundle, roi=None),
                "watch": station(aligned_bundle, roi=None, mode="freerun", reject=None),
            },
            "actuators": GATE,
        }
    )
    line.start()
    assert line.finish() == 0, line.output()
    events = {event.part.seq: event for event in line.events("cap")}
    verdicts = [events[seq].part.verdict for seq in range(6)]
    assert verdicts == [Verdict.GOOD] * 3 + [Verdict.UNINSPECTED] * 2 + [Verdict.DEFECT], line.output()
    for seq, move in enumerate(MOVES[:3]):
        placement = events[seq].placement
        assert placement is not None
        assert (placement.dx_px, placement.dy_px, placement.angle_deg) == pytest.approx(move, abs=0.4)
        assert events[seq].stages["align"] > 0
    assert line.ledger()["cap"].uninspected == {Cause.NOT_FOUND: 2}
    assert events[3].placement is None
    assert "the part was not found: the best match is" in events[4].part.detail
    assert events[4].placement is None
    assert {3, 4, 5} <= {reject["seq"] for reject in line.rejects()}

    # Of a free-running station every frame that is not passed over is aligned likewise.
    watched = [event for event in line.events("watch") if event.part.cause is not Cause.SKIPPED]
    assert watched, line.output()
    for event in watched:
        triggered = events[event.part.seq]
        assert event.placement == triggered.placement
        assert (event.part.verdict, event.part.cause) == (triggered.part.verdict, triggered.part.cause)
        assert event.part.score == triggered.part.score

    command = [sys.executable, "-m", "stream", "replay", str(line.folder / "frames"), str(line.path)]
    replayed = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert "DIFFERS" not in replayed.stdout
