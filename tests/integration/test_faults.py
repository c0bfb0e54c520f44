"""Bad days: processes are killed, workers are slow; nothing is silently good and the ledger closes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support.running import GATE, Line, belt, station

from stream.core.verdict import Cause, Verdict

MakeLine = Callable[..., Line]
PARTS = 160


def triggered_line(make_line: MakeLine, parts: Path, bundle: Path, **options: object) -> Line:
    """A belt of 160 parts at 20/s: eight seconds, time enough to kill something in the middle."""
    return make_line(
        {
            "cameras": {"top": belt(parts, parts=PARTS)},
            "stations": {"cap": station(bundle, **options)},
            "actuators": GATE,
        }
    )


def check_that_nothing_was_silently_good(line: Line) -> None:
    """Every part has one event in order; all that is not GOOD was rejected or counted as too late."""
    counts, events = line.ledger()["cap"], line.events()
    assert counts.closed
    assert counts.pending == ()
    assert counts.announced == PARTS
    assert [event.part.seq for event in events] == list(range(PARTS))
    assert sum(event.part.verdict is Verdict.GOOD for event in events) == counts.good
    assert all(event.part.score is not None for event in events if event.part.verdict is Verdict.GOOD)
    fired = [reject["seq"] for reject in line.rejects()]
    assert len(fired) == len(set(fired))
    bad = {event.part.seq for event in events if event.part.verdict is not Verdict.GOOD}
    assert set(fired) <= bad
    late = line.output().count("late reject:")
    assert len(bad) == len(fired) + late, "a bad part was neither rejected nor counted as late"


@pytest.mark.parametrize("kind", ["small", "tiled"])
def test_a_killed_worker_costs_its_parts_their_inspection_and_is_back_within_ten_seconds(
    make_line: MakeLine, parts_folder: Path, kind: str, request: pytest.FixtureRequest
):
    """Of a part in tiles, too: whatever of its tiles was inspected, none is judged by half of them."""
    bundle = request.getfixturevalue(f"{kind}_bundle")
    # Shorter than any start of a process with a model, so that parts must fall due while no worker lives.
    line = triggered_line(make_line, parts_folder, bundle, deadline_ms=200, backlog=32)
    line.start()
    line.wait_for(lambda: line.announced("cap") >= 30, "30 parts")
    killed = line.kill("worker0")
    begun = time.monotonic()
    line.wait_for(lambda: _other_pid(line, "worker0", killed), "a new worker")
    restarted = "worker0 ready after"
    line.wait_for(lambda: line.output().count(restarted) == 2, "the new worker's READY")
    assert time.monotonic() - begun < 10
    assert line.finish() == 0, line.output()
    check_that_nothing_was_silently_good(line)
    counts = line.ledger()["cap"]
    lost = counts.uninspected
    assert lost.get(Cause.TIMEOUT, 0) >= 1, "the parts in flight time out"
    assert set(lost) <= {Cause.TIMEOUT, Cause.OVERRUN}
    # Booked by their deadline (0.2 s after exposure), in time for the gate 2.5 s after exposure.
    unjudged = [event for event in line.events() if event.part.verdict is Verdict.UNINSPECTED]
    assert {event.part.seq for event in unjudged} <= {reject["seq"] for reject in line.rejects()}
    assert all(event.total_ms is not None and event.total_ms < 2500 for event in unjudged)
    # And the parts after the restart are inspected again.
    assert line.events()[-1].part.verdict in (Verdict.GOOD, Verdict.DEFECT)


def test_a_killed_capture_is_an_alarm_and_a_metric_and_its_parts_are_announced_as_lost(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    line = triggered_line(make_line, parts_folder, small_bundle)
    line.start()
    line.wait_for(lambda: line.announced("cap") >= 30, "30 parts")
    pid = line.child("capture-top")
    os.kill(pid, signal.SIGSTOP)  # first frozen: the supervisor sees nothing, the sink must
    begun = time.monotonic()
    line.wait_for(lambda: line.metric("sink", "patchline_camera_up", camera="top") == 0, "camera_up 0", 10)
    line.wait_for(lambda: [a for a in line.alarms() if a.kind == "camera_down"], "a camera_down alarm", 10)
    assert time.monotonic() - begun < 2
    os.kill(pid, signal.SIGKILL)
    line.wait_for(lambda: _other_pid(line, "capture-top", pid), "a new capture")
    line.wait_for(lambda: line.metric("sink", "patchline_camera_up", camera="top") == 1, "camera_up 1", 10)
    assert line.finish() == 0, line.output()
    check_that_nothing_was_silently_good(line)
    lost = line.ledger()["cap"].uninspected
    assert lost.get(Cause.CAMERA_FAULT, 0) >= 20, "a second of belt passed unseen"
    assert set(lost) <= {Cause.CAMERA_FAULT, Cause.TIMEOUT, Cause.OVERRUN}


def test_a_capture_killed_outright_is_started_again_and_goes_on_counting(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    line = triggered_line(make_line, parts_folder, small_bundle)
    line.start()
    line.wait_for(lambda: line.announced("cap") >= 30, "30 parts")
    pid = line.kill("capture-top")
    begun = time.monotonic()
    line.wait_for(lambda: [a for a in line.alarms() if a.kind == "camera_down"], "a camera_down alarm", 10)
    assert line.metric("sink", "patchline_alarms_total", kind="camera_down", subject="top") == 1
    assert time.monotonic() - begun < 2
    line.wait_for(lambda: _other_pid(line, "capture-top", pid), "a new capture")
    assert line.finish() == 0, line.output()
    check_that_nothing_was_silently_good(line)


def test_a_killed_sink_books_the_parts_between_as_sink_down(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    line = triggered_line(make_line, parts_folder, small_bundle)
    line.start()
    line.wait_for(lambda: line.announced("cap") >= 30, "30 parts")
    pid = line.kill("sink")
    line.wait_for(lambda: _other_pid(line, "sink", pid), "a new sink")
    assert line.finish() == 0, line.output()
    counts, events = line.ledger()["cap"], line.events()
    assert counts.closed
    assert (counts.announced, counts.pending) == (PARTS, ())
    numbers = [event.part.seq for event in events]
    assert len(numbers) == len(set(numbers))
    assert set(counts.uninspected) <= {Cause.SINK_DOWN, Cause.TIMEOUT}
    fired = [reject["seq"] for reject in line.rejects()]
    assert {event.part.seq for event in events if event.part.verdict is Verdict.GOOD}.isdisjoint(fired)


def test_a_slow_worker_makes_a_free_running_camera_skip_frames_and_age_none(
    make_line: MakeLine, parts_folder: Path, slow_bundle: Path
):
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=100_000, rate_hz=60)},
            "stations": {"cap": station(slow_bundle, mode="freerun", deadline_ms=30_000, reject=None)},
            "workers": [{"threads": 1}],
        }
    )
    process = line.start()
    line.wait_for(lambda: line.announced("cap") >= 120, "120 frames")
    worker, capture = (psutil.Process(line.child(role)) for role in ("worker0", "capture-top"))
    before = [member.memory_info().rss for member in (worker, capture)]
    line.wait_for(lambda: line.announced("cap") >= 480, "480 frames")
    after = [member.memory_info().rss for member in (worker, capture)]
    process.send_signal(signal.SIGTERM)
    assert line.finish(40) == 0, line.output()

    counts = line.ledger()["cap"]
    assert counts.closed
    judged = [event for event in line.events() if event.part.verdict is not Verdict.UNINSPECTED]
    assert counts.uninspected.get(Cause.SKIPPED, 0) > counts.announced // 2, "the worker was slow indeed"
    assert len(judged) >= 5
    service_ms = max(sum(event.stages[s] for s in ("preprocess", "backbone", "search", "score")) for event in judged)
    # A frame waits for at most the one before it; were frames queued, the last would be seconds old.
    assert max(event.total_ms or 0 for event in judged) < 2 * service_ms + 500
    growth = [b - a for a, b in zip(before, after, strict=True)]
    assert max(growth) < 30 * 2**20, f"memory grew by {growth} bytes over 360 frames"


def test_a_slow_worker_makes_triggered_parts_overrun_and_that_is_known_at_once(
    make_line: MakeLine, parts_folder: Path, slow_bundle: Path
):
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=120, rate_hz=60)},
            "stations": {
                "cap": station(
                    slow_bundle,
                    deadline_ms=6_000,
                    backlog=4,
                    reject={"actuator": "gate", "transport_delay_ms": 6_000},
                )
            },
            "actuators": GATE,
            "workers": [{"max_batch": 1, "threads": 1}],
        }
    )
    line.start()
    assert line.finish() == 0, line.output()
    counts = line.ledger()["cap"]
    assert counts.closed
    assert (counts.announced, counts.pending) == (120, ())
    overrun = [event for event in line.events() if event.part.cause is Cause.OVERRUN]
    assert len(overrun) >= 40, "the worker was slow indeed"
    assert set(counts.uninspected) == {Cause.OVERRUN}
    # Their deadline is 6 s away; they are booked as they come.
    assert max(event.total_ms or 0 for event in overrun) < 2000
    assert {event.part.seq for event in overrun} <= {reject["seq"] for reject in line.rejects()}


def test_children_do_not_outlive_a_killed_supervisor(make_line: MakeLine, parts_folder: Path, small_bundle: Path):
    line = triggered_line(make_line, parts_folder, small_bundle)
    process = line.start()
    line.wait_for(lambda: line.announced("cap") >= 20, "20 parts")
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 3
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, line.output()
    assert line.ledger()["cap"].closed


def test_a_role_that_keeps_dying_stops_the_line_with_a_reason(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder, parts=100_000)},
            "stations": {"cap": station(small_bundle)},
            "actuators": GATE,
            "restarts": {"limit": 1},
        }
    )
    line.start()
    line.wait_for(lambda: line.announced("cap") >= 10, "10 parts")
    first = line.kill("worker0")
    second = line.wait_for(lambda: _other_pid(line, "worker0", first), "a new worker")
    os.kill(second, signal.SIGKILL)
    assert line.finish(60) == 1
    assert "worker0 died 2 times within 60 s (last: signal SIGKILL)" in line.output()
    counts = line.ledger()["cap"]
    assert counts.closed
    assert counts.pending == ()


def test_a_role_that_is_never_ready_stops_the_line_however_slowly_its_starts_fail(
    make_line: MakeLine, parts_folder: Path, small_bundle: Path
):
    line = make_line(
        {
            "cameras": {"top": belt(parts_folder)},
            "stations": {"cap": station(small_bundle)},
            "actuators": GATE,
            # No worker is ready that soon, and deaths that far apart do not add up.
            "restarts": {"limit": 2, "ready_s": 0.2, "within_s": 0.1},
        }
    )
    line.start()
    assert line.finish(60) == 1
    assert "was not ready at 3 starts in a row, each given 0.2 s (last: signal SIGKILL)" in line.output()
    assert "restarts.ready_s" in line.output()


def _other_pid(line: Line, role: str, than: int) -> int | None:
    """Return the process id of a role once it is not the one that was killed."""
    try:
        pid = line.child(role)
    except AssertionError:
        return None
    return pid if pid != than else None
