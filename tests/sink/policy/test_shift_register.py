from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.verdict import Verdict
from stream.devices.actuators.actuator import RejectCommand
from stream.sink.policy.shift_register import SampleOutcome, ShiftRegister, Tracked

POLL = 10
STALE = 100


def register(wrap: int = 1_000) -> ShiftRegister:
    return ShiftRegister(wrap=wrap, poll_ns=POLL, stale_ns=STALE, keep_ns=10_000)


def command(seq: int = 0) -> RejectCommand:
    return RejectCommand("cap", seq, None, Verdict.DEFECT, None, 0, 0, pulse_ns=60)


def tracked(captured_ns: int, counts: int, seq: int = 0, tolerance: int = 5) -> Tracked:
    return Tracked(command(seq), captured_ns, counts, tolerance)


def feed(belt: ShiftRegister, samples: Iterable[tuple[int, int]]) -> SampleOutcome:
    """Result of these readings (time, count) together."""
    fire: list[RejectCommand] = []
    lost: list[tuple[RejectCommand, str]] = []
    for at_ns, count in samples:
        moved = belt.sample(at_ns, count)
        fire += moved.fire
        lost += moved.lost
    return SampleOutcome(fire, lost)


def steady(
    first_ns: int, last_ns: int, counts_per_poll: int, wrap: int = 1_000, begin: int = 0
) -> list[tuple[int, int]]:
    return [(at_ns, (begin + (at_ns // POLL) * counts_per_poll) % wrap) for at_ns in range(first_ns, last_ns + 1, POLL)]


def test_a_part_is_fired_when_the_belt_has_moved_it_to_the_reject():
    belt = register()
    feed(belt, steady(0, 50, 4))
    belt.add(tracked(captured_ns=45, counts=40))  # at 18 counts, so due at 58, which is at 145
    moved = feed(belt, steady(60, 200, 4))
    assert moved.lost == []
    [fired] = moved.fire
    assert (fired.seq, fired.planned_ns, fired.due_count) == (0, 145, 58)
    assert fired.tolerance_ns == pytest.approx(5 / 0.4, abs=1)
    assert len(belt) == 0


def test_it_is_handed_out_before_its_moment():
    belt = register()
    feed(belt, steady(0, 50, 4))
    belt.add(tracked(captured_ns=50, counts=40))
    assert feed(belt, steady(60, 130, 4)) == SampleOutcome([], [])
    [fired] = belt.sample(140, 56).fire
    assert fired.planned_ns == 150


def test_the_count_wraps_between_exposure_and_reject():
    belt = register(wrap=100)
    feed(belt, steady(0, 230, 4, wrap=100))
    belt.add(tracked(captured_ns=230, counts=40))  # at 92, due at 132, which is 32
    assert feed(belt, steady(240, 310, 4, wrap=100)).fire == []
    [fired] = feed(belt, steady(320, 400, 4, wrap=100)).fire
    assert (fired.planned_ns, fired.due_count) == (330, 32)


def test_a_belt_that_stops_keeps_its_parts_and_fires_them_when_it_moves_again():
    belt = register()
    feed(belt, steady(0, 50, 4))
    belt.add(tracked(captured_ns=50, counts=40))
    assert feed(belt, [(at_ns, 24) for at_ns in range(60, 5_000, POLL)]) == SampleOutcome([], [])
    assert len(belt) == 1
    moved = feed(belt, [(5_000 + POLL * step, 24 + 4 * step) for step in range(20)])
    assert moved.lost == []
    [fired] = moved.fire
    assert 5_080 <= fired.planned_ns <= 5_100


def test_a_belt_that_runs_backwards_fires_nothing_until_it_runs_forwards_again():
    belt = register()
    feed(belt, steady(0, 50, 4))
    belt.add(tracked(captured_ns=50, counts=12))
    back = [(60 + POLL * step, (20 - 4 * step) % 1_000) for step in range(10)]
    assert feed(belt, back) == SampleOutcome([], [])
    forwards = [(160 + POLL * step, (-16 + 4 * step) % 1_000) for step in range(20)]
    [fired] = feed(belt, forwards).fire
    assert fired.planned_ns == pytest.approx(160 + (32 + 16) / 0.4, abs=2 * POLL)


def test_parts_are_fired_in_their_order_on_the_belt():
    belt = register()
    feed(belt, steady(0, 100, 4))
    for seq, captured_ns in ((2, 80), (1, 60), (3, 100)):
        belt.add(tracked(captured_ns, counts=100, seq=seq))
    fired = feed(belt, steady(110, 500, 4)).fire
    assert [item.seq for item in fired] == [1, 2, 3]
    assert [item.planned_ns for item in fired] == [310, 330, 350]


def test_a_verdict_that_comes_after_the_reject_is_lost_unless_the_part_is_within_the_tolerance():
    belt = register()
    feed(belt, steady(0, 200, 4))
    belt.add(tracked(captured_ns=50, counts=60, seq=1))  # due at 80, passed at 200
    belt.add(tracked(captured_ns=50, counts=40, seq=2))  # due at 60, 24 counts ago
    moved = feed(belt, [(210, 84)])
    assert [item.seq for item in moved.fire] == [1]
    assert moved.fire[0].planned_ns == 200
    [(lost, reason)] = moved.lost
    assert lost.seq == 2
    assert "24 counts past" in reason


def test_an_exposure_after_the_newest_reading_waits_for_the_next():
    belt = register()
    feed(belt, steady(0, 50, 4))
    belt.add(tracked(captured_ns=55, counts=40))
    assert len(belt) == 1
    [fired] = feed(belt, steady(60, 300, 4)).fire
    assert fired.due_count == 62


def test_an_exposure_before_the_first_reading_cannot_be_placed():
    belt = register()
    belt.add(tracked(captured_ns=5, counts=40))
    [(lost, reason)] = feed(belt, steady(10, 20, 4)).lost
    assert lost.seq == 0
    assert "no reading at its exposure" in reason


def test_a_gap_between_readings_loses_what_was_tracked_and_what_was_exposed_meanwhile():
    belt = register()
    feed(belt, steady(0, 50, 4))
    belt.add(tracked(captured_ns=50, counts=400, seq=1))
    belt.add(tracked(captured_ns=120, counts=400, seq=2))
    moved = belt.sample(151 + 10, 64)
    assert {lost.seq for lost, _ in moved.lost} == {1, 2}
    assert len(belt) == 0
    belt.add(tracked(captured_ns=170, counts=40, seq=3))
    assert [item.seq for item in feed(belt, steady(170, 400, 4)).fire] == [3], "and follows again"


def test_a_count_that_jumps_loses_what_was_tracked():
    belt = register()
    feed(belt, steady(0, 50, 4))
    belt.add(tracked(captured_ns=50, counts=40))
    [(_, reason)] = belt.sample(60, 500).lost
    assert "jumped" in reason


def test_an_encoder_that_falls_silent_loses_what_is_tracked():
    belt = register()
    belt.add(tracked(captured_ns=0, counts=40, seq=1))
    assert belt.silent(50) == []
    assert [lost.seq for lost, _ in belt.silent(101)] == [1]
    feed(belt, steady(200, 250, 4))
    belt.add(tracked(captured_ns=250, counts=40, seq=2))
    assert belt.silent(300) == []
    assert [lost.seq for lost, _ in belt.silent(351)] == [2]


def test_readings_out_of_order_are_ignored():
    belt = register()
    feed(belt, steady(0, 50, 4))
    assert belt.sample(50, 999) == SampleOutcome([], [])
    assert belt.sample(40, 999) == SampleOutcome([], [])


def test_what_is_tracked_continues_in_another_register_at_its_count():
    first = register(wrap=100)
    feed(first, steady(0, 230, 4, wrap=100))
    first.add(tracked(captured_ns=230, counts=40))
    feed(first, steady(240, 250, 4, wrap=100))
    [followed] = first.commands()
    assert (followed.due_count, followed.planned_ns) == (32, 0)
    second = register(wrap=100)
    assert not second.restore(followed, 5), "not before the first reading"
    feed(second, steady(260, 270, 4, wrap=100))
    assert second.restore(followed, 5)
    assert not second.restore(command(7), 5), "its place was not known yet"
    [fired] = feed(second, steady(280, 400, 4, wrap=100)).fire
    assert fired.planned_ns == 330


@given(
    moves=st.lists(st.integers(-8, 8), min_size=10, max_size=150),
    begin=st.integers(0, 63),
    parts=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 200)), max_size=6),
)
def test_every_part_comes_out_at_most_once_and_only_near_its_count(
    moves: list[int], begin: int, parts: list[tuple[int, int]]
):
    belt = register(wrap=64)
    position, at_ns = begin, 0
    out: list[int] = []
    where = {0: begin}
    added: dict[int, int] = {}
    for step, move in enumerate(moves):
        for seq, (when, counts) in enumerate(parts):
            if when == step and at_ns > 0:
                added[seq] = position + counts
                belt.add(tracked(at_ns, counts, seq=seq))
        at_ns, position = at_ns + POLL, position + move
        where[at_ns] = position
        moved = belt.sample(at_ns, position % 64)
        for item in moved.fire:
            assert position >= added[item.seq] - 8, "not before the belt can be there"
            assert item.planned_ns > at_ns - STALE * POLL
        out += [item.seq for item in moved.fire] + [lost.seq for lost, _ in moved.lost]
    assert len(out) == len(set(out))
    assert set(out) | {item.seq for item in belt.commands()} == set(added)
