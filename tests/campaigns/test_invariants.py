"""The checker of a line's record names each broken promise, and none where all are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from campaigns.invariants import PartFacts, PulseFacts, StationRecord, violations

from stream.core.parts import LedgerCounts
from stream.core.verdict import Cause, Verdict

PERIOD_NS, TRANSPORT_NS, TOLERANCE_NS = 50_000_000, 1_500_000_000, 100_000_000


def due_ns(seq: int) -> int:
    return seq * PERIOD_NS + TRANSPORT_NS


# Parts 0 to 5: two good, a defect, one lost to a killed sink and rejected late, a timeout, one good.
KEPT = StationRecord(
    station="cap",
    taken=6,
    ledger=LedgerCounts(
        announced=6, good=3, defect=1, uninspected={Cause.SINK_DOWN: 1, Cause.TIMEOUT: 1}, pending=(), next_seq=6
    ),
    events=(
        PartFacts(0, Verdict.GOOD, score=1.0),
        PartFacts(1, Verdict.GOOD, score=1.5),
        PartFacts(2, Verdict.DEFECT, score=9.0),
        PartFacts(4, Verdict.UNINSPECTED, Cause.TIMEOUT),
        PartFacts(3, Verdict.UNINSPECTED, Cause.SINK_DOWN),
        PartFacts(5, Verdict.GOOD, score=1.0),
    ),
    fired=(PulseFacts(2, due_ns(2), due_ns(2) + 300_000), PulseFacts(4, due_ns(4), due_ns(4) + TOLERANCE_NS)),
    late=(3,),
    defective=lambda seq: seq == 2,
    exposed_ns=lambda seq: seq * PERIOD_NS,
    transport_ns=TRANSPORT_NS,
    tolerance_ns=TOLERANCE_NS,
)
assert KEPT.ledger is not None


def test_a_record_that_keeps_every_promise_has_no_violation():
    assert violations(KEPT) == []


def test_a_reject_that_was_fired_and_also_counted_late_by_the_next_sink_is_none():
    assert violations(replace(KEPT, late=(3, 2))) == []


def test_late_rejects_that_the_log_only_counts_explain_as_many_parts_and_no_more():
    assert violations(replace(KEPT, late=(), late_unnamed=1)) == []
    found = violations(replace(KEPT, late=(), late_unnamed=1, fired=KEPT.fired[1:]))
    assert [violation.rule for violation in found] == ["neither rejected nor late"]


SEEDED = {
    "an open ledger": ({"ledger": KEPT.ledger._replace(announced=7)}, {"ledger", "journal"}),
    "a part still pending": ({"ledger": KEPT.ledger._replace(pending=(5,), good=2)}, {"ledger", "counts"}),
    "no ledger": ({"ledger": None}, {"ledger"}),
    "a number taken and never announced": ({"taken": 7}, {"journal", "event missing"}),
    "a number announced and never taken": ({"taken": 5}, {"journal", "part unknown to capture"}),
    "a lost event": ({"events": KEPT.events[:-1]}, {"event missing", "counts"}),
    "an event twice": ({"events": (*KEPT.events, KEPT.events[0])}, {"part twice", "counts"}),
    "a verdict other than the ledger's": (
        {"events": (*KEPT.events[:-1], PartFacts(5, Verdict.DEFECT, score=9.0)), "late": (3, 5)},
        {"counts"},
    ),
    "a cause other than the ledger's": (
        {"events": tuple(e._replace(cause=Cause.OVERRUN) if e.seq == 4 else e for e in KEPT.events)},
        {"counts"},
    ),
    "a good part without a score": (
        {"events": (*KEPT.events[:-1], PartFacts(5, Verdict.GOOD))},
        {"silently good"},
    ),
    "a good part with a cause": (
        {"events": (*KEPT.events[:-1], PartFacts(5, Verdict.GOOD, Cause.TIMEOUT, 1.0))},
        {"silently good", "counts"},
    ),
    "a defective picture that was good": ({"defective": lambda seq: seq == 5}, {"silently good"}),
    "an uninspected part without a cause": (
        {"events": tuple(e._replace(cause=None) if e.seq == 4 else e for e in KEPT.events)},
        {"cause missing", "counts"},
    ),
    "a defect that passed": ({"fired": KEPT.fired[1:]}, {"neither rejected nor late"}),
    "an uninspected part that passed": ({"late": ()}, {"neither rejected nor late"}),
    "a reject twice": ({"fired": (*KEPT.fired, KEPT.fired[0])}, {"reject twice"}),
    "a reject of a good part": (
        {"fired": (*KEPT.fired, PulseFacts(0, due_ns(0), due_ns(0)))},
        {"reject of a good part"},
    ),
    "a reject planned for the part behind it": (
        {"fired": (KEPT.fired[0]._replace(planned_ns=due_ns(3), actual_ns=due_ns(3)), KEPT.fired[1])},
        {"reject at another moment"},
    ),
    "a reject fired after its tolerance": (
        {"fired": (KEPT.fired[0]._replace(actual_ns=due_ns(2) + TOLERANCE_NS + 1), KEPT.fired[1])},
        {"reject at another moment"},
    ),
    "a reject fired before its moment": (
        {"fired": (KEPT.fired[0]._replace(actual_ns=due_ns(2) - 1), KEPT.fired[1])},
        {"reject at another moment"},
    ),
}


@pytest.mark.parametrize(("changes", "rules"), SEEDED.values(), ids=SEEDED)
def test_a_seeded_violation_is_named(changes: dict[str, object], rules: set[str]):
    found = violations(replace(KEPT, **changes))
    assert {violation.rule for violation in found} == rules
    assert all(violation.text.startswith("cap: ") for violation in found)


def test_a_violation_of_many_parts_names_a_few_and_counts_all():
    (found,) = [v for v in violations(replace(KEPT, taken=100)) if v.rule == "event missing"]
    assert found.text == "cap: 94 parts: 6, 7, 8, 9, 10, 11, 12, 13 …"
