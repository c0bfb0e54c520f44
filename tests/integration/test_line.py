"""Good days: real processes, real sockets, every part gets its verdict."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from support.pictures import good_picture
from support.running import GATE, Line, belt, free_ports, station

from stream.core.images import read_image
from stream.core.verdict import Verdict
from stream.model.bundle import load_bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.inspector import inspect
from stream.model.patchcore.preprocess import network_input
from stream.model.patchcore.search import MemoryBank
from stream.sink.policy.latency import STAGES
from stream.store.event_reader import FILE_NAME, EventReader
from stream.transport.sockets import make_keys

MakeLine = Callable[..., Line]


@pytest.mark.parametrize("kind", ["whole", "in tiles"])
def test_every_part_gets_the_verdict_of_the_offline_score_and_only_bad_ones_are_rejected(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, kind: str, request: pytest.FixtureRequest
):
    path = small_bundle if kind == "whole" else request.getfixturevalue("tiled_bundle")
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=40)},
            "stations": {"cap": station(path)},
            "actuators": GATE,
        }
    )
    line.start()
    assert line.finish() == 0, line.output()
    counts, events = line.ledger()["cap"], line.events()
    assert (counts.announced, counts.pending, counts.uninspected) == (40, (), {})
    assert counts.closed
    assert [event.part.seq for event in events] == list(range(40)), "the event log is in the order of the parts"

    bundle = load_bundle(path)
    assert (bundle.info.spec.tiles is None) == (kind == "whole")
    extractor, memory = load_extractor(bundle.info.spec), MemoryBank(bundle.bank)
    thresholds = bundle.info.thresholds
    assert thresholds is not None
    for event in events:
        picture = network_input(read_image(parts_folder / str(event.part.part_id)), bundle.info.spec.input_px)
        (offline,) = inspect(extractor, memory, picture[None], bundle.scoring)
        assert event.part.score == pytest.approx(offline.score, rel=1e-6)
        assert event.part.verdict == (Verdict.DEFECT if offline.score > thresholds.image else Verdict.GOOD)
        assert event.bundle_sha256 == bundle.sha256
    defective = {event.part.seq for event in events if event.part.verdict is Verdict.DEFECT}
    assert {event.part.part_id for event in events if event.part.seq in defective} >= {"part3.png", "part7.png"}

    rejects = line.rejects()
    assert [reject["seq"] for reject in rejects] == sorted(defective)
    assert all(0 <= reject["error_ms"] <= 100 for reject in rejects)


def test_overlays_of_the_last_parts_are_kept_and_others_read_no_file_of_the_line(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=10)},
            "stations": {"cap": station(small_bundle)},
            "actuators": GATE,
            "store": {"path": "store", "overlays": 6},
        }
    )
    line.start()
    assert line.finish() == 0, line.output()
    overlays = sorted((line.folder / "store" / "overlays" / "cap").glob("*.jpg"))
    assert [path.name[:9] for path in overlays] == [f"{seq:09d}" for seq in range(4, 10)]
    assert cv2.imread(str(overlays[0])).shape[1] >= 160
    kept = list((line.folder / "store").rglob("*"))
    assert {path.name for path in kept} >= {"events.sqlite", "top.seq", "overlays"}
    assert [path for path in kept if path.lstat().st_mode & 0o007] == []
    assert {event.part.part_id for event in line.events()} >= {"part3.png", "part7.png"}
    good = [event for event in line.events() if event.part.verdict is Verdict.GOOD]
    assert all(event.kept_as is not None for event in good), "of the good parts only near misses and samples are stored"


def test_of_a_defect_and_of_kept_good_parts_the_very_pixels_that_were_judged_are_stored(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, tmp_path: Path
):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for file in parts_folder.glob("*.png"):
        data = file.read_bytes()
        (folder / file.name).write_bytes(data[: len(data) // 2] if file.stem == "part5" else data)
    line = make_line(
        {
            "cameras": {"top": {"kind": "folder", "path": str(folder), "rate_hz": 10}},
            "stations": {"cap": station(small_bundle, roi=None, deadline_ms=20_000, reject=None)},
        }
    )
    line.start()
    assert line.finish() == 0, line.output()
    events = line.events()
    assert {event.part.verdict for event in events} == set(Verdict), [event.part.detail for event in events]
    input_px = load_bundle(small_bundle).info.spec.input_px
    with EventReader.open(line.config.store.path / FILE_NAME) as store:
        for event in events:
            assert event.event_id is not None
            kept = store.network_input(event.event_id)
            if event.part.verdict is Verdict.DEFECT or event.kept_as is not None:
                cut = network_input(read_image(folder / str(event.part.part_id)), input_px)
                np.testing.assert_array_equal(kept, cut)
            else:
                assert kept is None


def test_two_stations_on_one_camera_and_two_workers_share_the_work_and_keep_the_order(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, other_bundle: Path
):
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=40, rate_hz=10)},
            "stations": {
                "left": station(small_bundle, roi=[20, 20, 160, 120], deadline_ms=8000, backlog=64, reject=None),
                "right": station(other_bundle, roi=[20, 20, 160, 120], deadline_ms=8000, backlog=64, reject=None),
            },
            "actuators": GATE,
            "workers": [{"device": "torch-cpu", "threads": 1}, {}],
        }
    )
    line.start()
    assert line.finish() == 0, line.output()
    for name in ("left", "right"):
        counts = line.ledger()[name]
        assert (counts.announced, counts.uninspected) == (40, {}), line.output()
        assert [event.part.seq for event in line.events(name)] == list(range(40))
    assert {event.worker for event in line.events()} == {"worker0", "worker1"}
    left, right = line.events("left"), line.events("right")
    # The same pixels, the same features; only the banks differ.
    assert len({event.bundle_sha256 for event in left}) == len({event.bundle_sha256 for event in right}) == 1
    assert left[0].bundle_sha256 != right[0].bundle_sha256


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_line_judges_what_is_under_way_closes_the_ledger_and_leaves_no_process(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, number: signal.Signals
):
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=100_000)},
            "stations": {"cap": station(small_bundle)},
            "actuators": GATE,
        }
    )
    process = line.start()
    line.wait_for(lambda: line.announced("cap") >= 20, "20 parts")
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 3
    process.send_signal(number)
    assert line.finish(30) == 0, line.output()
    assert not [child for child in children if child.is_running()]
    counts = line.ledger()["cap"]
    assert counts.closed
    assert (counts.pending, counts.uninspected) == ((), {}), line.output()
    assert {event.part.seq for event in line.events() if event.part.verdict is Verdict.DEFECT} == {
        reject["seq"] for reject in line.rejects()
    }


def test_numbers_go_on_in_the_next_run(make_line: MakeLine, parts_folder: Path, small_bundle: Path):
    line = make_line(
        {"cameras": {"top": belt(parts_folder, parts=10)}, "stations": {"cap": station(small_bundle, reject=None)}}
    )
    for total in (10, 20):
        line.start()
        assert line.finish() == 0, line.output()
        assert line.announced("cap") == total
    assert [event.part.seq for event in line.events()] == list(range(20))
    assert line.ledger()["cap"].closed


def test_a_video_that_ends_is_a_normal_end(make_line: MakeLine, small_bundle: Path, tmp_path: Path):
    path = tmp_path / "parts.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (160, 120))
    for seed in range(30):
        writer.write(good_picture(seed))
    writer.release()
    line = make_line(
        {
            "cameras": {"top": {"kind": "video", "path": str(path)}},
            "stations": {"cap": station(small_bundle, roi=None, reject=None)},
        }
    )
    line.start()
    assert line.finish() == 0, line.output()
    counts = line.ledger()["cap"]
    assert (counts.announced, counts.good + counts.defect, counts.pending) == (30, 30, ())


def test_a_folder_with_a_corrupt_picture_rejects_that_part_and_judges_the_others(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, tmp_path: Path
):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for number in range(5):
        data = (parts_folder / f"part{number}.png").read_bytes()
        (folder / f"part{number}.png").write_bytes(data[: len(data) // 2] if number == 2 else data)
    line = make_line(
        {
            "cameras": {"top": {"kind": "folder", "path": str(folder), "rate_hz": 10}},
            "stations": {"cap": station(small_bundle, roi=None)},
            "actuators": GATE,
        }
    )
    line.start()
    assert line.finish() == 0, line.output()
    counts = line.ledger()["cap"]
    assert (counts.announced, counts.uninspected) == (5, {"bad_frame": 1})
    assert 2 in {reject["seq"] for reject in line.rejects()}


def test_every_process_serves_its_metrics(make_line: MakeLine, parts_folder: Path, small_bundle: Path):
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=100_000)},
            "stations": {"cap": station(small_bundle)},
            "actuators": GATE,
        }
    )
    process = line.start()
    line.wait_for(lambda: line.announced("cap") >= 20, "20 parts")
    good = line.metric("sink", "patchline_verdicts_total", station="cap", verdict="GOOD")
    bad = line.metric("sink", "patchline_verdicts_total", station="cap", verdict="DEFECT")
    assert good
    assert bad
    for stage in ("total", *STAGES):
        assert line.metric("sink", "patchline_stage_seconds_count", station="cap", stage=stage), stage
    assert line.metric("sink", "patchline_deadline_seconds", station="cap") == 2.0
    assert line.metric("sink", "patchline_camera_up", camera="top") == 1
    assert line.metric("sink", "patchline_worker_up", worker="worker0") == 1
    assert (line.metric("capture-top", "patchline_frames_total", camera="top") or 0) >= 20
    age = line.metric("capture-top", "patchline_last_frame_age_seconds", camera="top")
    assert age is not None
    assert 0 <= age < 5
    assert (line.metric("worker0", "patchline_batch_size_count", worker="worker0") or 0) >= 20
    assert line.metric("supervisor", "patchline_role_up", role="sink") == 1
    process.send_signal(signal.SIGTERM)
    assert line.finish(30) == 0


def test_roles_started_alone_in_any_order_on_encrypted_tcp_make_the_same_line(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, tmp_path: Path
):
    make_keys(tmp_path / "keys")
    first = free_ports(3)
    configuration = {
        "cameras": {"top": belt(parts_folder, parts=20)},
        "stations": {"cap": station(small_bundle)},
        "actuators": GATE,
        "transport": {
            "announcements": f"tcp://127.0.0.1:{first}",
            "results": f"tcp://127.0.0.1:{first + 1}",
            "frames": {"top": f"tcp://127.0.0.1:{first + 2}"},
            "keys": str(tmp_path / "keys"),
        },
    }
    line = make_line(configuration)
    path = str(line.path)
    # In the worst order: the parts begin when the last role is ready, and none of them is late.
    capture = line.start("capture", path)
    line.wait_for(lambda: line.metric("capture-top", "patchline_camera_up", camera="top") is not None, "camera")
    sink = line.start("sink", path)
    line.wait_for(lambda: line.metric("sink", "patchline_camera_up", camera="top") == 0, "report of the camera")
    worker = line.start("infer", path)
    try:
        assert capture.wait(60) == 0, line.output()
        for process in (worker, sink):
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, line.output()
        counts = line.ledger()["cap"]
        assert (counts.announced, counts.uninspected, counts.pending) == (20, {}, ()), line.output()
    finally:
        for process in (worker, sink, capture):
            if process.poll() is None:
                process.kill()


def test_pictures_of_another_size_than_the_bundle_learned_are_not_judged(
    make_line: MakeLine, small_bundle: Path, tmp_path: Path
):
    folder = tmp_path / "mixed"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), good_picture(0))
    for number in (1, 2):
        cv2.imwrite(str(folder / f"{number}.png"), good_picture(number, width_px=320, height_px=240))
    line = make_line(
        {
            "cameras": {"top": {"kind": "folder", "path": str(folder)}},
            "stations": {"cap": station(small_bundle, roi=None)},
            "actuators": GATE,
        }
    )
    line.start()
    assert line.finish() == 0, line.output()
    assert line.ledger()["cap"].uninspected == {"wrong_geometry": 2}
    assert {1, 2} <= {reject["seq"] for reject in line.rejects()}


def test_a_line_of_whose_pictures_none_can_be_judged_does_not_start(
    make_line: MakeLine, small_bundle: Path, tmp_path: Path
):
    folder = tmp_path / "large"
    folder.mkdir()
    cv2.imwrite(str(folder / "large.png"), good_picture(0, width_px=320, height_px=240))
    line = make_line(
        {
            "cameras": {"top": {"kind": "folder", "path": str(folder)}},
            "stations": {"cap": station(small_bundle, roi=None)},
            "actuators": GATE,
        }
    )
    line.start()
    assert line.finish() == 2
    assert "the picture is 320×240 px, the bundle learned 160×120" in line.output()
