"""Work of low priority takes no more than its share of the time."""

from __future__ import annotations

from stream.sink.policy.time_budget import TimeBudget

SECOND_NS = 1_000_000_000
COST_NS = 10_000_000


def turns(budget: TimeBudget, key: str, rate_hz: int, begin_s: int, end_s: int) -> int:
    taken = 0
    for step in range(begin_s * rate_hz, end_s * rate_hz):
        if budget.allows(key, step * SECOND_NS // rate_hz):
            budget.spend(key, COST_NS)
            taken += 1
    return taken


def test_work_that_fits_into_its_share_is_always_allowed() -> None:
    assert turns(TimeBudget(0.1), "cap", 9, 0, 60) == 9 * 60


def test_work_that_comes_too_often_gets_its_share_of_the_time_only() -> None:
    budget = TimeBudget(0.1)
    turns(budget, "cap", 100, 0, 10)
    assert abs(turns(budget, "cap", 100, 10, 60) - 500) <= 1


def test_work_that_takes_longer_is_allowed_less_often() -> None:
    budget = TimeBudget(0.1)
    assert budget.allows("cap", 0)
    budget.spend("cap", SECOND_NS)
    assert not budget.allows("cap", 7 * SECOND_NS)
    assert budget.allows("cap", 8 * SECOND_NS), "two seconds' worth was saved"


def test_keys_do_not_use_each_others_budget() -> None:
    budget = TimeBudget(0.1)
    turns(budget, "GOOD", 100, 0, 20)
    assert turns(budget, "DEFECT", 5, 0, 10) == 50


def test_a_pause_saves_the_share_of_two_seconds_at_most() -> None:
    budget = TimeBudget(0.1)
    turns(budget, "cap", 100, 0, 20)
    later_ns = 3600 * SECOND_NS
    assert sum(allows_and_spends(budget, later_ns) for _ in range(200)) == 21


def allows_and_spends(budget: TimeBudget, now_ns: int) -> bool:
    if not budget.allows("cap", now_ns):
        return False
    budget.spend("cap", COST_NS)
    return True
