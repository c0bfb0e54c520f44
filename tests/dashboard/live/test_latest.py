from __future__ import annotations

from stream.core.parts import PartResult
from stream.core.verdict import Cause, Verdict
from stream.dashboard.live.latest import HISTORY, REJECTS, STATE, LatestParts, LivePart, Subscription
from stream.transport.messages import LineState, SettledPart


def part(seq: int, verdict: Verdict = Verdict.GOOD, *, preview_jpeg: bytes = b"jpeg", station: str = "cap") -> LivePart:
    cause = Cause.TIMEOUT if verdict is Verdict.UNINSPECTED else None
    return LivePart(
        SettledPart(PartResult(station=station, seq=seq, verdict=verdict, cause=cause), "pass", 1), preview_jpeg, b""
    )


def test_a_browser_that_acknowledges_gets_every_part():
    newest, watcher = LatestParts(["cap"]), Subscription(["cap"])
    for seq in range(3):
        newest.take_part(part(seq))
        assert watcher.due(newest.versions) == ["cap"]
        assert newest.shown["cap"].settled.part.seq == seq
        watcher.acknowledge("cap")
    assert watcher.due(newest.versions) == []


def test_a_browser_that_says_nothing_gets_one_picture_and_then_the_newest_never_an_older_one():
    newest, watcher = LatestParts(["cap"]), Subscription(["cap"])
    sent = []
    for seq in range(100):
        newest.take_part(part(seq))
        if watcher.due(newest.versions):
            sent.append(newest.shown["cap"].settled.part.seq)
    assert sent == [0]
    watcher.acknowledge("cap")
    assert watcher.due(newest.versions) == ["cap"]
    assert newest.shown["cap"].settled.part.seq == 99


def test_a_station_that_is_not_acknowledged_holds_up_no_other():
    newest, watcher = LatestParts(["cap", "label"]), Subscription(["cap", "label", STATE])
    newest.take_part(part(0))
    assert watcher.due(newest.versions) == ["cap"]
    newest.take_part(part(1))
    newest.take_part(part(0, station="label"))
    newest.take_state(LineState("line", 0, {}, {}, {}, {}, []))
    assert sorted(watcher.due(newest.versions)) == ["", "label"]


def test_an_acknowledgement_of_what_was_never_sent_changes_nothing():
    newest, watcher = LatestParts(["cap"]), Subscription(["cap"])
    watcher.acknowledge("cap")
    watcher.acknowledge("nonsense")
    newest.take_part(part(0))
    assert watcher.due(newest.versions) == ["cap"]
    assert watcher.due(newest.versions) == []


def test_good_parts_without_picture_are_in_the_charts_only():
    newest = LatestParts(["cap"])
    newest.take_part(part(0))
    newest.take_part(part(1, preview_jpeg=b""))
    assert newest.shown["cap"].settled.part.seq == 0
    assert [each.part.seq for each in newest.history["cap"]] == [0, 1]


def test_an_uninspected_part_is_shown_though_it_has_no_picture():
    newest = LatestParts(["cap"])
    newest.take_part(part(0))
    newest.take_part(part(1, Verdict.UNINSPECTED, preview_jpeg=b""))
    assert newest.shown["cap"].settled.part.seq == 1
    assert newest.reject("cap", 1) == newest.shown["cap"]
    assert newest.reject("cap", 0) is None


def test_frames_that_a_free_running_camera_passes_over_do_not_hide_those_that_were_judged():
    newest = LatestParts(["cap"])
    newest.take_part(part(0))
    passed_over = PartResult(station="cap", seq=1, verdict=Verdict.UNINSPECTED, cause=Cause.SKIPPED)
    skipped = SettledPart(passed_over, "ignore", 1)
    newest.take_part(LivePart(skipped, b"", b""))
    assert newest.shown["cap"].settled.part.seq == 0
    assert not newest.rejects


def test_what_is_remembered_is_bounded():
    newest = LatestParts(["cap"])
    for seq in range(2 * HISTORY):
        newest.take_part(part(seq, Verdict.DEFECT))
    assert len(newest.history["cap"]) == HISTORY
    assert [each.settled.part.seq for each in newest.rejects] == list(range(2 * HISTORY - REJECTS, 2 * HISTORY))


def test_a_station_that_is_not_configured_is_passed_over():
    newest = LatestParts(["cap"])
    newest.take_part(part(0, station="other"))
    assert set(newest.versions) == {STATE, "cap"}
    assert not newest.shown
