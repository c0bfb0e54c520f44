from __future__ import annotations

from stream.capture.policy.rollout import SETTLE_NS, SILENT_NS, Rollout, RolloutDecision
from stream.transport.messages import CreditGrant, Refusal

OLD, NEW, NEWER = "old" * 20, "new" * 20, "newer" * 12
TIMEOUT_NS = 60_000_000_000
S = 1_000_000_000


def grant(worker: str, *accepts: str, refused: Refusal | None = None) -> CreditGrant:
    return CreditGrant(worker, "epoch", 0, 3, False, {"cap": accepts}, {} if refused is None else {"cap": refused})


def rollout(*grants: CreditGrant) -> Rollout:
    """What capture knows after these grants at time 0."""
    known = Rollout(timeout_ns=TIMEOUT_NS)
    for credit in grants:
        known.on_credit(credit, 0)
    return known


def test_nothing_is_decided_before_something_is_proposed():
    assert rollout(grant("worker0", OLD, NEW)).decide(0) == {}


def test_capture_switches_when_the_last_worker_accepts_and_not_earlier():
    known = rollout(grant("worker0", OLD), grant("worker1", OLD))
    known.propose("cap", NEW, 0)
    assert known.decide(S) == {}
    known.on_credit(grant("worker0", OLD, NEW), 2 * S)
    assert known.decide(2 * S) == {}
    known.on_credit(grant("worker1", OLD, NEW), 3 * S)
    assert known.decide(3 * S) == {"cap": RolloutDecision(True)}
    assert known.decide(4 * S) == {}, "once"


def test_a_grant_from_before_the_worker_could_know_of_the_proposal_does_not_count():
    known = rollout(grant("worker0", OLD, NEW))
    known.propose("cap", NEW, 0)
    known.on_credit(grant("worker0", OLD, NEW), SETTLE_NS - 1)
    assert known.decide(5 * S) == {}
    known.on_credit(grant("worker0", OLD, NEW), SETTLE_NS)
    assert known.decide(5 * S) == {"cap": RolloutDecision(True)}


def test_what_a_worker_accepts_for_one_station_does_not_count_for_another():
    known = rollout(CreditGrant("worker0", "epoch", 0, 3, False, {"cap": (OLD, NEW), "neck": (OLD,)}))
    known.propose("neck", NEW, 0)
    known.on_credit(CreditGrant("worker0", "epoch", 0, 3, False, {"cap": (OLD, NEW), "neck": (OLD,)}), S)
    assert known.decide(S) == {}


def test_one_refusal_keeps_the_old_bundle_and_names_worker_and_reason():
    known = rollout(grant("worker0", OLD, NEW), grant("worker1", OLD))
    known.propose("cap", NEW, 0)
    known.on_credit(grant("worker1", OLD, refused=Refusal(NEW, 1, "its self-test fails")), 1)
    assert known.decide(1) == {"cap": RolloutDecision(False, "worker1: its self-test fails")}


def test_a_file_that_one_worker_cannot_read_at_all_is_refused():
    known = rollout(grant("worker0", OLD, refused=Refusal("", 1, "truncated")))
    known.propose("cap", NEW, 0)
    assert known.decide(1) == {"cap": RolloutDecision(False, "worker0: truncated")}


def test_a_refusal_of_another_bundle_does_not_count():
    known = rollout(grant("worker0", OLD, refused=Refusal(NEWER, 1, "damaged")))
    known.propose("cap", NEW, 0)
    assert known.decide(S) == {}
    known.on_credit(grant("worker0", OLD, NEW), 2 * S)
    assert known.decide(2 * S) == {"cap": RolloutDecision(True)}


def test_a_second_attempt_waits_for_a_second_answer():
    refused = Refusal(NEW, 1, "weights are absent")
    known = rollout(grant("worker0", OLD, refused=refused))
    known.propose("cap", NEW, 0)
    assert not known.decide(0)["cap"].switch
    known.propose("cap", NEW, 1)
    known.on_credit(grant("worker0", OLD, refused=refused), 2)  # of the first attempt
    assert known.decide(2) == {}
    known.on_credit(grant("worker0", OLD, refused=Refusal(NEW, 2, "weights are absent")), 3)
    assert known.decide(3) == {"cap": RolloutDecision(False, "worker0: weights are absent")}


def test_a_worker_that_neither_accepts_nor_refuses_is_waited_for_and_then_named():
    known = rollout()
    known.propose("cap", NEW, 0)
    for second in range(61):
        known.on_credit(grant("worker0", OLD, NEW), second * S)
        known.on_credit(grant("worker1", OLD), second * S)
        assert (known.decide(second * S) == {}) == (second < 60)
    known.propose("cap", NEW, 60 * S)
    known.on_credit(grant("worker1", OLD), 120 * S)
    assert "worker1 did not load it within 60 s" in known.decide(120 * S)["cap"].reason


def test_without_any_worker_nothing_is_switched():
    known = rollout()
    known.propose("cap", NEW, 0)
    assert known.decide(TIMEOUT_NS - 1) == {}
    assert known.decide(TIMEOUT_NS) == {"cap": RolloutDecision(False, "no worker is connected")}


def test_a_worker_that_is_silent_is_not_waited_for():
    known = rollout(grant("worker0", OLD), grant("worker1", OLD))
    known.propose("cap", NEW, 0)
    known.on_credit(grant("worker0", OLD, NEW), SILENT_NS)
    assert known.decide(SILENT_NS) == {}
    assert known.decide(SILENT_NS + 1) == {"cap": RolloutDecision(True)}


def test_a_restarted_worker_replaces_its_predecessor():
    known = rollout(grant("worker0", OLD))
    known.propose("cap", NEW, 0)
    known.on_credit(grant("worker0", NEW), S)
    assert known.decide(S) == {"cap": RolloutDecision(True)}


def test_a_later_proposal_replaces_the_earlier_one_and_can_be_withdrawn():
    known = rollout(grant("worker0", OLD, NEW))
    known.propose("cap", NEW, 0)
    known.propose("cap", NEWER, 0)
    assert known.proposed("cap") == NEWER
    known.on_credit(grant("worker0", OLD, NEW), S)
    assert known.decide(S) == {}
    known.withdraw("cap")
    assert known.proposed("cap") is None
    assert known.decide(TIMEOUT_NS) == {}


def test_it_is_noticed_when_no_worker_holds_the_bundle_in_use():
    assert not rollout().no_worker_accepts("cap", OLD, 0)
    assert not rollout(grant("worker0", NEW), grant("worker1", OLD)).no_worker_accepts("cap", OLD, 0)
    assert rollout(grant("worker0", NEW)).no_worker_accepts("cap", OLD, 0)
