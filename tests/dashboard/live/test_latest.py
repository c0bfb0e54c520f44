from __future__ import annotations

from stream.core.parts import PartResult
from stream.core.verdict import Cause, Verdict
from stream.dashboard.live.latest import HISTORY, REJECTS, STATE, LatestParts, LivePart, Subscription
from stream.transport.messages import LineState, SettledPart


def part(seq: int, verdict: Verdict = Verdict.GOOD, *, preview_jpeg: bytes = b"jpeg", station: str = "cap") -> LivePart:
    cause = Cause.TIMEOUT if verdict is Verdict.UNINSPECTED else None
    return LivePart(
        SettledPart(PartResult(station=station, seq=seq, verdict=verdict, cause=cause), "pass", 1, None),
        preview_jpeg,
        b"",
    )


def test_a_browser_that_acknowledges_gets_every_part():
    latest, subscription = LatestParts(["cap"]), Subscription(["cap"])
    for seq in range(3):
        latest.take_part(part(seq))
        assert subscription.due(latest.versions) == ["cap"]
        assert latest.shown["cap"].settled.part.seq == seq
        subscription.acknowledge("cap")
    assert subscription.due(latest.versions) == []


def test_a_browser_that_says_nothing_gets_one_picture_and_then_the_newest_never_an_older_one():
    latest, subscription = LatestParts(["cap"]), Subscription(["cap"])
    sent = []
    for seq in range(100):
        latest.take_part(part(seq))
        if subscription.due(latest.versions):
            sent.append(latest.shown["cap"].settled.part.seq)
    assert sent == [0]
    subscription.acknowledge("cap")
    assert subscription.due(latest.versions) == ["cap"]
    assert latest.shown["cap"].settled.part.seq == 99


def test_a_station_that_is_not_acknowledged_holds_up_no_other():
    latest, subscription = LatestParts(["cap", "label"]), Subscription(["cap", "label", STATE])
    latest.take_part(part(0))
    assert subscription.due(latest.versions) == ["cap"]
    latest.take_part(part(1))
    latest.take_part(part(0, station="label"))
    latest.take_state(LineState("line", 0, {}, {}, {}, {}, []))
    assert sorted(subscription.due(latest.versions)) == ["", "label"]


def test_an_acknowledgement_of_what_was_never_sent_changes_nothing():
    latest, subscription = LatestParts(["cap"]), Subscription(["cap"])
    subscription.acknowledge("cap")
    subscription.acknowledge("nonsense")
    latest.take_part(part(0))
    assert subscription.due(latest.versions) == ["cap"]
    assert subscription.due(latest.versions) == []


def test_good_parts_without_picture_are_in_the_charts_only():
    latest = LatestParts(["cap"])
    latest.take_part(part(0))
    latest.take_part(part(1, preview_jpeg=b""))
    assert latest.shown["cap"].settled.part.seq == 0
    assert [each.part.seq for each in latest.history["cap"]] == [0, 1]


def test_an_uninspected_part_is_shown_though_it_has_no_picture():
    latest = LatestParts(["cap"])
    latest.take_part(part(0))
    latest.take_part(part(1, Verdict.UNINSPECTED, preview_jpeg=b""))
    assert latest.shown["cap"].settled.part.seq == 1
    assert latest.reject("cap", 1) == latest.shown["cap"]
    assert latest.reject("cap", 0) is None


def test_frames_that_a_free_running_camera_passes_over_do_not_hide_those_that_were_judged():
    latest = LatestParts(["cap"])
    latest.take_part(part(0))
    passed_over = PartResult(station="cap", seq=1, verdict=Verdict.UNINSPECTED, cause=Cause.SKIPPED)
    skipped = SettledPart(passed_over, "ignore", 1, None)
    latest.take_part(LivePart(skipped, b"", b""))
    assert latest.shown["cap"].settled.part.seq == 0
    assert not latest.rejects


def test_what_is_remembered_is_bounded():
    latest = LatestParts(["cap"])
    for seq in range(2 * HISTORY):
        latest.take_part(part(seq, Verdict.DEFECT))
    assert len(latest.history["cap"]) == HISTORY
    assert [each.settled.part.seq for each in latest.rejects] == list(range(2 * HISTORY - REJECTS, 2 * HISTORY))


def test_a_station_that_is_not_configured_is_passed_over():
    latest = LatestParts(["cap"])
    latest.take_part(part(0, station="other"))
    assert set(latest.versions) == {STATE, "cap"}
    assert not latest.shown
