"""A bundle from the parts that pass a camera: of a line that runs, and of a camera that nobody uses."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from support.pictures import write_good_folder
from support.running import GATE, Line, belt, station

from stream.core.images import list_images
from stream.core.verdict import Verdict
from stream.model.bundle import load_bundle

MakeLine = Callable[..., Line]
LEARN = ("--size", "96", "--coreset", "0.05", "--false-reject-rate", "0.2")


def teach(line: Line, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stream", "teach", str(line.path), "top", *LEARN, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"COLUMNS": "300"},
    )


def good_line(make_line: MakeLine, folder: Path, bundle: Path, **options: Any) -> Line:
    return make_line(
        {
            "cameras": {"top": belt(folder, parts=100_000, rate_hz=20)},
            "stations": {"cap": station(bundle, **options)},
            "actuators": GATE,
        }
    )


def test_a_running_line_teaches_a_bundle_that_then_judges_its_parts(
    make_line: MakeLine, good_folder: Path, small_bundle: Path, tmp_path: Path
):
    live = tmp_path / "live.safetensors"
    shutil.copy(small_bundle, live)
    line = good_line(make_line, good_folder, live)
    line.start()
    line.wait_for(lambda: line.announced("cap") >= 10, "10 parts")
    answer = teach(line, "--parts", "30", "-o", str(live))
    assert answer.returncode == 0, answer.stderr
    assert "30 of 30 parts collected" in answer.stdout
    assert f"patchline reload {line.path}" in answer.stdout
    taught = load_bundle(live)
    assert taught.info.roi == (20, 20, 160, 120), "the station's region"
    assert taught.info.picture_px == (200, 160), "of the whole picture"
    assert line.reload().returncode == 0, line.output()
    line.wait_for(lambda: sum(e.bundle_sha256 == taught.sha256 for e in line.events()) >= 10, "10 parts judged with it")
    assert line.process is not None
    line.process.send_signal(signal.SIGTERM)
    assert line.finish() == 0
    counts = line.ledger()["cap"]
    assert counts.closed
    assert counts.uninspected == {}, "the line has not noticed that somebody listened"
    judged = [event for event in line.events() if event.bundle_sha256 == taught.sha256]
    good = sum(event.part.verdict is Verdict.GOOD for event in judged)
    assert good > len(judged) / 2, "they look like those it learned from"


def test_a_camera_that_nobody_uses_is_opened_for_teaching_and_the_new_bundle_judges_its_parts(
    make_line: MakeLine, good_folder: Path, tmp_path: Path
):
    bundle, kept = tmp_path / "new.safetensors", tmp_path / "kept"
    line = good_line(make_line, good_folder, bundle)
    answer = teach(line, "--parts", "24", "-o", str(bundle), "--keep", str(kept))
    assert answer.returncode == 0, answer.stderr
    pictures = list_images(kept)
    assert len(pictures) == 24
    part = cv2.imread(str(sorted(good_folder.iterdir())[0]))
    assert (cv2.imread(str(pictures[0]))[20:140, 20:180] == part).all(), "without loss"
    line.start()
    line.wait_for(lambda: line.announced("cap") >= 10, "10 parts")
    assert line.process is not None
    line.process.send_signal(signal.SIGTERM)
    assert line.finish() == 0
    assert {event.bundle_sha256 for event in line.events()} == {load_bundle(bundle).sha256}
    assert line.ledger()["cap"].uninspected == {}


def test_frames_with_a_fault_are_skipped_and_an_early_end_of_the_camera_is_said(make_line: MakeLine, tmp_path: Path):
    folder = write_good_folder(tmp_path / "parts", 8)
    (folder / "good_003.png").write_bytes(b"no picture")
    line = make_line(
        {
            "cameras": {"top": belt(folder, rate_hz=20)},
            "stations": {"cap": station(tmp_path / "new.safetensors", reject=None)},
        }
    )
    answer = teach(line, "--parts", "20", "-o", str(tmp_path / "new.safetensors"))
    assert answer.returncode == 0, answer.stderr
    assert "7 of 20 parts collected, 1 frames skipped" in answer.stdout
    assert "the camera has ended" in answer.stdout


def test_interrupted_teaching_says_what_was_collected_and_makes_no_bundle(
    make_line: MakeLine, good_folder: Path, tmp_path: Path
):
    bundle, kept = tmp_path / "new.safetensors", tmp_path / "kept"
    line = good_line(make_line, good_folder, bundle)
    line.start("teach", str(line.path), "top", "--parts", "10000", "-o", str(bundle), "--keep", str(kept))
    line.wait_for(lambda: kept.exists() and len(list(kept.iterdir())) >= 5, "5 pictures")
    assert line.process is not None
    line.process.send_signal(signal.SIGINT)
    assert line.finish() == 130, line.output()
    said = " ".join(line.output().split())
    assert "of 10000 parts collected" in said
    assert f"kept in {kept}; no bundle was made" in said
    assert not bundle.exists()
    assert len(list_images(kept)) >= 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--station", "neck"), "--station: camera top has cap, ring; name one of them"),
        ((), "--station: camera top has cap, ring; name one of them"),
        (("--station", "cap", "--keep", "."), "is not empty"),
    ],
)
def test_what_cannot_be_taught_is_said_at_once(
    make_line: MakeLine, good_folder: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
):
    stations = {name: station(tmp_path / f"{name}.safetensors", reject=None) for name in ("cap", "ring")}
    line = make_line({"cameras": {"top": belt(good_folder)}, "stations": stations})
    answer = teach(line, "-o", str(tmp_path / "new.safetensors"), *arguments)
    assert answer.returncode == 2
    assert said in answer.stderr


def test_a_command_that_looks_for_the_line_elsewhere_says_where_and_what_to_set(
    make_line: MakeLine, good_folder: Path, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    elsewhere = Path(tempfile.mkdtemp(prefix="run-"))  # short enough for sockets
    line = good_line(make_line, good_folder, small_bundle)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    line.start()
    line.wait_for(lambda: line.announced("cap") >= 5, "5 parts")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(elsewhere))
    answer = teach(line, "--parts", "30", "-o", str(tmp_path / "taught.safetensors"))
    assert answer.returncode == 2, answer.stdout
    assert f"nobody listens at ipc://{elsewhere}/patchline/" in answer.stderr
    assert "unset XDG_RUNTIME_DIR, as the line has it" in answer.stderr
    assert not (tmp_path / "taught.safetensors").exists()
    shutil.rmtree(elsewhere)
