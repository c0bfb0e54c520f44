"""Another bundle for a line that runs: taken between two parts, or not at all."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.bundles import resaved
from support.pictures import write_good_folder
from support.running import GATE, Line, belt, station

from stream.core.files import file_sha256
from stream.core.verdict import Verdict
from stream.model.bundle import (
    SelfTest,
    change_bundle,
    load_bundle,
)
from stream.training.fit import calibrate, fit
from stream.training.fit_options import FitOptions

MakeLine = Callable[..., Line]
PARTS = 100_000


@pytest.fixture
def live(small_bundle: Path, tmp_path: Path) -> Path:
    """The bundle of a line, to be replaced."""
    path = tmp_path / "live.safetensors"
    shutil.copy(small_bundle, path)
    return path


def replace(live: Path, new: Path) -> None:
    """Put another file in the place of the live bundle, whole or not at all."""
    partial = live.with_suffix(".new")
    shutil.copy(new, partial)
    partial.replace(live)


def running(make_line: MakeLine, parts: Path, live: Path, **options: Any) -> Line:
    """A line that judges 10 parts/s, with 20 of them behind it."""
    workers, belt_px = options.pop("workers", [{}]), options.pop("belt_px", [200, 160])
    line = make_line(
        {
            "cameras": {"top": belt(parts, parts=PARTS, rate_hz=10, belt_px=belt_px)},
            "stations": {"cap": station(live, **options)},
            "actuators": GATE,
            "workers": workers,
        }
    )
    line.start()
    line.wait_for(lambda: line.announced("cap") >= 20, "20 parts")
    return line


def judged_with(line: Line, bundle: str, more: int = 15) -> None:
    """Wait until so many parts were judged with a bundle."""

    def enough() -> bool:
        return sum(event.bundle_sha256 == bundle for event in line.events()) >= more

    line.wait_for(enough, f"{more} parts judged with {bundle[:12]}")


def stop(line: Line) -> None:
    """Stop the line and see that every part was inspected and has its event."""
    counts = line.stop_with_every_part_inspected()
    events = line.events()
    assert [event.part.seq for event in events] == list(range(counts.announced))
    assert all(event.part.verdict in (Verdict.GOOD, Verdict.DEFECT) for event in events)


def switches(line: Line) -> list[str]:
    """The bundles in the order in which parts were judged with them."""
    names = [str(event.bundle_sha256) for event in line.events()]
    return [name for index, name in enumerate(names) if index == 0 or name != names[index - 1]]


@pytest.mark.parametrize("workers", [[{}], [{"threads": 1}, {"device": "torch-cpu", "threads": 1}]], ids=["one", "two"])
def test_a_new_bundle_takes_over_between_two_parts_and_none_stays_uninspected(
    make_line: MakeLine, parts_folder: Path, live: Path, other_bundle: Path, workers: list[dict[str, Any]]
):
    old, new = file_sha256(live), file_sha256(other_bundle)
    line = running(make_line, parts_folder, live, workers=workers)
    replace(live, other_bundle)
    answer = line.reload()
    assert answer.returncode == 0, answer.stderr + line.output()
    assert f"{old[:12]} → {new[:12]}" in answer.stdout
    judged_with(line, new)
    stop(line)
    assert switches(line) == [old, new]
    scores = {
        name: {e.part.part_id: e.part.score for e in line.events() if e.bundle_sha256 == name} for name in (old, new)
    }
    both = scores[old].keys() & scores[new].keys()
    assert both
    assert all(scores[old][part] != scores[new][part] for part in both), "each was judged with the bundle it names"


def test_a_bundle_of_another_network_input_takes_over_too(
    make_line: MakeLine, parts_folder: Path, live: Path, good_folder: Path, tmp_path: Path
):
    larger = tmp_path / "larger.safetensors"
    fit(good_folder, larger, FitOptions(size_px=128, coreset=0.02))
    old, new = file_sha256(live), file_sha256(larger)
    line = running(make_line, parts_folder, live)
    replace(live, larger)
    assert line.reload().returncode == 0, line.output()
    judged_with(line, new)
    line.wait_for(lambda: f"bundle {old[:12]} released" in line.output(), "the release of the bundle before")
    stop(line)
    assert switches(line) == [old, new]


def test_a_threshold_calibrated_anew_is_live_after_a_reload(
    make_line: MakeLine, parts_folder: Path, live: Path, tmp_path: Path
):
    line = running(make_line, parts_folder, live)
    before = load_bundle(live).info.thresholds
    calibrate(live, write_good_folder(tmp_path / "more", 6, first_seed=300), false_reject_rate=0.5)
    after = load_bundle(live)
    assert line.reload().returncode == 0, line.output()
    judged_with(line, after.sha256)
    stop(line)
    told = {event.bundle_sha256: event.part.threshold for event in line.events()}
    assert before is not None
    assert after.info.thresholds is not None
    assert list(told.values()) == [before.image, after.info.thresholds.image]
    assert before.image != after.info.thresholds.image


def test_a_reload_without_a_new_file_changes_nothing_and_says_so(make_line: MakeLine, parts_folder: Path, live: Path):
    line = running(make_line, parts_folder, live)
    answer = line.reload()
    assert (answer.returncode, "unchanged" in answer.stdout) == (0, True), answer.stderr
    stop(line)
    assert switches(line) == [file_sha256(live)]


def damaged(live: Path, _folder: Path) -> str:
    live.write_bytes(live.read_bytes()[:-1000])
    return "truncated"


def uncalibrated(live: Path, _folder: Path) -> str:
    change_bundle(live, live, thresholds=None)
    return "not calibrated"


def computing_differently(live: Path, _folder: Path) -> str:
    selftest = load_bundle(live).selftest
    resaved(live, live, selftest=SelfTest(selftest.network_input, selftest.score * 1.01))
    return "worker0: .* its self-test fails"


def of_unknown_weights(live: Path, _folder: Path) -> str:
    change_bundle(live, live, spec=msgspec.structs.replace(load_bundle(live).info.spec, weights_sha256="ab" * 32))
    return "worker0: .*weights"


def of_another_camera(live: Path, _folder: Path) -> str:
    change_bundle(live, live, roi=(1000, 0, 160, 120))
    return "too small for region 1000,0,160,120"


@pytest.mark.parametrize("spoil", [damaged, uncalibrated, computing_differently, of_unknown_weights, of_another_camera])
def test_a_bundle_that_cannot_be_used_keeps_the_old_one_everywhere(
    make_line: MakeLine,
    parts_folder: Path,
    live: Path,
    tmp_path: Path,
    spoil: Callable[[Path, Path], str],
):
    old = file_sha256(live)
    # Without a region of its own the station takes the bundle's: the whole picture, at first.
    line = running(make_line, parts_folder, live, belt_px=[160, 120], roi=None)
    why = spoil(live, tmp_path)
    answer = line.reload()
    assert answer.returncode == 1, answer.stdout + answer.stderr

    said = " ".join(answer.stderr.split())
    assert f"station cap keeps bundle {old[:12]}: " in said
    assert re.search(why, said), said
    seen = line.announced("cap")
    line.wait_for(lambda: line.announced("cap") >= seen + 10, "10 more parts")
    assert line.metric("capture-top", "patchline_reloads_total", outcome="refused") == 1
    (alarm,) = [alarm for alarm in line.alarms() if alarm.kind == "reload_failed"]
    assert alarm.subject == "cap"
    stop(line)
    assert switches(line) == [old]


def test_a_watched_bundle_is_taken_without_a_word(
    make_line: MakeLine, parts_folder: Path, live: Path, other_bundle: Path
):
    line = running(make_line, parts_folder, live, watch=True)
    old, new = file_sha256(live), file_sha256(other_bundle)
    replace(live, other_bundle)
    judged_with(line, new)
    stop(line)
    assert switches(line) == [old, new]


def test_forth_and_back_and_forth_again(make_line: MakeLine, parts_folder: Path, live: Path, other_bundle: Path):
    line = running(make_line, parts_folder, live)
    first = live.with_name("first.safetensors")
    shutil.copy(live, first)
    names = [file_sha256(first)]
    for bundle in (other_bundle, first, other_bundle):
        replace(live, bundle)
        assert line.reload().returncode == 0, line.output()
        names.append(file_sha256(bundle))
        seen = line.announced("cap")
        line.wait_for(lambda seen=seen: line.announced("cap") >= seen + 5, "5 more parts")
    stop(line)
    assert switches(line) == names


@pytest.mark.parametrize("role", ["worker0", "capture-top"])
def test_a_process_that_starts_again_with_a_new_file_takes_the_others_with_it(
    make_line: MakeLine, parts_folder: Path, live: Path, other_bundle: Path, role: str
):
    line = running(make_line, parts_folder, live)
    replace(live, other_bundle)  # and nobody asks for a reload
    line.kill(role)
    judged_with(line, file_sha256(other_bundle))
    assert line.process is not None
    line.process.send_signal(signal.SIGTERM)
    assert line.finish() == 0, line.output()
    assert line.ledger()["cap"].closed
    assert line.events()[-1].bundle_sha256 == file_sha256(other_bundle)


def test_roles_that_run_alone_hear_the_request_themselves(
    make_line: MakeLine, parts_folder: Path, live: Path, other_bundle: Path
):
    line = running(make_line, parts_folder, live)
    replace(live, other_bundle)
    for role in ("worker0", "capture-top"):
        os.kill(line.child(role), signal.SIGHUP)
    judged_with(line, file_sha256(other_bundle))
    stop(line)


def test_a_line_that_does_not_run_is_not_reloaded(make_line: MakeLine, parts_folder: Path, live: Path):
    line = make_line({"cameras": {"top": belt(parts_folder)}, "stations": {"cap": station(live, reject=None)}})
    answer = line.reload()
    assert answer.returncode == 1
    assert "line test does not run on this host" in " ".join(answer.stderr.split())


def suspicious(path: Path, bundle: Path) -> Path:
    """The same bundle with a threshold that every part exceeds."""
    found = load_bundle(bundle).info.thresholds
    assert found is not None
    change_bundle(bundle, path, thresholds=msgspec.structs.replace(found, image=found.image / 100))
    return path


@pytest.mark.parametrize("neighbourhood", [3, 1], ids=["one backbone pass", "its own backbone pass"])
def test_a_shadow_is_seen_in_the_metrics_and_changes_nothing(
    make_line: MakeLine,
    parts_folder: Path,
    good_folder: Path,
    small_bundle: Path,
    tmp_path: Path,
    neighbourhood: int,
):
    fit(good_folder, tmp_path / "b", FitOptions(size_px=96, coreset=0.05, seed=2, neighbourhood=neighbourhood))
    shadow = suspicious(tmp_path / "shadow.safetensors", tmp_path / "b")
    line = running(make_line, parts_folder, small_bundle, shadow=str(shadow))
    labels = {"station": "cap", "live": "GOOD", "shadow": "DEFECT"}
    line.wait_for(
        lambda: (line.metric("worker0", "patchline_shadow_verdicts_total", **labels) or 0) >= 5,
        "verdicts of the shadow",
    )
    scored = line.metric("worker0", "patchline_shadow_score_ratio_count", station="cap")
    above = scored - (line.metric("worker0", "patchline_shadow_score_ratio_bucket", station="cap", le="1.0") or 0)
    assert above >= 5
    assert line.metric("worker0", "patchline_shadow_verdicts_total", **(labels | {"shadow": "GOOD"})) is None
    stop(line)
    events = line.events()
    assert {event.bundle_sha256 for event in events} == {file_sha256(small_bundle)}
    assert sum(event.part.verdict is Verdict.GOOD for event in events) > len(events) / 2
    bad = {event.part.seq for event in events if event.part.verdict is Verdict.DEFECT}
    assert {reject["seq"] for reject in line.rejects()} <= bad


def test_a_shadow_of_another_network_input_is_refused_before_the_line_starts(
    make_line: MakeLine, parts_folder: Path, good_folder: Path, small_bundle: Path, tmp_path: Path
):
    fit(good_folder, tmp_path / "large.safetensors", FitOptions(size_px=128, coreset=0.02))
    shadow = str(tmp_path / "large.safetensors")
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder)},
            "stations": {"cap": station(small_bundle, shadow=shadow, reject=None)},
        }
    )
    line.start()
    assert line.finish() == 2
    said = " ".join(line.output().split())
    assert "cannot be the shadow: its network input is 128×128 px, that of the live bundle 96×96 px" in said
