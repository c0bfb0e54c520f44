from __future__ import annotations

from pathlib import Path

import pytest

from stream.devices.cameras.v4l2.settings import Settings, devices, formats, nearly, offers, refused

NO_WISH = Settings(None, None, None, None, None)
ANSWER = Settings("MJPG", 1280, 720, 30.0, 4.0)

SAID = """ioctl: VIDIOC_ENUM_FMT
	Type: Video Capture

	[0]: 'MJPG' (Motion-JPEG, compressed)
		Size: Discrete 1280x720
			Interval: Discrete 0.033s (30.000 fps)
			Interval: Discrete 0.067s (15.000 fps)
		Size: Discrete 640x480
			Interval: Discrete 0.033s (30.000 fps)
	[1]: 'YUYV' (YUYV 4:2:2)
		Size: Discrete 640x480
			Interval: Discrete 0.133s (7.500 fps)
	[2]: 'GREY' (8-bit Greyscale)
		Size: Stepwise 48x32 - 1920x1080 with step 1/1
			Interval: Continuous 0.001s - 1.000s (1.000-1000.000 fps)
"""


def test_a_camera_that_does_as_it_is_told_is_not_complained_of():
    for wishes in (NO_WISH, ANSWER):
        assert refused(wishes, ANSWER) is None
        assert nearly(wishes, ANSWER) == []


@pytest.mark.parametrize(
    ("wish", "complaint"),
    [
        ({"pixel_format": "YUYV"}, "pixel_format is MJPG, not YUYV"),
        ({"width": 1920, "height": 1080}, "width is 1280, not 1920, height is 720, not 1080"),
    ],
)
def test_another_picture_than_was_asked_for_is_refused(wish: dict[str, object], complaint: str):
    assert refused(NO_WISH._replace(**wish), ANSWER) == f"it answers with other settings: {complaint}"


@pytest.mark.parametrize(
    ("wish", "complaints"),
    [
        ({"fps": 30.1}, []),
        ({"fps": 60}, ["fps is 30, not 60"]),
        ({"exposure_ms": 3.9}, []),
        ({"exposure_ms": 10}, ["exposure_ms is 4, not 10"]),
        ({"fps": 15, "exposure_ms": 1}, ["fps is 30, not 15", "exposure_ms is 4, not 1"]),
    ],
)
def test_a_rate_or_an_exposure_that_was_rounded_is_told(wish: dict[str, float], complaints: list[str]):
    assert nearly(NO_WISH._replace(**wish), ANSWER) == complaints


def test_what_v4l2_ctl_says_becomes_one_line():
    assert formats(SAID) == (
        "MJPG 1280x720 at 30, 15 fps; MJPG 640x480 at 30 fps; YUYV 640x480 at 7.5 fps; "
        "GREY 48x32 - 1920x1080 at 1 to 1000 fps"
    )
    assert formats("") == ""


def program(folder: Path, script: str) -> None:
    path = folder / "v4l2-ctl"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_offers_come_from_v4l2_ctl_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "package v4l-utils" in offers("/dev/video0")
    (tmp_path / "said").write_text(SAID)
    program(tmp_path, f'[ "$*" = "--device /dev/video0 --list-formats-ext" ] && /bin/cat {tmp_path}/said')
    assert offers("/dev/video0") == f"it offers {formats(SAID)}"
    program(tmp_path, "exit 1")
    assert offers("/dev/video0").startswith("v4l2-ctl cannot list what it offers: ")


def test_the_devices_of_the_host_are_listed(tmp_path: Path):
    assert devices(tmp_path) == "this host has no /dev/video*"
    for name in ("video2", "video0", "null"):
        (tmp_path / name).touch()
    assert devices(tmp_path) == f"this host has {tmp_path}/video0, {tmp_path}/video2"
