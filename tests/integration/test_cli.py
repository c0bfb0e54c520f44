"""The command line as a person meets it: one clear line for every mistake, exit code 2, nothing half written."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from support.pictures import defective_picture, good_picture, write_picture
from support.running import GATE, Line, belt, complaint, patchline, station

from stream.cli.trial_line import ledger_of
from stream.line.config import load
from stream.training.extend import with_threshold

MakeLine = Callable[..., Line]


def test_fit_show_calibrate_and_evaluate_work_one_after_the_other(good_folder: Path, tmp_path: Path):
    bundle, report = tmp_path / "cap.safetensors", tmp_path / "report.json"
    done = patchline("fit", good_folder, "-o", bundle, "--size", 96, "--coreset", 0.05, "--seed", 3)
    assert done.returncode == 0, done.stderr
    printed = " ".join(done.stdout.replace("│", " ").split())
    assert "24, all in the bank, each scored without its fold of 5 to calibrate" in printed
    assert "that takes 99 to calibrate, 75 more" in printed, "too few pictures for 1 % is said"
    assert "strangest good images" in printed
    shown = patchline("show", bundle)
    assert "efficientnet_lite0" in shown.stdout
    assert "seed 3" in shown.stdout
    assert "refused below" in shown.stdout
    with_threshold(bundle, tmp_path / "moved.safetensors", 31.25)
    shown = patchline("show", tmp_path / "moved.safetensors")
    assert "31.250000, set by hand" in shown.stdout
    assert "go with the threshold set by hand" in shown.stdout

    fresh = tmp_path / "fresh"
    fresh.mkdir()
    for seed in range(500, 530):
        write_picture(fresh / f"{seed}.png", good_picture(seed))
    done = patchline("calibrate", bundle, fresh, "--false-reject-rate", 0.05)
    assert done.returncode == 0, done.stderr
    printed = " ".join(done.stdout.replace("│", " ").split())
    assert "24 in the bank, 30 others to calibrate" in printed
    assert "expect 1 in 20 good parts to be rejected (5.00%), guaranteed on average" in printed

    (tmp_path / "data" / "test" / "blot").mkdir(parents=True)
    shutil.copytree(fresh, tmp_path / "data" / "test" / "good")
    write_picture(tmp_path / "data" / "test" / "blot" / "1.png", defective_picture(600))
    page, overlays = tmp_path / "page.html", tmp_path / "overlays"
    outputs = ("--report", report, "--html", page, "--overlays", overlays)
    done = patchline("evaluate", bundle, tmp_path / "data", *outputs)
    assert done.returncode == 0, done.stderr
    counted = json.loads(report.read_text())
    assert (counted["counts"]["good"], counted["counts"]["defective"]) == (30, 1)
    assert page.read_text().startswith("<!doctype html>")
    assert len(list(overlays.glob("*/*.png"))) == 31
    assert "PB2" in done.stdout


def test_a_missing_folder_is_named(tmp_path: Path):
    line = complaint(patchline("fit", tmp_path / "nowhere", "-o", tmp_path / "b.safetensors"))
    assert str(tmp_path / "nowhere") in line
    assert not (tmp_path / "b.safetensors").exists()


def test_a_folder_without_pictures_and_one_with_a_single_picture_are_refused(tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "empty" in complaint(patchline("fit", empty, "-o", tmp_path / "b.safetensors"))
    write_picture(empty / "one.png", good_picture(1))
    assert "at least 2" in complaint(patchline("fit", empty, "-o", tmp_path / "b.safetensors"))
    assert not (tmp_path / "b.safetensors").exists()


def test_a_region_outside_the_pictures_is_refused_with_the_picture_named(good_folder: Path, tmp_path: Path):
    line = complaint(patchline("fit", good_folder, "-o", tmp_path / "b.safetensors", "--roi", "100,0,100,100"))
    assert "good_000.png" in line
    assert "--roi" in line


def test_a_region_that_is_no_region_is_refused(good_folder: Path, tmp_path: Path):
    assert "--roi: expected X,Y,WIDTH,HEIGHT" in complaint(
        patchline("fit", good_folder, "-o", tmp_path / "b.safetensors", "--roi", "1,2,3")
    )


def test_weights_that_cannot_be_downloaded_are_a_named_file_to_fetch(good_folder: Path, tmp_path: Path):
    # Whatever this machine reaches: no connection leaves it through a proxy that nobody serves.
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "TORCH_HOME": str(tmp_path)}
    line = complaint(
        patchline("fit", good_folder, "-o", tmp_path / "b.safetensors", "--backbone", "resnet18", **nowhere)
    )
    assert str(tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth") in line
    assert "efficientnet_lite0" in line


def test_an_unknown_backbone_is_refused_with_the_known_ones(good_folder: Path, tmp_path: Path):
    line = complaint(patchline("fit", good_folder, "-o", tmp_path / "b.safetensors", "--backbone", "resnet19x"))
    assert "resnet19x" in line
    assert "wide_resnet50_2" in line


def test_a_truncated_bundle_stops_the_line_before_it_starts(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, tmp_path: Path
):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(small_bundle.read_bytes()[:-1000])
    line = make_line({"cameras": {"top": belt(parts_folder)}, "stations": {"cap": station(broken)}, "actuators": GATE})
    said = complaint(patchline("run", line.path))
    assert "broken.safetensors" in said


def test_unknown_and_duplicate_keys_are_named(make_line: MakeLine, parts_folder: Path, small_bundle: Path):
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder)},
            "stations": {"cap": station(small_bundle, dead_line_ms=3)},
            "actuators": GATE,
        }
    )
    said = complaint(patchline("run", line.path))
    assert "stations.cap" in said
    assert "did you mean 'deadline_ms'?" in said
    line.path.write_text("line: a\ncameras:\n  top: {kind: folder, path: .}\n  top: {kind: folder, path: .}\n")
    assert 'line.yaml:4: duplicate key "top"' in complaint(patchline("run", line.path))


def test_check_prints_a_table_and_ends_with_2_if_anything_is_wrong(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    parts = {"cameras": {"top": belt(parts_folder)}, "actuators": GATE}
    done = patchline("check", make_line(parts | {"stations": {"cap": station(small_bundle)}}).path)
    assert done.returncode == 0, done.stdout
    assert "in order" in done.stdout
    line = make_line(parts | {"stations": {"cap": station(small_bundle, roi=[900, 0, 160, 120])}})
    done = patchline("check", line.path)
    assert done.returncode == 2
    assert "WRONG" in done.stdout
    assert "too small for region 900,0,160,120" in done.stdout
    assert "too small for region 900,0,160,120" in complaint(patchline("run", line.path))
    line.path.write_text("line: a b\n")
    done = patchline("check", line.path)
    assert done.returncode == 2
    assert "line.yaml: line: expected a name" in done.stdout


def test_the_schema_is_printed_whole(tmp_path: Path):
    done = patchline("schema")
    assert json.loads(done.stdout)["properties"]["line"]["description"] == "name of the line"


def test_a_metrics_port_in_use_stops_the_line_with_the_port_named(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=100_000)},
            "stations": {"cap": station(small_bundle)},
            "actuators": GATE,
        }
    )
    address = line.config.metrics_address("sink")
    assert address is not None
    with socket.create_server(address):
        done = patchline("run", line.path)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{address[1]}" in done.stderr
    assert "sink cannot run with this configuration" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_same_line_cannot_run_twice(make_line: MakeLine, parts_folder: Path, small_bundle: Path):
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=100_000)},
            "stations": {"cap": station(small_bundle)},
            "actuators": GATE,
        }
    )
    line.start()
    line.wait_for(lambda: line.announced("cap") >= 5, "5 parts")
    assert "supervisor of this line runs already" in complaint(patchline("run", line.path))


def test_a_camera_that_is_not_there_is_named(make_line: MakeLine, small_bundle: Path):
    line = make_line(
        {
            "cameras": {"top": {"kind": "v4l2", "device": 97}},
            "stations": {"cap": station(small_bundle)},
            "actuators": GATE,
        }
    )
    done = patchline("run", line.path)
    assert done.returncode == 1
    assert "97" in next(text for text in done.stderr.splitlines() if text.startswith("error: "))
    assert "capture-top cannot run with this configuration" in done.stderr


@pytest.mark.parametrize(
    "command",
    ["fit", "calibrate", "evaluate", "show", "run", "demo", "capture", "infer", "sink", "cameras", "snapshot"],
)
def test_every_command_explains_itself(command: str):
    done = patchline(command, "--help")
    assert done.returncode == 0
    assert f"{command} [OPTIONS]" in done.stdout


@pytest.fixture
def endless_demo(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`patchline demo` without a number of parts, where the dashboard's usual port is taken; and what it says."""
    pytest.importorskip("elpv_dataset", reason="the demo's pictures come with the extra `demo`")
    said = tmp_path / "said.txt"
    arguments = ("demo", "--rate", "60", "--report", tmp_path / "r.json", "--dir", tmp_path / "demo")
    with contextlib.ExitStack() as at_the_end, said.open("w") as output:
        with contextlib.suppress(OSError):  # another program has it
            at_the_end.enter_context(socket.create_server(("127.0.0.1", 8080)))
        demo = subprocess.Popen(
            [sys.executable, "-m", "stream", *map(str, arguments)],
            stdout=output,
            stderr=output,
            env=os.environ | {"COLUMNS": "200", "TERM": "dumb"},
        )
        yield demo, said
        if demo.poll() is None:
            family = [psutil.Process(demo.pid), *psutil.Process(demo.pid).children(recursive=True)]
            for member in family:
                member.kill()
            psutil.wait_procs(family, timeout=10)


def test_the_demo_goes_on_after_its_numbers_with_its_dashboard_until_it_is_told_to_end(
    endless_demo: tuple[subprocess.Popen[bytes], Path], tmp_path: Path
):
    demo, said = endless_demo

    def wait_for(condition: Callable[[], bool]) -> None:
        until_s = time.monotonic() + 180
        while not condition():
            assert demo.poll() is None, said.read_text()
            assert time.monotonic() < until_s, said.read_text()
            time.sleep(0.05)

    wait_for(lambda: "Ctrl-C ends the demo" in said.read_text())
    numbers = json.loads((tmp_path / "r.json").read_text())
    pictures = len(list((tmp_path / "demo" / "parts").iterdir()))
    assert numbers["announced"] == numbers["good_parts"] + numbers["broken_parts"] == pictures
    assert numbers["good"] + numbers["defect"] + sum(numbers["uninspected"].values()) == pictures
    assert numbers["ledger_closed"] is True
    assert numbers["image_auroc"] > 0.8
    assert numbers["latency_ms"]["total"]["p50"] <= numbers["latency_ms"]["total"]["p999"]

    config = load(tmp_path / "demo" / "line.yaml")
    assert f"dashboard: {config.dashboard.url}  (Ctrl-C ends the demo)" in said.read_text().splitlines()
    assert config.dashboard.address[1] != 8080
    assert httpx.get(f"{config.dashboard.url}/api/v1/line").json()["line"] == "solar-cells"
    before = ledger_of(config)["cell"].announced
    wait_for(lambda: ledger_of(config)["cell"].announced >= before + 30)

    line = psutil.Process(demo.pid).children(recursive=True)
    assert len(line) >= 5
    demo.send_signal(signal.SIGTERM)
    assert demo.wait(60) == 0, said.read_text()
    assert not any(process.is_running() for process in line)
    counts = ledger_of(config)["cell"]
    assert counts.closed
    assert not counts.pending
    assert said.read_text().splitlines()[-1] == f"the line has ended: {counts.summary()}"
