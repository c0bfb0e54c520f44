from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from stream.cli.bench.rate_search import (
    DISTURBED_TRIALS,
    REPETITIONS,
    Sustained,
    Tried,
    allowed_late,
    next_given_hz,
    next_rate_hz,
    sustained,
)


def search(trial: Callable[[float], Tried], first_hz: float = 10.0) -> list[Tried]:
    """Try rates until the search ends."""
    tried: list[Tried] = []
    while (rate_hz := next_rate_hz(tried, first_hz)) is not None:
        tried.append(trial(rate_hz))
        assert len(tried) < 100, "it does not end"
    return tried


def steady(limit_hz: float) -> Callable[[float], Tried]:
    """A line that keeps every rate up to a limit, and no other."""
    return lambda rate_hz: Tried(rate_hz, rate_hz <= limit_hz)


def found(tried: list[Tried]) -> Sustained:
    answer = sustained(tried)
    assert answer is not None
    return answer


@pytest.mark.parametrize("limit_hz", [0.9, 3.3, 10.0, 11.0, 79.9, 80.0, 133.3, 4321.0])
def test_the_highest_rate_is_found_within_seven_per_cent_in_few_trials(limit_hz: float):
    tried = search(steady(limit_hz))
    assert limit_hz / 1.075 <= found(tried).hz <= limit_hz
    assert len(tried) <= 25
    assert found(tried)[1:] == (found(tried).hz, found(tried).hz), "a steady line has no spread"


def test_the_answer_and_the_rate_above_it_are_repeated():
    tried = search(steady(133.3))
    counts, answer = Counter(trial.rate_hz for trial in tried), found(tried).hz
    above = min(trial.rate_hz for trial in tried if trial.rate_hz > answer)
    assert above / answer <= 1.07
    assert (counts[answer], counts[above]) == (REPETITIONS, REPETITIONS)


def test_a_line_that_keeps_no_rate_ends_the_search():
    assert sustained(search(steady(0.0))) is None


@pytest.mark.parametrize("first_lost_hz", [10.0, 20.0, 40.0])
def test_one_failed_trial_ends_nothing(first_lost_hz: float):
    unlucky = {first_lost_hz}

    def trial(rate_hz: float) -> Tried:
        if rate_hz in unlucky:
            unlucky.clear()
            return Tried(rate_hz, kept=False)
        return steady(133.3)(rate_hz)

    assert 133.3 / 1.075 <= found(search(trial)).hz <= 133.3


def test_machines_that_spoil_every_tenth_trial_are_nearly_all_measured_as_well():
    right = 0
    for seed in range(200):
        dice = random.Random(seed)
        tried = search(lambda rate_hz, dice=dice: Tried(rate_hz, rate_hz <= 133.3 and dice.random() >= 0.1))  # type: ignore[misc]
        answer = found(tried)
        assert answer.low_hz <= answer.hz <= answer.high_hz <= 133.3
        right += answer.hz >= 133.3 / 1.075
    assert right >= 190


def test_a_trial_that_fails_on_a_disturbed_machine_is_repeated_and_does_not_count():
    tried = [Tried(10, kept=True), Tried(20, kept=False, disturbed=True)]
    assert next_rate_hz(tried, 10) == 20
    tried += [Tried(20, kept=False, disturbed=True), Tried(20, kept=True)]
    assert next_rate_hz(tried, 10) == 40
    assert found(tried) == (20, 20, 20)


def test_a_machine_that_is_always_disturbed_ends_the_search_all_the_same():
    tried = search(lambda rate_hz: Tried(rate_hz, rate_hz <= 15, disturbed=True))
    assert 15 / 1.075 <= found(tried).hz <= 15
    assert max(Counter(trial.rate_hz for trial in tried).values()) == DISTURBED_TRIALS + REPETITIONS


def test_a_rate_kept_on_a_disturbed_machine_counts():
    assert found([Tried(10, kept=True, disturbed=True)]).hz == 10


def test_a_rate_kept_above_one_that_was_not_is_luck_and_does_not_count():
    lost = [Tried(20, kept=False)] * 2
    assert found([Tried(10, kept=True), *lost, Tried(40, kept=True)]).hz == 10


def test_the_spread_reaches_from_what_all_trials_kept_to_what_any_did():
    tried = [
        *(Tried(100, kept=True), Tried(107, kept=True), Tried(107, kept=False), Tried(107, kept=True)),
        *(Tried(114, kept=False), Tried(114, kept=True), Tried(114, kept=False), Tried(130, kept=False)),
    ]
    assert found(tried) == (107, 100, 114)


def test_nothing_kept_or_nothing_tried_sustains_nothing():
    assert sustained([Tried(10, kept=False)] * 2) is None
    assert sustained([]) is None


def test_given_rates_are_tried_in_their_order_and_again_only_when_they_fail():
    rates = [12.0, 8.0]
    assert next_given_hz([], rates) == 12
    assert next_given_hz([Tried(12, kept=False)], rates) == 12
    tried = [Tried(12, kept=False), Tried(12, kept=False)]
    assert next_given_hz(tried, rates) == 8
    assert next_given_hz([*tried, Tried(8, kept=True)], rates) is None


@pytest.mark.parametrize(
    ("parts", "share", "late"), [(100, 0.999, 1), (999, 0.999, 1), (3000, 0.999, 3), (1000, 0.99, 10), (5000, 1.0, 0)]
)
def test_of_few_parts_one_may_be_late_and_none_where_all_must_be_in_time(parts: int, share: float, late: int):
    assert allowed_late(parts, share) == late
