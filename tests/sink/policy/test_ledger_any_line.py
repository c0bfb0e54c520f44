"""The ledger under any order of messages: it closes, and no part settles twice."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stream.core.parts import Part, Settled
from stream.core.verdict import Cause, Verdict
from stream.sink.policy.ledger import Ledger, SeqError


class Announced(NamedTuple):
    """An announcement that has not arrived yet."""

    part: Part
    cause: Cause | None


class Line(RuleBasedStateMachine):
    """Three stations whose messages are lost, doubled, delayed and overtake one another, with restarts of the sink."""

    FIRST_SEQ: ClassVar = {"cap": 0, "label": 7, "lid": 1000}

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 1_000
        self.ledger = Ledger()
        self.next_seq = dict(self.FIRST_SEQ)
        self.announcements: list[Announced] = []
        self.inspected: list[Part] = []
        self.settled: dict[str, Counter[int]] = {station: Counter() for station in self.FIRST_SEQ}
        self.verdicts: dict[str, Counter[Verdict | Cause]] = {station: Counter() for station in self.FIRST_SEQ}
        for station, first_seq in self.FIRST_SEQ.items():
            self.ledger.begin(station, first_seq)

    def book(self, settled: list[Settled]) -> None:
        for item in settled:
            assert item.verdict is not Verdict.GOOD
            self._book(item)

    def _book(self, item: Settled) -> None:
        assert (item.verdict is Verdict.UNINSPECTED) == (item.cause is not None)
        assert item.settled_ns == self.now_ns
        self.settled[item.part.station][item.part.seq] += 1
        self.verdicts[item.part.station][item.cause or item.verdict] += 1

    @rule(
        station=st.sampled_from(sorted(FIRST_SEQ)),
        time_ns=st.integers(-20, 60),
        announced=st.booleans(),
        cause=st.sampled_from([None, None, None, Cause.OVERRUN, Cause.BAD_FRAME]),
    )
    def a_part_comes(self, station: str, time_ns: int, announced: bool, cause: Cause | None) -> None:
        seq = self.next_seq[station]
        self.next_seq[station] += 1
        made = Part(station, seq, self.now_ns, self.now_ns + time_ns)
        if announced:
            self.announcements.append(Announced(made, cause))
        if cause is None:
            self.inspected.append(made)

    @precondition(lambda self: self.announcements)
    @rule(data=st.data(), oldest=st.booleans(), again=st.booleans())
    def an_announcement_arrives(self, data: st.DataObject, oldest: bool, again: bool) -> None:
        index = 0 if oldest else data.draw(st.integers(0, len(self.announcements) - 1))
        message = self.announcements[index] if again else self.announcements.pop(index)
        before = self.ledger.counts(message.part.station)
        try:
            self.book(self.ledger.announce(message.part, message.cause, "", self.now_ns))
        except SeqError:
            assert self.ledger.counts(message.part.station) == before

    @precondition(lambda self: self.inspected)
    @rule(data=st.data(), verdict=st.sampled_from(Verdict), again=st.booleans())
    def a_result_arrives(self, data: st.DataObject, verdict: Verdict, again: bool) -> None:
        index = data.draw(st.integers(0, len(self.inspected) - 1))
        seen = self.inspected[index] if again else self.inspected.pop(index)
        cause = Cause.WORKER_ERROR if verdict is Verdict.UNINSPECTED else None
        before = self.ledger.counts(seen.station)
        settled = self.ledger.result(seen, verdict, cause, "", self.now_ns)
        if settled is None:
            assert self.ledger.counts(seen.station) == before
            return
        in_time = self.now_ns <= seen.deadline_ns
        assert settled.verdict is (verdict if in_time else Verdict.UNINSPECTED)
        self._book(settled)

    @rule(step_ns=st.integers(0, 80))
    def time_passes(self, step_ns: int) -> None:
        self.now_ns += step_ns
        due_ns = self.ledger.next_deadline_ns
        expired = self.ledger.expire(self.now_ns)
        assert all(item.part.deadline_ns < self.now_ns for item in expired)
        assert not expired or due_ns < self.now_ns, "the sink would have slept through a deadline"
        self.book(expired)

    @rule(station=st.sampled_from(sorted(FIRST_SEQ)))
    def a_camera_ends(self, station: str) -> None:
        self.book(self.ledger.end(station, self.next_seq[station], self.now_ns))

    @rule()
    def the_sink_restarts(self) -> None:
        stored = {station: self.ledger.counts(station) for station in self.FIRST_SEQ}
        self.ledger = Ledger()
        for station, counts in stored.items():
            lost_parts = self.ledger.restore(station, counts, self.now_ns)
            assert {item.cause for item in lost_parts} <= {Cause.SINK_DOWN}
            self.book(lost_parts)
            assert self.ledger.counts(station).pending == ()

    @invariant()
    def the_ledger_is_closed(self) -> None:
        for station in self.FIRST_SEQ:
            assert self.ledger.counts(station).closed

    @invariant()
    def no_part_settles_twice_and_none_is_invented(self) -> None:
        for station, settled in self.settled.items():
            assert set(settled.values()) <= {1}
            assert all(self.FIRST_SEQ[station] <= seq < self.next_seq[station] for seq in settled)

    @invariant()
    def the_counts_say_what_was_settled(self) -> None:
        for station, verdicts in self.verdicts.items():
            counts = self.ledger.counts(station)
            given = {Verdict.GOOD: counts.good, Verdict.DEFECT: counts.defect, **counts.uninspected}
            assert {name: count for name, count in given.items() if count} == dict(verdicts)
            assert counts.announced == len(self.settled[station]) + len(counts.pending)
            assert not set(counts.pending) & set(self.settled[station])

    def teardown(self) -> None:
        for station in self.FIRST_SEQ:
            self.book(self.ledger.end(station, self.next_seq[station], self.now_ns))
        self.book(self.ledger.shut_down(self.now_ns))
        for station, first_seq in self.FIRST_SEQ.items():
            counts = self.ledger.counts(station)
            assert counts.closed
            assert counts.pending == counts.ahead == ()
            assert sorted(self.settled[station]) == list(range(first_seq, self.next_seq[station]))
        self.no_part_settles_twice_and_none_is_invented()


TestAnyLine = Line.TestCase
TestAnyLine.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)
