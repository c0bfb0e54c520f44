from __future__ import annotations

import numpy as np
import pytest

from stream.training.suggestion import Candidate, Trial, helps, recommended, smallest_visible


def trial(found: str, ms: float, *, auroc: float = 0.9, edge: int = 224) -> Trial:
    """A candidate that finds the defects marked x."""
    candidate = Candidate((edge, edge), ("stride8", "stride16"), 0.01)
    return Trial(candidate, ms, np.array([mark == "x" for mark in found]), auroc, None)


FEW = "x" * 20 + "." * 80
MORE = "x" * 40 + "." * 60


def test_a_slower_candidate_that_finds_clearly_more_helps():
    assert helps(trial(MORE, 20), trial(FEW, 5))
    assert not helps(trial(FEW, 20), trial(MORE, 5))
    assert not helps(trial(FEW, 20), trial(FEW, 5))


def test_a_gain_that_may_be_chance_does_not_help():
    # 12 defects won, 8 lost: the share grows by 4 %, a coin would do as well.
    slower = "x" * 12 + "." * 8 + "." * 80
    faster = "." * 12 + "x" * 8 + "." * 80
    assert not helps(trial(slower, 20), trial(faster, 5))


def test_a_gain_too_small_to_pay_for_does_not_help():
    many, one_more = "x" * 600 + "." * 400, "x" * 615 + "." * 385
    assert not helps(trial(one_more, 20), trial(many, 5))


def test_the_longer_it_takes_the_more_it_must_find():
    few, more = "x" * 600 + "." * 400, "x" * 650 + "." * 350
    assert helps(trial(more, 20), trial(few, 5)), "5 % for two doublings"
    assert not helps(trial(more, 50), trial(few, 5)), "5 % for more than three"


def test_finding_more_at_the_threshold_while_ranking_worse_does_not_help():
    assert not helps(trial(MORE, 20, auroc=0.85), trial(FEW, 5, auroc=0.9))


def test_the_fastest_is_recommended_unless_a_slower_one_helps():
    fast, same, better = trial(FEW, 4), trial(FEW, 9, edge=320), trial(MORE, 16, edge=448)
    assert recommended([same, fast]) is fast
    assert recommended([better, same, fast]) is better


def test_only_candidates_within_the_budget_are_recommended():
    fast, better = trial(FEW, 4), trial(MORE, 16, edge=448)
    assert recommended([fast, better], budget_ms=16) is better
    assert recommended([fast, better], budget_ms=15.9) is fast
    assert recommended([fast, better], budget_ms=3) is None


@pytest.mark.parametrize(
    ("found", "smallest"),
    [
        ({2: 0.0, 4: 0.0, 8: 0.0}, None),
        ({2: 0.0, 4: 0.5, 8: 1.0}, 4),
        ({2: 0.4, 4: 0.9, 8: 1.0}, 4),
        ({2: 1.0, 4: 1.0, 8: 1.0}, 2),
        ({2: 1.0, 4: 0.2, 8: 1.0}, 8),
        ({2: 1.0, 4: 1.0, 8: 0.3}, None),
    ],
)
def test_a_size_is_visible_if_half_of_it_and_of_all_larger_are_found(found: dict[int, float], smallest: float | None):
    sizes = [float(size) for size in found for _ in range(10)]
    hits = [number < 10 * share for share in found.values() for number in range(10)]
    assert smallest_visible(sizes, hits) == smallest
