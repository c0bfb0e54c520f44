"""No process talks to anybody whom the configuration does not name: all of them run where nobody else is."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from support.labelled import write_labelled
from support.lone_host import refusal, run_alone
from support.pictures import write_good_folder
from support.programs import needs_program

pytestmark = needs_program("unshare", "ip")


@pytest.fixture(autouse=True)
def _namespace() -> None:
    if (reason := refusal()) is not None:
        pytest.skip(reason)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and an empty cache: nothing was converted or agreed to before."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("PATCHLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("import socket; socket.getaddrinfo('example.org', 443)", "udp 192.0.2.53:53 example.org"),
        ("import socket; socket.create_connection(('198.51.100.7', 443), 1)", "tcp 198.51.100.7:443"),
        ("import socket; socket.socket(type=2).sendto(b'x', ('203.0.113.9', 9))", "udp 203.0.113.9:9"),
    ],
)
def test_on_a_lone_host_every_word_to_others_is_recorded(home: Path, program: str, expected: str):
    assert expected in run_alone("-c", program, home=home).sent


def test_fit_calibrate_and_evaluate_talk_to_nobody(home: Path, tmp_path: Path):
    good, bundle = write_good_folder(tmp_path / "good", 8), tmp_path / "cap.safetensors"
    labelled = write_labelled(tmp_path / "labelled")
    for command in (
        ("fit", good, "-o", bundle, "--size", "96", "--coreset", "0.05"),
        ("calibrate", bundle, write_good_folder(tmp_path / "more", 6, first_seed=50)),
        ("evaluate", bundle, labelled),
    ):
        done = run_alone("-m", "stream", *command, home=home)
        assert (done.returncode, done.sent) == (0, []), done.output


@pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="int8 comes with the extra `int8`")
def test_a_fit_in_int8_talks_to_nobody(home: Path, tmp_path: Path):
    good = write_good_folder(tmp_path / "good", 8)
    arguments = ("--size", "96", "--coreset", "0.05", "--precision", "int8")
    done = run_alone("-m", "stream", "fit", good, "-o", tmp_path / "cap.safetensors", *arguments, home=home)
    assert (done.returncode, done.sent) == (0, []), done.output


@pytest.mark.skipif(importlib.util.find_spec("elpv_dataset") is None, reason="its images come with the extra `demo`")
def test_the_demo_ends_after_its_parts_and_reports_and_talks_to_nobody(home: Path, tmp_path: Path):
    folder = tmp_path / "demo"
    report = tmp_path / "r.json"
    arguments = ("demo", "--parts", "40", "--rate", "10", "--report", report, "--dir", folder)
    done = run_alone("-m", "stream", *arguments, home=home)
    assert (done.returncode, done.sent) == (0, []), done.output
    assert (folder / "line" / "line.log").is_file()
    assert (folder / "line" / "rejects.jsonl").exists()
    numbers = json.loads(report.read_text())
    assert (numbers["announced"], numbers["ledger_closed"], numbers["pending"]) == (40, True, 0)
    assert numbers["good"] + numbers["defect"] + sum(numbers["uninspected"].values()) == 40


def test_weights_asked_for_by_name_are_looked_for_elsewhere_and_their_absence_is_explained(home: Path, tmp_path: Path):
    good = write_good_folder(tmp_path / "good", 4)
    arguments = ("--backbone", "resnet10t", "--size", "96")
    done = run_alone("-m", "stream", "fit", good, "-o", tmp_path / "cap.safetensors", *arguments, home=home)
    assert done.returncode != 0
    assert "udp 192.0.2.53:53 huggingface.co" in done.sent
    said = " ".join(done.output.split())
    assert "backbone resnet10t: its weights are not on this machine and cannot be downloaded (offline)" in said
