from __future__ import annotations

import itertools

import pytest

from stream.sink.policy.reorder import Reorder


def started(next_seq: int = 0) -> Reorder[str]:
    order: Reorder[str] = Reorder()
    order.start("cap", next_seq)
    return order


def test_parts_that_settle_in_order_pass_at_once():
    order = started()
    assert [order.add("cap", seq, f"part {seq}") for seq in range(3)] == [["part 0"], ["part 1"], ["part 2"]]
    assert len(order) == 0


def test_an_early_part_waits_for_the_one_before_it():
    order = started()
    assert order.add("cap", 2, "part 2") == []
    assert order.add("cap", 1, "part 1") == []
    assert len(order) == 2
    assert order.add("cap", 0, "part 0") == ["part 0", "part 1", "part 2"]
    assert len(order) == 0


@pytest.mark.parametrize("settled", list(itertools.permutations(range(4))))
def test_every_order_of_settling_gives_the_order_of_the_parts(settled):
    order = started()
    released = [item for seq in settled for item in order.add("cap", seq, f"part {seq}")]
    assert released == ["part 0", "part 1", "part 2", "part 3"]


def test_a_station_starts_at_the_number_of_the_ledger():
    order = started(next_seq=1000)
    assert order.add("cap", 1001, "part 1001") == []
    assert order.add("cap", 1000, "part 1000") == ["part 1000", "part 1001"]


def test_a_slow_station_does_not_hold_up_another():
    order = started()
    order.start("label", 0)
    assert order.add("cap", 1, "cap 1") == []
    assert order.add("label", 0, "label 0") == ["label 0"]


def test_flush_returns_the_rest_in_order_and_continues_after_it():
    order = started()
    order.start("label", 7)
    for station, seq in (("cap", 5), ("cap", 2), ("label", 9)):
        assert order.add(station, seq, f"{station} {seq}") == []
    assert order.flush() == ["cap 2", "cap 5", "label 9"]
    assert order.flush() == []
    assert order.add("cap", 6, "cap 6") == ["cap 6"]
    assert order.add("label", 10, "label 10") == ["label 10"]


def test_flush_does_not_change_a_station_without_waiting_parts():
    order = started(next_seq=3)
    assert order.flush() == []
    assert order.add("cap", 3, "part 3") == ["part 3"]


def test_a_part_below_the_next_one_is_an_error():
    order = started(next_seq=4)
    with pytest.raises(ValueError, match="part 3 has settled before"):
        order.add("cap", 3, "part 3")


def test_a_part_that_settles_twice_while_waiting_is_an_error_and_the_first_one_stays():
    order = started()
    order.add("cap", 1, "first")
    with pytest.raises(ValueError, match="part 1 has settled before"):
        order.add("cap", 1, "second")
    assert order.add("cap", 0, "part 0") == ["part 0", "first"]


def test_a_station_that_was_never_started_is_an_error():
    with pytest.raises(ValueError, match="station lid: not started"):
        started().add("lid", 0, "part 0")


def test_a_start_that_would_lose_waiting_parts_is_an_error():
    order = started()
    order.add("cap", 1, "part 1")
    with pytest.raises(ValueError, match="1 parts wait"):
        order.start("cap", 50)
    assert order.flush() == ["part 1"]
