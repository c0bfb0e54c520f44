"""`patchline cameras` and `patchline snapshot`, as a person who sets up a line meets them."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.pictures import good_picture, write_picture
from support.programs import needs_program
from support.running import Line, belt, complaint, patchline, station

MakeLine = Callable[..., Line]


def simulator() -> Path:
    genicam = pytest.importorskip("genicam", reason="comes with the extra `genicam`")
    return Path(genicam.__file__).parent / "viky.cti"


def configuration(folder: Path, camera: dict[str, Any], **stations: Any) -> Path:
    """Write a configuration for which nothing has been fitted yet."""
    given = stations or {"cap": {"roi": [20, 20, 160, 120]}}
    path = folder / "line.yaml"
    path.write_text(
        json.dumps(
            {
                "line": "test",
                "cameras": {"top": camera},
                "stations": {name: {"camera": "top", "bundle": "none.safetensors"} | s for name, s in given.items()},
                "store": {"path": "store"},
            }
        )
    )
    return path


def test_the_cameras_of_a_producer_are_listed_with_what_names_them():
    done = patchline("cameras", GENICAM_GENTL64_PATH=str(simulator().parent))
    assert done.returncode == 0, done.stderr
    for serial in range(3):
        assert f'serial: "{serial}"' in done.stdout
    assert "Machine Vision Games Ltd. Viky" in done.stdout
    assert str(simulator()) in done.stdout
    assert patchline("cameras", "--producer", simulator()).stdout.count("Viky") >= 3


def test_a_producer_that_cannot_be_loaded_hinders_no_other_way_of_looking(tmp_path: Path):
    (tmp_path / "bad.cti").write_text("no library")
    (tmp_path / "viky.cti").symlink_to(simulator())
    done = patchline("cameras", GENICAM_GENTL64_PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert 'serial: "2"' in done.stdout
    assert "bad.cti cannot be loaded as a GenTL producer" in done.stdout


def test_a_host_without_producers_is_told_what_was_looked_at(tmp_path: Path):
    done = patchline("cameras", GENICAM_GENTL64_PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"no .cti file in {tmp_path}" in done.stdout


def test_a_snapshot_shows_the_picture_and_the_regions(parts_folder: Path, tmp_path: Path):
    config = configuration(tmp_path, belt(parts_folder), cap={"roi": [20, 20, 160, 120]}, lid={"roi": [40, 40, 64, 64]})
    raw, drawn = tmp_path / "raw.png", tmp_path / "pictures" / "drawn.png"
    done = patchline("snapshot", config, "top", "-o", raw, "--raw")
    assert done.returncode == 0, done.stderr
    assert f"200×160 px written to {raw}" in done.stdout
    done = patchline("snapshot", config, "top", "-o", drawn)
    assert done.returncode == 0, done.stderr
    plain, marked = cv2.imread(str(raw)), cv2.imread(str(drawn))
    assert plain is not None
    assert marked is not None
    assert plain.shape == marked.shape == (160, 200, 3)
    # The belt shows the first part each time; only frames and labels differ.
    changed = (plain != marked).any(axis=2)
    assert changed[139, 60:160].all(), "the lower edge of cap"
    assert not changed[142:, :].any()
    assert not (tmp_path / "store").exists(), "a snapshot leaves no traces"


def test_a_region_outside_of_the_picture_is_warned_of(parts_folder: Path, tmp_path: Path):
    config = configuration(tmp_path, belt(parts_folder), cap={"roi": [100, 100, 160, 120]})
    done = patchline("snapshot", config, "top", "-o", tmp_path / "x.png")
    assert done.returncode == 0, done.stderr
    assert "stations.cap.roi: [100, 100, 160, 120] reaches outside of the picture" in done.stdout


def test_a_snapshot_of_a_genicam_camera_uses_its_settings(tmp_path: Path):
    camera = {"kind": "genicam", "producer": str(simulator()), "serial": "0", "width": 320, "height": 240}
    done = patchline("snapshot", configuration(tmp_path, camera), "top", "-o", tmp_path / "x.png", "--raw")
    assert done.returncode == 0, done.stderr
    image = cv2.imread(str(tmp_path / "x.png"))
    assert image is not None
    assert image.shape == (240, 320, 3)
    said = complaint(
        patchline("snapshot", configuration(tmp_path, camera | {"width": 7}), "top", "-o", tmp_path / "y.png")
    )
    assert "Width: the camera refuses 7; it accepts 100 to 800" in said
    assert not (tmp_path / "y.png").exists()


def test_faulty_frames_are_skipped_and_named_when_there_are_no_others(tmp_path: Path):
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "a.png").write_bytes(b"no picture")
    folder = {"kind": "folder", "path": str(parts), "rate_hz": 50}
    said = complaint(patchline("snapshot", configuration(tmp_path, folder), "top", "-o", tmp_path / "x.png"))
    assert "the camera ended without a good picture: the last frame was faulty" in said
    write_picture(parts / "b.png", good_picture(1))
    done = patchline("snapshot", configuration(tmp_path, folder), "top", "-o", tmp_path / "x.png", "--raw")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "x.png")), good_picture(1))


def test_a_camera_that_gives_nothing_is_given_up_in_time(parts_folder: Path, tmp_path: Path):
    config = configuration(tmp_path, belt(parts_folder, rate_hz=0.01))
    said = complaint(patchline("snapshot", config, "top", "-o", tmp_path / "x.png", "--wait", 0.5))
    assert "no picture within 0.5 s" in said


def test_wrong_cameras_and_names_of_pictures_are_refused(parts_folder: Path, tmp_path: Path):
    config = configuration(tmp_path, belt(parts_folder))
    assert "no camera 'side'; known: top" in complaint(
        patchline("snapshot", config, "side", "-o", tmp_path / "x.png")
    )  # fmt: skip
    assert "expected a name that ends in .png" in complaint(
        patchline("snapshot", config, "top", "-o", tmp_path / "x.txt")
    )


def test_a_camera_that_the_running_line_holds_is_not_touched(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path, tmp_path: Path
):
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=100_000)},
            "stations": {"cap": station(small_bundle, reject=None)},
        }
    )
    process = line.start()
    line.wait_for(lambda: line.announced("cap") >= 3, "3 parts")
    said = complaint(patchline("snapshot", line.path, "top", "-o", tmp_path / "x.png"))
    assert "the running line holds camera 'top': capture-top of this line runs already (process " in said
    assert said.endswith("; stop it first")
    process.send_signal(signal.SIGTERM)
    assert line.finish() == 0
    # The bundle knows its region only if the fit was given one; this one sees the whole picture.
    done = patchline("snapshot", line.path, "top", "-o", tmp_path / "x.png")
    assert done.returncode == 0, done.stderr


@needs_program("arv-fake-gv-camera-0.8", "arv-tool-0.8")
def test_a_gige_camera_on_the_network_is_listed():
    camera = subprocess.Popen(["arv-fake-gv-camera-0.8", "-i", "127.0.0.1"], stdout=subprocess.DEVNULL)
    try:
        until_s = time.monotonic() + 60
        while "Aravis-Fake-GV01" not in (listed := patchline("cameras").stdout):
            assert time.monotonic() < until_s, listed
    finally:
        camera.kill()
        camera.wait()
