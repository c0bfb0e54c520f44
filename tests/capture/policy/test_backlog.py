from __future__ import annotations

import pytest

from stream.capture.policy.backlog import Backlog, WaitingPart


def backlog(**capacities: int) -> Backlog[int]:
    """A backlog of triggered stations with these capacities and of the free-running ones `glass` and `film`."""
    modes = dict.fromkeys(capacities, "triggered") | {"glass": "freerun", "film": "freerun"}
    return Backlog(capacities | {"glass": 1, "film": 1}, modes)


def part(payload: int, station: str = "cap", deadline_ns: int = 1_000) -> WaitingPart[int]:
    return WaitingPart(station, deadline_ns, payload)


def drained(queue: Backlog[int]) -> list[int]:
    taken = []
    while (waiting := queue.next_triggered()) is not None:
        taken.append(waiting.payload)
        queue.pop_triggered()
    return taken


def test_triggered_parts_leave_in_the_order_they_came_over_all_stations():
    queue = backlog(cap=5, label=5)
    for payload, station in enumerate(["cap", "label", "label", "cap"]):
        assert queue.add(part(payload, station)) is None
    assert len(queue) == 4
    assert drained(queue) == [0, 1, 2, 3]
    assert len(queue) == 0


def test_a_part_stays_the_next_one_until_it_is_sent():
    queue = backlog(cap=5)
    queue.add(part(0))
    assert queue.next_triggered() == queue.next_triggered() == part(0)
    queue.pop_triggered()
    assert queue.next_triggered() is None


def test_a_station_is_full_at_its_capacity_and_has_room_again_when_a_part_is_sent():
    queue = backlog(cap=2)
    assert not queue.full("cap")
    queue.add(part(0))
    assert not queue.full("cap")
    queue.add(part(1))
    assert queue.full("cap")
    queue.pop_triggered()
    assert not queue.full("cap")


def test_a_full_station_does_not_fill_another():
    queue = backlog(cap=1, label=1)
    queue.add(part(0, "cap"))
    assert (queue.full("cap"), queue.full("label")) == (True, False)


def test_sending_a_part_frees_room_in_its_own_station():
    queue = backlog(cap=1, label=1)
    queue.add(part(0, "cap"))
    queue.add(part(1, "label"))
    queue.pop_triggered()
    assert (queue.full("cap"), queue.full("label")) == (False, True)


def test_only_the_newest_free_running_frame_waits():
    queue = backlog()
    assert queue.add(part(0, "glass")) is None
    assert queue.add(part(1, "glass")) == part(0, "glass")
    assert queue.add(part(2, "film")) is None
    assert len(queue) == 2
    assert queue.take_newest() == [part(1, "glass"), part(2, "film")]
    assert queue.take_newest() == []
    assert len(queue) == 0


def test_a_free_running_frame_never_goes_to_a_worker_as_a_triggered_part():
    queue = backlog(cap=5)
    queue.add(part(0, "glass"))
    assert queue.next_triggered() is None
    queue.add(part(1, "cap"))
    assert queue.next_triggered() == part(1, "cap")
    assert queue.take_newest() == [part(0, "glass")]


def test_one_stations_newest_frame_can_be_removed_alone():
    queue = backlog(cap=5)
    queue.add(part(0, "glass"))
    queue.add(part(1, "film"))
    queue.add(part(2, "cap"))
    assert queue.take_station("glass") == part(0, "glass")
    assert queue.take_station("glass") is None
    assert queue.take_station("cap") is None
    assert len(queue) == 2


@pytest.mark.parametrize(("now_ns", "left"), [(99, [0, 1, 2]), (100, [1, 2]), (200, [2]), (301, [])])
def test_triggered_parts_past_their_deadline_are_dropped(now_ns: int, left: list[int]):
    queue = backlog(cap=5)
    for payload, deadline_ns in enumerate([100, 200, 300]):
        queue.add(part(payload, deadline_ns=deadline_ns))
    assert queue.expire(now_ns) == 3 - len(left)
    assert queue.expire(now_ns) == 0
    assert drained(queue) == left


def test_a_dropped_part_frees_room_in_its_own_station_only():
    queue = backlog(cap=2, label=1)
    queue.add(part(0, "cap", 100))
    queue.add(part(1, "label", 900))
    queue.add(part(2, "cap", 900))
    assert queue.full("cap")
    assert queue.expire(500) == 1
    assert (queue.full("cap"), queue.full("label")) == (False, True)
    assert drained(queue) == [1, 2]
    assert (queue.full("cap"), queue.full("label")) == (False, False)


def test_a_free_running_frame_does_not_expire():
    queue = backlog()
    queue.add(part(0, "glass", 100))
    assert queue.expire(10_000) == 0
    assert queue.take_newest() == [part(0, "glass", 100)]
