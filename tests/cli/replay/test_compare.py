from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.events import changed
from support.pictures import defective_picture, good_picture

from stream.capture.cropper import load_cropper
from stream.capture.recording import Recording, RecordingThread
from stream.cli.replay import command
from stream.cli.replay.compare import Replayed, replay, summarise, write_report
from stream.core.errors import BundleError, ConfigError, FrameFault
from stream.core.parts import PartResult
from stream.core.verdict import Cause, Verdict
from stream.devices.cameras.camera import Frame, RecordOptions
from stream.inference.station_models import load_station_models
from stream.line.config import LineConfig
from stream.model.station_model import StationModel
from stream.store.records import Event

FRAMES = {
    0: Frame(good_picture(900), 0, "good"),
    1: Frame(defective_picture(901), 0, "bad"),
    2: Frame(None, 0, "lost", FrameFault(Cause.CAMERA_FAULT, "passed while the camera was down")),
    3: Frame(np.zeros((20, 20, 3), np.uint8), 0, "small"),
    4: Frame(np.zeros((120, 160, 3), np.uint8), 0, "black"),
}


@pytest.fixture(scope="module")
def line(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> LineConfig:
    camera = {"kind": "folder", "path": "parts"}
    station = {"camera": "top", "bundle": str(small_bundle)}
    return LineConfig.model_validate({"line": "a", "cameras": {"top": camera}, "stations": {"cap": station}})


@pytest.fixture(scope="module")
def judges(line: LineConfig) -> dict[str, StationModel]:
    return load_station_models(line, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording")
    thread = RecordingThread(RecordOptions(path=folder))
    for seq, frame in FRAMES.items():
        thread.add(seq, frame)
    thread.start()
    thread.end(timeout_s=10)
    return folder


def judged(
    folder: Path, line: LineConfig, judges: dict[str, StationModel], events: dict[int, Event] | None = None
) -> list[Replayed]:
    known = events or {}
    cutters = [load_cropper("cap", line.stations["cap"])]
    return list(replay(Recording(folder), cutters, judges, lambda _station, seq: known.get(seq)))


@pytest.fixture(scope="module")
def parts(folder: Path, line: LineConfig, judges: dict[str, StationModel]) -> list[Replayed]:
    return judged(folder, line, judges)


def event(part: Replayed, judges: dict[str, StationModel]) -> Event:
    """What the line's store would say of a part."""
    return Event(
        part=PartResult(station="cap", seq=part.seq, verdict=part.verdict, cause=part.cause, score=part.score),
        decision="pass",
        captured_realtime_ns=part.realtime_ns,
        bundle_sha256=judges["cap"].bundle.sha256 if part.score is not None else None,
    )


def test_a_recording_is_judged_with_the_verdicts_and_causes_of_the_line(parts: list[Replayed]):
    found = [(part.part_id, part.verdict, part.cause) for part in parts]
    assert found == [
        ("good", Verdict.GOOD, None),
        ("bad", Verdict.DEFECT, None),
        ("lost", Verdict.UNINSPECTED, Cause.CAMERA_FAULT),
        ("small", Verdict.UNINSPECTED, Cause.WRONG_GEOMETRY),
        ("black", Verdict.UNINSPECTED, Cause.BAD_FRAME),
    ]
    assert {part.compared for part in parts} == {"unknown"}


def test_what_the_line_said_is_compared_bit_for_bit(
    folder: Path, line: LineConfig, judges: dict[str, StationModel], parts: list[Replayed]
):
    events = {part.seq: event(part, judges) for part in parts}
    assert [part.compared for part in judged(folder, line, judges, events)] == [
        *("same", "same", "not_judged", "not_judged", "not_judged")
    ]
    score = events[0].part.score
    assert score is not None
    nearly = changed(events[0], score=float(np.nextafter(score, 99)))
    assert judged(folder, line, judges, {0: nearly})[0].compared == "differs"
    turned = changed(events[1], verdict=Verdict.GOOD)
    assert judged(folder, line, judges, {1: turned})[1].compared == "differs"


def test_a_verdict_that_came_too_late_is_compared_by_its_score(
    folder: Path, line: LineConfig, judges: dict[str, StationModel], parts: list[Replayed]
):
    late = changed(event(parts[0], judges), verdict=Verdict.UNINSPECTED, cause=Cause.TIMEOUT)
    assert judged(folder, line, judges, {0: late})[0].compared == "same"


def test_a_part_that_only_replay_cannot_judge_differs(
    folder: Path, line: LineConfig, judges: dict[str, StationModel], parts: list[Replayed]
):
    small = changed(event(parts[0], judges), seq=3)
    assert judged(folder, line, judges, {3: small})[3].compared == "differs"


def test_another_bundle_and_another_part_of_the_same_number_are_not_held_against_it(
    folder: Path, line: LineConfig, judges: dict[str, StationModel], parts: list[Replayed]
):
    other = changed(event(parts[0], judges), bundle_sha256="other", score=1.0)
    assert judged(folder, line, judges, {0: other})[0].compared == "other_bundle"
    earlier = changed(event(parts[0], judges), captured_realtime_ns=parts[0].realtime_ns - 2 * 10**9)
    assert judged(folder, line, judges, {0: earlier})[0].compared == "unknown"


def test_a_summary_counts_by_verdict_and_comparison(parts: list[Replayed]):
    (summary,) = summarise(parts)
    assert summary.station == "cap"
    assert summary.verdicts == {Verdict.GOOD: 1, Verdict.DEFECT: 1, Verdict.UNINSPECTED: 3}
    assert summary.compared == {"unknown": 5}


def test_no_text_of_a_table_is_a_formula(parts: list[Replayed], tmp_path: Path):
    texts = ["=1", "\uff1d1", "  +1", "\t@SUM(1)", "-1", "42"]
    named = [msgspec.structs.replace(parts[0], part_id=text, detail=text) for text in texts]
    write_report(tmp_path / "replay.csv", named)
    with (tmp_path / "replay.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["part_id"] for row in rows] == [*(f"'{text}" for text in texts[:-1]), "42"]
    assert [row["detail"] for row in rows] == [row["part_id"] for row in rows]


def test_reports_hold_every_part_with_its_whole_score(parts: list[Replayed], tmp_path: Path):
    write_report(tmp_path / "new" / "replay.csv", parts)
    with (tmp_path / "new" / "replay.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["part_id"] for row in rows] == ["good", "bad", "lost", "small", "black"]
    assert float(rows[0]["score"]) == parts[0].score
    assert rows[2]["score"] == ""
    assert rows[1]["verdict"] == "DEFECT"
    write_report(tmp_path / "replay.json", parts)
    report = json.loads((tmp_path / "replay.json").read_text())
    assert report["parts"][0]["score"] == parts[0].score
    assert report["summary"][0]["verdicts"]["DEFECT"] == 1


def two_cameras(folder: Path) -> Path:
    """A line whose camera `b` records into the folder `frames`; there are no bundles yet."""
    path = folder / "line.yaml"
    path.write_text(
        """
line: a
cameras:
  a: {kind: folder, path: parts}
  b: {kind: folder, path: parts, record: {path: frames}}
stations:
  at-a: {camera: a, bundle: a.safetensors}
  at-b: {camera: b, bundle: b.safetensors}
"""
    )
    return path


def test_the_camera_that_records_there_is_the_one_whose_stations_judge(tmp_path: Path, folder: Path):
    config = two_cameras(tmp_path)
    shutil.copytree(folder, tmp_path / "frames")
    with pytest.raises(BundleError, match=r"b\.safetensors"):
        command.replay(tmp_path / "frames", config)
    with pytest.raises(BundleError, match=r"a\.safetensors"):
        command.replay(tmp_path / "frames", config, camera="a")


@pytest.mark.parametrize("camera", [None, "c"])
def test_which_camera_is_meant_must_be_clear(tmp_path: Path, folder: Path, camera: str | None):
    with pytest.raises(ConfigError, match=r"--camera: expected one of a, b"):
        command.replay(folder, two_cameras(tmp_path), camera=camera)


def test_a_report_of_another_kind_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"\.csv or \.json"):
        write_report(tmp_path / "replay.xlsx", [])
