from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.model.patchcore.calibrate import conformal_threshold, guaranteed_rate, images_needed


@pytest.mark.parametrize(
    ("count", "rate", "rank"),
    [
        (99, 0.01, 99),  # the largest
        (100, 0.01, 100),
        (198, 0.01, 198),
        (199, 0.01, 198),
        (19, 0.05, 19),
        (39, 0.05, 38),
        (9, 0.1, 9),
        (999, 0.001, 999),
        (4, 0.5, 3),
    ],
)
def test_the_threshold_is_the_score_of_the_conformal_rank(count: int, rate: float, rank: int):
    scores = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert conformal_threshold(scores, rate) == rank


@pytest.mark.parametrize("count", [1, 10, 98])
def test_too_few_pictures_give_the_largest_score_and_guarantee_less(count: int):
    scores = np.arange(count, dtype=np.float64)
    assert conformal_threshold(scores, 0.01) == count - 1
    assert guaranteed_rate(count, 0.01) == pytest.approx(1 / (count + 1))


@pytest.mark.parametrize("count", [99, 100, 5000])
def test_enough_pictures_guarantee_the_wanted_rate(count: int):
    assert guaranteed_rate(count, 0.01) == 0.01


@pytest.mark.parametrize(
    ("rate", "needed"),
    [(0.5, 1), (0.2, 4), (0.1, 9), (0.05, 19), (0.03, 33), (0.01, 99), (0.001, 999), (1e-4, 9999)],
)
def test_the_number_of_pictures_needed(rate: float, needed: int):
    assert images_needed(rate) == needed


@given(st.floats(1e-4, 0.9))
def test_the_number_needed_is_the_least_whose_rank_exists(rate: float):
    needed = images_needed(rate)
    assert 1 / (needed + 1) <= rate * (1 + 1e-6)
    if needed > 0:
        assert 1 / needed > rate * (1 - 1e-6)


# Any one of n + 1 interchangeable scores may be the new part's: over all choices, that is on average
# over all orders, no more than the guaranteed share exceeds the threshold made of the others.
@given(
    scores=st.lists(st.floats(0, 1e6), min_size=2, max_size=60),
    rate=st.floats(0.005, 0.6),
)
def test_over_all_choices_of_the_new_part_no_more_than_the_guaranteed_share_is_rejected(
    scores: list[float], rate: float
):
    rejected = sum(
        score > conformal_threshold(np.array(scores[:new] + scores[new + 1 :]), rate)
        for new, score in enumerate(scores)
    )
    assert rejected / len(scores) <= guaranteed_rate(len(scores) - 1, rate) + 1e-9


@given(
    scores=st.lists(st.integers(0, 9), min_size=2, max_size=6),
    rate=st.sampled_from([0.01, 0.2, 0.25, 0.34, 0.5]),
)
def test_over_all_orders_of_arrival_no_more_than_the_guaranteed_share_is_rejected(scores: list[int], rate: float):
    orders = list(itertools.permutations(scores))
    rejected = sum(order[-1] > conformal_threshold(np.array(order[:-1]), rate) for order in orders)
    assert rejected / len(orders) <= guaranteed_rate(len(scores) - 1, rate) + 1e-9


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.floats(0.001, 0.9))
def test_the_threshold_is_one_of_the_scores_and_a_smaller_rate_never_lowers_it(scores: list[float], rate: float):
    threshold = conformal_threshold(np.array(scores), rate)
    assert threshold in scores
    assert conformal_threshold(np.array(scores), rate / 2) >= threshold


def test_half_of_the_pictures_are_never_called_defective_at_one_per_cent():
    # A library's threshold from good pictures was the least of their scores: everything was abnormal.
    scores = np.random.default_rng(1).gamma(3, size=500)
    assert float((scores > conformal_threshold(scores, 0.01)).mean()) <= 0.01
