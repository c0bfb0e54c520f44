"""Nothing is GOOD by a worker's claim alone."""

from __future__ import annotations

from typing import Any

import pytest

from stream.core.clock import Clock
from stream.core.spots import Spot
from stream.core.verdict import Verdict
from stream.sink.policy.result_claims import contradiction_of
from stream.transport.messages import FrameHeader, FrameStamps, Result, ResultStamps

FRAME = FrameHeader(
    *("cap", 7, 1, 2, "triggered", "ab", 4, 4, (4, 4), 1, "epoch", FrameStamps(1, 2, 3)), Clock("boot", 0)
)
SPOT = Spot(
    x_px=1, y_px=1, area_px=1, length_px=1, width_px=1, box_px=(0, 0, 1, 1), peak=2, place="centre", rule="dust"
)
LEFT = Spot(x_px=1, y_px=1, area_px=1, length_px=1, width_px=1, box_px=(0, 0, 1, 1), peak=2, place="centre")
PASSED: dict[str, Any] = {"within_spec": True, "rule": "dust", "spot": 1, "spots": (SPOT,)}


def claimed(
    verdict: Verdict = Verdict.GOOD, *, score: float = 9.0, has_rules: bool = True, **fields: Any
) -> str | None:
    stamps = ResultStamps(1, 1, 1, 1, 1, 1, 1)
    result = Result(FRAME, "worker0", verdict, stamps, FRAME.clock, score=score, threshold=3.0, **fields)
    return contradiction_of(result, has_rules=has_rules)


def test_a_part_above_the_threshold_may_be_good_by_rules_for_all_its_spots():
    assert claimed(**PASSED) is None
    assert claimed(score=2.0) is None
    assert claimed(Verdict.DEFECT) is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "called GOOD with a score of 9 above its threshold 3"),
        (PASSED | {"has_rules": False}, "its station has no rules here"),
        (PASSED | {"verdict": Verdict.DEFECT}, "called DEFECT and within specification"),
        (PASSED | {"spots": ()}, "without a rule for each of its spots"),
        (PASSED | {"spots": (SPOT, LEFT)}, "without a rule for each of its spots"),
    ],
)
def test_a_claim_that_contradicts_itself_or_the_configuration_is_none(fields: dict[str, Any], expected: str):
    found = claimed(**fields)
    assert found is not None
    assert expected in found
