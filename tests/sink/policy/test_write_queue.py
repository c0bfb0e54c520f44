from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stream.core.parts import LedgerCounts, Part, PartResult, Settled
from stream.core.verdict import Cause, Verdict
from stream.sink.policy.ledger import Ledger
from stream.sink.policy.write_queue import (
    ALARMS_WAITING,
    BATCH,
    IMAGES_BYTES,
    INPUTS_BYTES,
    WAITING,
    Snapshot,
    WriteQueue,
)
from stream.store.records import AlarmRecord, Event

NOTHING = Snapshot({}, None)
ALARM = AlarmRecord(1, "defect", "cap", "3 of 10")


def event(seq: int, verdict: Verdict = Verdict.DEFECT, *, preview_bytes: int = 0, input_px: int = 0) -> Event:
    return Event(
        PartResult(station="cap", seq=seq, verdict=verdict),
        "reject",
        1,
        preview_jpeg=bytes(preview_bytes),
        network_input=np.zeros((input_px, input_px, 3), np.uint8) if input_px else None,
    )


def numbers(events: list[Event]) -> list[int]:
    return [each.part.seq for each in events]


def test_an_event_waits_for_the_ledger_that_counts_it():
    queue = WriteQueue()
    queue.add_event(event(0))
    assert queue.take() is None
    queue.cover(NOTHING)
    queue.add_event(event(1))
    batch = queue.take()
    assert (numbers(batch.events), batch.snapshot) == ([0], NOTHING)
    queue.written()
    assert queue.take() is None
    assert len(queue) == 1


def test_what_was_not_written_is_returned_again_and_what_came_meanwhile_after_it():
    queue = WriteQueue()
    queue.add_event(event(0))
    queue.cover(NOTHING)
    first = queue.take()
    queue.add_event(event(1))
    queue.cover(Snapshot({}, {"gate": []}))
    assert queue.take() is first
    assert numbers(first.events) == [0]
    queue.written()
    assert numbers(queue.take().events) == [1]


def test_snapshots_without_events_take_no_room():
    queue = WriteQueue()
    for number in range(10_000):
        queue.cover(Snapshot({"cap": LedgerCounts(number, 0, 0, {}, (), number)}, None))
    assert queue.take().snapshot.ledger["cap"].announced == 9_999
    queue.written()
    assert not queue.ready


def test_a_long_wait_is_written_in_transactions_of_bounded_size():
    queue = WriteQueue()
    for seq in range(3 * BATCH):
        queue.add_event(event(seq))
        queue.cover(NOTHING)
    sizes = []
    while (batch := queue.take()) is not None:
        sizes.append(len(batch.events))
        queue.written()
    assert sizes == [BATCH] * 3


def test_alarms_need_no_ledger_and_are_bounded():
    queue = WriteQueue()
    assert [queue.add_alarm(ALARM) for _ in range(ALARMS_WAITING)] == [[]] * ALARMS_WAITING
    assert queue.take().snapshot is None
    assert queue.add_alarm(ALARM) == ["alarm"], "they wait until they are written"
    queue.written()
    assert queue.add_alarm(ALARM) == []


def test_images_are_left_out_first_the_inputs_of_the_network_then_all_then_events():
    queue = WriteQueue()
    big = {"input_px": 4096}
    fits = INPUTS_BYTES // (4096 * 4096 * 3)
    assert [queue.add_event(event(seq, **big)) for seq in range(fits)] == [[]] * fits
    assert queue.add_event(event(fits, **big)) == ["input"]
    assert queue.add_event(event(fits + 1, preview_bytes=IMAGES_BYTES)) == ["picture"]
    assert len(queue) == fits + 2
    for seq in range(len(queue), WAITING):
        assert queue.add_event(event(seq)) == []
    assert queue.add_event(event(WAITING)) == ["event"]
    assert len(queue) == WAITING


def test_a_good_part_that_would_not_be_stored_takes_no_room_from_others():
    queue = WriteQueue()
    for seq in range(WAITING):
        assert queue.add_event(event(seq, Verdict.GOOD, preview_bytes=1), needless=True) == []
    assert len(queue) == WAITING // 2
    assert queue.add_event(event(WAITING)) == []


def test_what_no_store_can_hold_is_dropped_and_the_rest_stays():
    queue = WriteQueue()
    for seq in range(3):
        queue.add_event(event(seq, preview_bytes=10))
    queue.add_alarm(ALARM)
    queue.cover(NOTHING)
    queue.take()
    assert queue.discard({("cap", 1)}) == ["event"]
    assert (numbers(queue.take().events), len(queue)) == ([0, 2], 2)
    assert queue.discard(set()) == ["alarm"]
    queue.written()
    assert len(queue) == 0


class KilledAnywhere(RuleBasedStateMachine):
    """A sink that is killed at any moment between settlement, snapshot and write: what the store counts, it has."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0
        self.next_seq = 0
        self.stored: dict[int, Verdict | Cause] = {}
        self.stored_ledger: LedgerCounts | None = None
        self.ledger, self.queue = Ledger(), WriteQueue()
        self.ledger.begin("cap", 0)

    def settled(self, *parts: Settled) -> None:
        for each in parts:
            result = PartResult(station="cap", seq=each.part.seq, verdict=each.verdict, cause=each.cause)
            assert self.queue.add_event(Event(result, "reject", 1)) == []

    @rule(count=st.integers(1, 4))
    def parts_are_announced(self, count: int) -> None:
        for _ in range(count):
            part = Part("cap", self.next_seq, self.now_ns, self.now_ns + 100)
            self.next_seq += 1
            self.settled(*self.ledger.announce(part, None, "", self.now_ns))

    @rule(data=st.data(), verdict=st.sampled_from([Verdict.GOOD, Verdict.DEFECT]))
    def a_result_comes(self, data: st.DataObject, verdict: Verdict) -> None:
        pending = self.ledger.counts("cap").pending
        ahead = self.next_seq + data.draw(st.integers(0, 3))
        seq = data.draw(st.sampled_from([*pending, ahead]))
        part = Part("cap", seq, self.now_ns, self.now_ns + 100)
        settled = self.ledger.result(part, verdict, None, "", self.now_ns)
        self.settled(*([] if settled is None else [settled]))

    @rule(step_ns=st.integers(0, 150))
    def time_passes(self, step_ns: int) -> None:
        self.now_ns += step_ns
        self.settled(*self.ledger.expire(self.now_ns))

    @rule()
    def the_ledger_is_handed_over(self) -> None:
        self.queue.cover(Snapshot({"cap": self.ledger.counts("cap")}, None))

    @rule(succeeds=st.booleans())
    def the_next_transaction_is_tried(self, succeeds: bool) -> None:
        batch = self.queue.take()
        if batch is None or not succeeds:
            return
        for each in batch.events:
            assert each.part.seq not in self.stored, "a part would have two verdicts"
            self.stored[each.part.seq] = each.part.cause or each.part.verdict
        self.stored_ledger = batch.snapshot.ledger["cap"]
        self.queue.written()

    @rule()
    def the_sink_is_killed(self) -> None:
        self.ledger, self.queue = Ledger(), WriteQueue()
        if self.stored_ledger is None:
            self.ledger.begin("cap", 0)
        else:
            self.settled(*self.ledger.restore("cap", self.stored_ledger, self.now_ns))
        self.next_seq = max(self.next_seq, self.ledger.counts("cap").next_seq)

    @invariant()
    def the_store_has_an_event_for_every_part_that_its_ledger_counts(self) -> None:
        if self.stored_ledger is None:
            assert self.stored == {}
            return
        counts = self.stored_ledger
        expected = {Verdict.GOOD: counts.good, Verdict.DEFECT: counts.defect, **counts.uninspected}
        verdicts = list(self.stored.values())
        assert {each: count for each, count in expected.items() if count} == {
            each: verdicts.count(each) for each in set(verdicts)
        }


TestKilledAnywhere = KilledAnywhere.TestCase
TestKilledAnywhere.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
