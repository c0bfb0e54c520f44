from __future__ import annotations

import random

from stream.core.good_parts import HOUR_NS, hour_of
from stream.inference.policy.good_inputs import GoodInputs
from stream.sink.policy.kept_good_parts import KeptGoodPart, KeptGoodParts


def test_a_worker_sends_the_inputs_of_the_highest_scores_of_each_hour_so_far():
    inputs = GoodInputs(per_hour=2, one_in=0)
    scores = [5.0, 1.0, 0.5, 3.0, 3.0, 4.0, 6.0]
    assert [inputs.wants("cap", "aa", seq, score, seq) for seq, score in enumerate(scores)] == [
        True, True, False, True, False, True, True,
    ]  # fmt: skip
    assert inputs.wants("cap", "aa", 9, 0.1, HOUR_NS), "another hour"
    assert inputs.wants("label", "aa", 9, 0.1, 0), "another station"
    assert inputs.wants("label", "bb", 9, -5.0, 0), "another bundle"


def test_none_are_sent_where_none_are_kept():
    inputs = GoodInputs(per_hour=0, one_in=0)
    assert not any(inputs.wants("cap", "aa", seq, float(seq), 0) for seq in range(100))


def test_several_workers_together_send_every_input_that_the_sink_keeps():
    randomly = random.Random(4)
    workers = [GoodInputs(per_hour=5, one_in=50) for _ in range(3)]
    kept = KeptGoodParts(per_hour=5, one_in=50, budget_bytes=10**9)
    sent = 0
    for seq in range(6000):
        score, captured_ns = randomly.gauss(0, 1), seq * 3 * 10**9
        wanted = randomly.choice(workers).wants("cap", "aa", seq, score, captured_ns)
        kept_as = kept.kept_as("cap", "aa", seq, hour_of(captured_ns), score)
        assert wanted or kept_as is None
        if kept_as is not None:
            kept.add(KeptGoodPart("cap", "aa", seq, hour_of(captured_ns), score, kept_as, 1))
        sent += wanted
    assert sent < 1000, "few are sent in vain"
