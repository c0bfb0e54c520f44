from __future__ import annotations

import pytest

from stream.core.parts import LedgerCounts, Part, Settled
from stream.core.verdict import Cause, Verdict
from stream.sink.policy.ledger import CONFIRM_NS, MAX_AHEAD, MAX_EVENTS, MAX_GAP, PATIENCE_NS, Ledger, SeqError

MS = 1_000_000
DEADLINE_NS = 150 * MS


def part(seq: int, station: str = "cap", captured_ns: int = 0) -> Part:
    return Part(station, seq, captured_ns, captured_ns + DEADLINE_NS, f"P-{seq}")


def announced(*seqs: int, first_seq: int = 0) -> Ledger:
    """A ledger with these parts of the station `cap`, announced at time 0."""
    ledger = Ledger()
    ledger.begin("cap", first_seq)
    for seq in seqs:
        assert ledger.announce(part(seq), None, "", 0) == []
    return ledger


def outcome(settled: list[Settled]) -> list[tuple[int, Verdict, Cause | None]]:
    return [(item.part.seq, item.verdict, item.cause) for item in settled]


def lost(cause: Cause, *seqs: int) -> list[tuple[int, Verdict, Cause | None]]:
    return [(seq, Verdict.UNINSPECTED, cause) for seq in seqs]


def test_an_announced_part_is_pending_until_its_result_closes_it():
    ledger = announced(0)
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == LedgerCounts(1, 0, 0, {}, (0,), 1)
    settled = ledger.result(part(0), Verdict.GOOD, None, "", 40 * MS)
    assert settled == Settled(part(0), Verdict.GOOD, None, "", 40 * MS)
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == LedgerCounts(1, 1, 0, {}, (), 1)


@pytest.mark.parametrize(
    ("verdict", "cause", "expected"),
    [
        (Verdict.GOOD, None, LedgerCounts(1, 1, 0, {}, (), 1)),
        (Verdict.DEFECT, None, LedgerCounts(1, 0, 1, {}, (), 1)),
        (Verdict.UNINSPECTED, Cause.WORKER_ERROR, LedgerCounts(1, 0, 0, {Cause.WORKER_ERROR: 1}, (), 1)),
    ],
)
def test_every_verdict_has_its_own_column(verdict: Verdict, cause: Cause | None, expected: LedgerCounts):
    ledger = announced(0)
    assert ledger.result(part(0), verdict, cause, "", 1).verdict is verdict
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == expected


def test_the_announced_part_prevails_over_the_one_of_its_result():
    ledger = announced(0)
    liar = Part("cap", 0, 77, 10**15, "another")
    assert ledger.result(liar, Verdict.GOOD, None, "", DEADLINE_NS + 1).part == part(0)


def test_a_result_makes_its_part_known_before_the_announcement_comes():
    ledger = announced(0)
    settled = ledger.result(part(1), Verdict.DEFECT, None, "", 1)
    assert settled.verdict is Verdict.DEFECT
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == LedgerCounts(2, 0, 1, {}, (0,), 1, (1,))

    assert ledger.announce(part(1), None, "", 2) == [], "it has its verdict already"
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == LedgerCounts(2, 0, 1, {}, (0,), 2)


def test_results_far_ahead_of_the_announcements_leave_no_gap_behind():
    ledger = Ledger()
    for seq in (3, 1, 2):
        ledger.result(part(seq), Verdict.GOOD, None, "", 1)
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == LedgerCounts(3, 3, 0, {}, (), 0, (1, 2, 3))
    assert outcome(ledger.announce(part(3), None, "", 2)) == lost(Cause.CAMERA_FAULT, 0)
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == LedgerCounts(
        4, 3, 0, {Cause.CAMERA_FAULT: 1}, (), 4
    )


def test_a_missing_number_is_a_part_the_camera_lost():
    ledger = announced(0)
    settled = ledger.announce(part(4), None, "", 9)
    assert outcome(settled) == lost(Cause.CAMERA_FAULT, 1, 2, 3)
    assert settled[0].part == Part("cap", 1, None, 9), "nobody knows when it was exposed"
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == LedgerCounts(
        5, 0, 0, {Cause.CAMERA_FAULT: 3}, (0, 4), 5
    )


def test_a_run_starts_at_its_first_number():
    ledger = Ledger()
    ledger.begin("cap", 40)
    assert ledger.announce(part(40), None, "", 0) == []
    assert outcome(ledger.announce(part(42), None, "", 0)) == lost(Cause.CAMERA_FAULT, 41)


def test_the_first_announcements_may_be_lost_too():
    ledger = Ledger()
    ledger.begin("cap", 40)
    assert outcome(ledger.announce(part(42), None, "", 0)) == lost(Cause.CAMERA_FAULT, 40, 41)


def test_an_account_that_exists_is_not_opened_again():
    ledger = announced(0, 1)
    ledger.begin("cap", 17)
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == LedgerCounts(2, 0, 0, {}, (0, 1), 2)


def test_a_part_announced_with_a_cause_is_settled_at_once():
    ledger = announced(0)
    settled = ledger.announce(part(1), Cause.OVERRUN, "16 parts were waiting already", 5)
    assert settled == [Settled(part(1), Verdict.UNINSPECTED, Cause.OVERRUN, "16 parts were waiting already", 5)]
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == LedgerCounts(
        2, 0, 0, {Cause.OVERRUN: 1}, (0,), 2
    )


def test_the_missing_parts_come_before_the_announced_one():
    ledger = announced(0)
    settled = ledger.announce(part(2), Cause.BAD_FRAME, "", 5)
    assert outcome(settled) == lost(Cause.CAMERA_FAULT, 1) + lost(Cause.BAD_FRAME, 2)


def test_a_second_result_is_stray_and_changes_nothing():
    ledger = announced(0)
    ledger.result(part(0), Verdict.DEFECT, None, "", 1)
    before = ledger.counts("cap")._replace(captured_ns=(), part_ids=())
    assert ledger.result(part(0), Verdict.GOOD, None, "", 2) is None
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == before


def test_a_second_result_ahead_of_the_announcement_is_stray_too():
    ledger = Ledger()
    ledger.result(part(0), Verdict.DEFECT, None, "", 1)
    before = ledger.counts("cap")._replace(captured_ns=(), part_ids=())
    assert ledger.result(part(0), Verdict.GOOD, None, "", 2) is None
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == before


@pytest.mark.parametrize("known_from", ["announcement", "result"])
def test_a_result_after_the_deadline_is_a_timeout_however_good(known_from: str):
    ledger = announced(0) if known_from == "announcement" else Ledger()
    settled = ledger.result(part(0), Verdict.GOOD, None, "", DEADLINE_NS + 1)
    assert (settled.verdict, settled.cause) == (Verdict.UNINSPECTED, Cause.TIMEOUT)
    counts = ledger.counts("cap")
    assert (counts.good, counts.uninspected) == (0, {Cause.TIMEOUT: 1})


def test_a_result_at_the_deadline_is_in_time():
    assert announced(0).result(part(0), Verdict.GOOD, None, "", DEADLINE_NS).verdict is Verdict.GOOD


def test_a_result_for_an_expired_part_is_stray():
    ledger = announced(0)
    ledger.expire(DEADLINE_NS + 1)
    assert ledger.result(part(0), Verdict.GOOD, None, "", DEADLINE_NS + 2) is None
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == LedgerCounts(
        1, 0, 0, {Cause.TIMEOUT: 1}, (), 1
    )


def test_a_part_expires_after_its_deadline_and_not_before():
    ledger = announced(0)
    assert ledger.expire(DEADLINE_NS - 1) == []
    assert ledger.expire(DEADLINE_NS) == []
    settled = ledger.expire(DEADLINE_NS + 1)
    assert settled == [
        Settled(part(0), Verdict.UNINSPECTED, Cause.TIMEOUT, "no result by the deadline", DEADLINE_NS + 1)
    ]
    assert ledger.expire(DEADLINE_NS + 2) == []


def test_only_what_is_overdue_expires_and_in_the_order_of_the_deadlines():
    ledger = Ledger()
    for seq, captured_ns in enumerate([30, 10, 20, 40]):
        ledger.announce(part(seq, captured_ns=captured_ns), None, "", 0)
    ledger.result(part(2, captured_ns=20), Verdict.GOOD, None, "", 50)
    assert outcome(ledger.expire(DEADLINE_NS + 31)) == lost(Cause.TIMEOUT, 1, 0)
    assert ledger.counts("cap").pending == (3,)


def test_the_next_deadline_is_that_of_the_most_urgent_part_of_all_stations():
    ledger = Ledger()
    assert ledger.next_deadline_ns is None
    ledger.announce(part(0, "cap", captured_ns=20), None, "", 0)
    ledger.announce(part(0, "label", captured_ns=10), None, "", 0)
    assert ledger.next_deadline_ns == DEADLINE_NS + 10
    ledger.expire(DEADLINE_NS + 11)
    assert ledger.next_deadline_ns == DEADLINE_NS + 20
    ledger.expire(DEADLINE_NS + 21)
    assert ledger.next_deadline_ns is None


def test_deadlines_of_settled_parts_are_no_next_deadline():
    ledger = announced(0, 1)
    ledger.result(part(0), Verdict.GOOD, None, "", 1)
    ledger.result(part(1), Verdict.GOOD, None, "", 1)
    assert ledger.expire(2) == []
    assert ledger.next_deadline_ns is None


@pytest.mark.parametrize("state", ["pending", "judged"])
def test_a_number_used_before_is_refused_and_counts_nothing(state: str):
    ledger = announced(0, 1)
    if state == "judged":
        ledger.result(part(0), Verdict.GOOD, None, "", 1)
    before = ledger.counts("cap")._replace(captured_ns=(), part_ids=())
    with pytest.raises(SeqError, match="cap: number 0 came again, expected 2"):
        ledger.announce(part(0), None, "", 5)
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == before


def test_a_number_that_was_booked_as_missing_is_refused_afterwards():
    ledger = announced(0)
    ledger.announce(part(2), None, "", 5)
    before = ledger.counts("cap")._replace(captured_ns=(), part_ids=())
    with pytest.raises(SeqError):
        ledger.announce(part(1), None, "", 6)
    assert ledger.result(part(1), Verdict.GOOD, None, "", 7) is None
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == before


def uncounted(ledger: Ledger) -> LedgerCounts:
    return ledger.counts("cap")._replace(captured_ns=(), part_ids=())


@pytest.mark.parametrize("seq", [MAX_AHEAD + 2, 50_000_000, 2**53 - 1])
def test_a_number_that_is_too_far_ahead_is_refused_and_the_parts_that_follow_are_no_repetitions(seq: int):
    ledger = announced(0)
    before = uncounted(ledger)
    with pytest.raises(SeqError, match=rf"cap: number {seq} is too far ahead, expected 1 to {MAX_AHEAD + 1}"):
        ledger.announce(part(seq), None, "", 5)
    with pytest.raises(SeqError, match="too far ahead"):
        ledger.result(part(seq), Verdict.GOOD, None, "", 5)
    with pytest.raises(SeqError, match="too far ahead"):
        ledger.end("cap", seq, 5)
    assert uncounted(ledger) == before
    assert ledger.announce(part(1), None, "", 6) == [], "the line goes on"


@pytest.mark.parametrize("seq", [MAX_GAP + 2, MAX_AHEAD + 1])
@pytest.mark.parametrize("known_from", ["announcement", "result"])
def test_one_number_ahead_costs_no_other_part_its_verdict(seq: int, known_from: str):
    """Another host's count, or an old message."""
    ledger, now_ns = announced(0), 5
    if known_from == "announcement":
        assert ledger.announce(part(seq), None, "", now_ns) == []
    else:
        assert ledger.result(part(seq), Verdict.GOOD, None, "", now_ns).part.seq == seq
    for honest in range(1, seq):
        now_ns += 10 * MS
        assert ledger.announce(part(honest, captured_ns=now_ns), None, "", now_ns) == []
        assert ledger.result(part(honest), Verdict.GOOD, None, "", now_ns).verdict is Verdict.GOOD
        assert Cause.CAMERA_FAULT not in {each.cause for each in ledger.expire(now_ns)}
        if honest % 25 == 0:
            assert ledger.end("cap", honest + 1, now_ns) == []
    assert ledger.counts("cap").closed
    assert ledger.counts("cap").good >= seq - 1


def test_after_a_number_ahead_of_all_others_every_later_sink_starts_with_nothing_to_book():
    before = announced(0)
    before.result(part(0), Verdict.GOOD, None, "", 1)
    before.result(part(MAX_AHEAD), Verdict.GOOD, None, "", 1)
    for _ in range(3):
        after = Ledger()
        assert after.restore("cap", before.counts("cap"), 3) == []
        before = after
    assert after.announce(part(1), None, "", 4) == []
    assert after.result(part(1), Verdict.GOOD, None, "", 4).verdict is Verdict.GOOD


def test_a_ledger_with_numbers_out_of_all_bounds_is_continued_without_them():
    ledger = Ledger()
    assert ledger.restore("cap", LedgerCounts(3, 3, 0, {}, (), 2, (50_000_000,)), 3) == []
    assert uncounted(ledger) == LedgerCounts(3, 3, 0, {}, (), 2)
    assert ledger.announce(part(2), None, "", 4) == []


def test_a_gap_of_more_than_a_few_is_booked_when_the_camera_confirms_it():
    ledger, seq = announced(0), MAX_GAP + 2
    assert ledger.announce(part(seq), None, "", 5) == []
    assert uncounted(ledger) == LedgerCounts(2, 0, 0, {}, (0, seq), 1, (seq,))
    assert ledger.result(part(seq), Verdict.GOOD, None, "", 6).verdict is Verdict.GOOD
    assert outcome(ledger.end("cap", seq + 1, 7)) == lost(Cause.CAMERA_FAULT, *range(1, seq))
    assert ledger.announce(part(seq + 1), None, "", 8) == []


def test_a_gap_is_booked_after_a_while_when_the_camera_reports_nothing():
    ledger, seq = announced(0), MAX_GAP + 2
    for behind in (seq, seq + 1):
        assert ledger.announce(part(behind, captured_ns=10**12), None, "", 5) == []
    ledger.expire(PATIENCE_NS)
    assert ledger.counts("cap").next_seq == 1
    assert outcome(ledger.expire(PATIENCE_NS + 6)) == lost(Cause.CAMERA_FAULT, *range(1, seq))
    assert ledger.announce(part(seq + 2), None, "", PATIENCE_NS + 7) == []


def test_a_number_announced_twice_behind_a_gap_came_again():
    ledger, seq = announced(0), MAX_GAP + 2
    ledger.announce(part(seq), None, "", 5)
    before = uncounted(ledger)
    with pytest.raises(SeqError, match="came again"):
        ledger.announce(part(seq), None, "", 6)
    assert uncounted(ledger) == before


def test_the_longest_gap_of_single_events_and_one_more():
    ledger = announced(0)
    assert len(ledger.end("cap", 1 + MAX_EVENTS, 5)) == MAX_EVENTS
    (settled,) = ledger.end("cap", 2 + 2 * MAX_EVENTS, 6)
    assert settled.detail == f"{MAX_EVENTS + 1} announcements never came"
    counts = ledger.counts("cap")
    assert (counts.closed, counts.next_seq) == (True, 2 + 2 * MAX_EVENTS)
    assert counts.uninspected == {Cause.CAMERA_FAULT: 2 * MAX_EVENTS + 1}


def test_a_long_gap_is_one_event_and_parts_known_from_results_are_not_in_it():
    ledger = announced(0)
    for seq in (1, 40):
        ledger.result(part(seq), Verdict.GOOD, None, "", 1)
    (settled,) = ledger.end("cap", 4 + MAX_EVENTS, 5)
    assert settled.part.seq == 2
    counts = ledger.counts("cap")
    assert counts.uninspected == {Cause.CAMERA_FAULT: MAX_EVENTS + 1}
    assert (counts.good, counts.next_seq, counts.closed) == (2, MAX_EVENTS + 4, True)


def test_a_sink_that_was_away_for_millions_of_parts_believes_the_camera_when_it_says_so_again():
    ledger = Ledger()
    ledger.restore("cap", LedgerCounts(2, 2, 0, {}, (), 2), 3)
    with pytest.raises(SeqError, match="too far ahead"):
        ledger.end("cap", 8_000_000, 5)
    with pytest.raises(SeqError, match="too far ahead"):
        ledger.end("cap", 8_000_010, 5 + CONFIRM_NS - 1)
    (settled,) = ledger.end("cap", 8_000_020, 5 + CONFIRM_NS)
    assert (settled.cause, settled.detail) == (Cause.SINK_DOWN, "8000018 announcements never came")
    assert ledger.announce(part(8_000_020), None, "", 6 + CONFIRM_NS) == []


def test_a_report_far_ahead_is_not_believed_when_the_camera_itself_contradicts_it():
    ledger = announced(0)
    for turn in range(5):
        now_ns = turn * CONFIRM_NS
        with pytest.raises(SeqError, match="too far ahead"):
            ledger.end("cap", 8_000_000, now_ns)
        if turn % 2:
            assert ledger.end("cap", 1 + turn // 2, now_ns + 1) == []
        else:
            assert ledger.announce(part(1 + turn // 2), None, "", now_ns + 1) == []


def test_a_wrong_first_number_is_corrected_by_the_camera_while_no_part_is_counted():
    ledger = Ledger()
    ledger.begin("cap", 8_000_000)
    ledger.begin("cap", 40)
    assert ledger.announce(part(40), None, "", 0) == []


def test_an_announcement_before_the_first_report_books_nothing_before_the_run():
    ledger = Ledger()
    with pytest.raises(SeqError):
        ledger.announce(part(5_000_000), None, "", 0)
    ledger.begin("cap", 5_000_000)
    assert ledger.announce(part(5_000_001), None, "", 1) != []
    assert ledger.counts("cap").announced == 2


def test_a_part_pending_when_the_sink_died_keeps_exposure_and_part_id_so_that_it_can_be_rejected():
    before = announced()
    before.announce(part(0, captured_ns=70), None, "", 71)
    after = Ledger()
    (settled,) = after.restore("cap", before.counts("cap"), 90)
    assert (settled.cause, settled.part.captured_ns, settled.part.part_id) == (Cause.SINK_DOWN, 70, "P-0")


def test_the_end_of_a_camera_books_the_tail_that_never_came():
    ledger = announced(0)
    ledger.result(part(2), Verdict.GOOD, None, "", 1)
    assert outcome(ledger.end("cap", 4, 5)) == lost(Cause.CAMERA_FAULT, 1, 3)
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == LedgerCounts(
        4, 1, 0, {Cause.CAMERA_FAULT: 2}, (0,), 4
    )


def test_an_end_with_nothing_missing_books_nothing_and_may_come_twice():
    ledger = announced(0, 1)
    before = ledger.counts("cap")._replace(captured_ns=(), part_ids=())
    assert ledger.end("cap", 2, 5) == []
    assert ledger.end("cap", 2, 6) == []
    assert ledger.end("cap", 1, 7) == []
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == before


def test_the_end_of_an_unknown_station_books_nothing():
    ledger = Ledger()
    assert ledger.end("cap", 500, 5) == []
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == LedgerCounts(0, 0, 0, {}, (), 500)


def test_shutting_down_settles_everything_that_is_pending():
    ledger = announced(0, 1, 2)
    ledger.announce(part(0, "label"), None, "", 0)
    ledger.result(part(1), Verdict.GOOD, None, "", 1)
    settled = ledger.shut_down(7)
    assert [(item.part.station, item.part.seq, item.cause) for item in settled] == [
        ("cap", 0, Cause.SHUTDOWN),
        ("cap", 2, Cause.SHUTDOWN),
        ("label", 0, Cause.SHUTDOWN),
    ]
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == LedgerCounts(
        3, 1, 0, {Cause.SHUTDOWN: 2}, (), 3
    )
    assert ledger.shut_down(8) == []


def test_stations_keep_separate_accounts():
    ledger = Ledger()
    ledger.announce(part(0, "cap"), None, "", 0)
    ledger.announce(part(1, "label"), None, "", 0)
    assert set(ledger.stations) == {"cap", "label"}
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == LedgerCounts(1, 0, 0, {}, (0,), 1)
    assert ledger.counts("label")._replace(captured_ns=(), part_ids=()) == LedgerCounts(
        2, 0, 0, {Cause.CAMERA_FAULT: 1}, (1,), 2
    )


def test_after_a_restart_the_pending_parts_had_no_sink():
    ledger = Ledger()
    settled = ledger.restore("cap", LedgerCounts(9, 5, 1, {Cause.TIMEOUT: 1}, (6, 8), 9), 3)
    assert outcome(settled) == lost(Cause.SINK_DOWN, 6, 8)
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == LedgerCounts(
        9, 5, 1, {Cause.TIMEOUT: 1, Cause.SINK_DOWN: 2}, (), 9
    )


def test_after_a_restart_the_unannounced_parts_had_no_sink_and_later_gaps_are_the_cameras():
    ledger = Ledger()
    ledger.restore("cap", LedgerCounts(2, 2, 0, {}, (), 2), 3)
    assert outcome(ledger.announce(part(5), None, "", 4)) == lost(Cause.SINK_DOWN, 2, 3, 4)
    assert outcome(ledger.announce(part(7), None, "", 5)) == lost(Cause.CAMERA_FAULT, 6)
    assert ledger.counts("cap").closed


def test_after_a_restart_the_tail_of_an_ended_camera_had_no_sink():
    ledger = Ledger()
    ledger.restore("cap", LedgerCounts(2, 2, 0, {}, (), 2), 3)
    assert outcome(ledger.end("cap", 4, 4)) == lost(Cause.SINK_DOWN, 2, 3)


def test_after_a_restart_an_old_result_is_stray():
    ledger = Ledger()
    ledger.restore("cap", LedgerCounts(2, 1, 0, {}, (1,), 2), 3)
    assert ledger.result(part(1), Verdict.GOOD, None, "", 4) is None
    assert ledger.counts("cap")._replace(captured_ns=(), part_ids=()) == LedgerCounts(
        2, 1, 0, {Cause.SINK_DOWN: 1}, (), 2
    )


def test_after_a_restart_parts_known_from_results_stay_settled_and_their_announcements_are_accepted():
    ledger = Ledger()
    settled = ledger.restore("cap", LedgerCounts(4, 3, 0, {}, (1,), 2, (3, 5)), 3)
    assert outcome(settled) == lost(Cause.SINK_DOWN, 1)
    assert uncounted(ledger) == LedgerCounts(4, 3, 0, {Cause.SINK_DOWN: 1}, (), 2, (3, 5))
    assert ledger.result(part(3), Verdict.DEFECT, None, "", 4) is None
    assert ledger.announce(part(2), None, "", 4) == [], "it can still be inspected"
    assert ledger.announce(part(3), None, "", 4) == []
    assert outcome(ledger.announce(part(6), None, "", 5)) == lost(Cause.CAMERA_FAULT, 4)
    assert uncounted(ledger) == LedgerCounts(7, 3, 0, {Cause.SINK_DOWN: 1, Cause.CAMERA_FAULT: 1}, (2, 6), 7)
    with pytest.raises(SeqError):
        ledger.announce(part(3), None, "", 5)


def test_parts_within_specification_are_counted_among_the_good_ones_and_apart():
    ledger = announced(0, 1, 2)
    passed = ledger.result(part(0), Verdict.GOOD, None, "", 1, within_spec=True)
    assert passed is not None
    assert passed.within_spec
    ledger.result(part(1), Verdict.GOOD, None, "", 1)
    late = ledger.result(part(2), Verdict.GOOD, None, "", DEADLINE_NS + 1, within_spec=True)
    assert late is not None
    assert (late.verdict, late.within_spec) == (Verdict.UNINSPECTED, False)
    counts = ledger.counts("cap")
    assert (counts.good, counts.within_spec, counts.closed) == (2, 1, True)
    assert "good 2 (1 within specification) + defect 0" in counts.summary()
    continued = Ledger()
    continued.restore("cap", counts, 2)
    assert continued.counts("cap").within_spec == 1
